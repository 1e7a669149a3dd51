"""What was decided for each request, kept for a while so that it can be explained.

Keeping a decision happens on the way of every request, so it only takes hold of what is there already: the record, the
plan, the reasons for passing over, the reservation. Nothing is put into words before somebody asks
(`engine.explanations`). What a decision holds has no prompt and no body in it: neither the job nor the caller's request
is kept alive.
"""

from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.records import RequestRecord
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan
from keyrelay.ports import Reservation
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate, Dropped

KEPT_REQUESTS = 10_000

MAX_REASONS = 500
"""Reasons kept of one request; what is beyond them is only counted."""

REASONS_PER_REQUEST = 10
"""Reasons kept on average: a ring of N requests holds at most so many times N, whatever a request went through."""


class Decision(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One request that has ended.

    `amounts` is what was reserved, `drops` why candidates were passed over, `tried` the last failure of those that were
    called, `chosen` who answered and `reservation` what that took from the ledger, `preferred` the provider that the
    caller wanted first. `parked` are those left out because of what was found when they were last looked at.
    `left_out` counts the reasons that were too many to keep.
    """

    record: RequestRecord
    plan: Plan
    amounts: Amounts
    drops: dict[Candidate, Dropped]
    tried: dict[Candidate, Failure]
    chosen: Candidate | None
    reservation: Reservation | None
    preferred: str
    parked: tuple[Mapping[Candidate, Dropped], ...] = ()
    left_out: int = 0

    @property
    def reasons(self) -> int:
        """How many reasons are kept."""
        return len(self.drops) + len(self.tried)

    def __repr__(self) -> str:
        return f"<Decision {self.record!r} dropped={len(self.drops)} tried={len(self.tried)}>"


class Decisions:
    """The newest decisions, found by request id. Bounded in number, and in the reasons that they hold together."""

    __slots__ = ("_by_id", "_in_order", "_most_reasons", "_reasons", "most")

    def __init__(self, most: int = KEPT_REQUESTS) -> None:
        self.most = most
        self._most_reasons = most * REASONS_PER_REQUEST
        self._reasons = 0
        self._by_id: dict[str, Decision] = {}
        self._in_order: deque[Decision] = deque()

    def keep(
        self,
        job: Job,
        chosen: Candidate | None = None,
        reservation: Reservation | None = None,
        preferred: str = "",
    ) -> None:
        """Keep what was decided for a request; once, when its last call has ended or its stream has begun.

        What becomes of a stream is in the record, which is read when somebody asks.
        """
        record, drops, tried = job.record, job.drops, job.tried
        decision = Decision(record, job.plan, job.amounts, drops, tried, chosen, reservation, preferred, job.parked)
        if drops or tried:
            decision = self._weighed(decision)
        self._by_id[record.id] = decision
        in_order = self._in_order
        in_order.append(decision)
        if len(in_order) > self.most:
            self._forget_oldest()

    def find(self, request_id: str) -> Decision | None:
        """The decision for a request; None when there is none, or it is too long ago."""
        return self._by_id.get(request_id)

    def newest_first(self) -> Iterator[Decision]:
        """All decisions kept, from the newest on. Not to be held across an await."""
        return reversed(self._in_order)

    def _weighed(self, decision: Decision) -> Decision:
        """The decision with no more reasons than may be kept, for which room has been made."""
        decision = _bounded(decision)
        self._reasons += decision.reasons
        while self._reasons > self._most_reasons and self._in_order:
            self._forget_oldest()
        return decision

    def _forget_oldest(self) -> None:
        oldest = self._in_order.popleft()
        if oldest.drops or oldest.tried:
            self._reasons -= oldest.reasons
        self._by_id.pop(oldest.record.id, None)

    def __len__(self) -> int:
        return len(self._in_order)

    def __repr__(self) -> str:
        return f"<Decisions {len(self)} of at most {self.most}, {self._reasons} reasons>"


def _bounded(decision: Decision) -> Decision:
    """The decision with at most so many reasons: those of calls before those of candidates passed over."""
    too_many = decision.reasons - MAX_REASONS
    if too_many <= 0:
        return decision
    tried = dict(list(decision.tried.items())[:MAX_REASONS])
    drops = dict(list(decision.drops.items())[: MAX_REASONS - len(tried)])
    return msgspec.structs.replace(decision, tried=tried, drops=drops, left_out=too_many)
