"""Why a request went the way that it went."""

from collections.abc import Mapping

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.records import RequestRecord
from keyrelay.engine.pool import Plan
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped


class Decision(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One request that has ended.

    `amounts` is what was reserved, `drops` why candidates were passed over, `tried` the last failure of those that were
    called, `chosen` who answered, `preferred` the provider that the caller wanted first. `parked` are those left out
    because of what was found when they were last looked at. `left_out` counts the reasons that were too many to keep.
    """

    record: RequestRecord
    plan: Plan
    amounts: Amounts
    drops: dict[Candidate, Dropped]
    tried: dict[Candidate, Failure]
    chosen: Candidate | None
    preferred: str = ""
    parked: tuple[Mapping[Candidate, Dropped], ...] = ()
    left_out: int = 0

    @property
    def reasons(self) -> int:
        """How many reasons are kept."""
        return len(self.drops) + len(self.tried)

    def __repr__(self) -> str:
        return f"<Decision {self.record!r} dropped={len(self.drops)} tried={len(self.tried)}>"
