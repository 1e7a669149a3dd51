"""One request while it is being served."""

import msgspec

from keyrelay.core.failures import Failure
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.pool import Plan
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate, Dropped


class Job(msgspec.Struct, eq=False):
    """What has been tried for a request, and why the rest was not.

    `total_at` is the request's deadline on the monotonic clock. `tried` holds the last failure of each candidate
    that was called, `drops` why each was passed over, `avoided` the providers that failed it, `faults` how many
    calls failed because of a provider, `small_models` the models that it does not fit into, `beyond_belief` that it
    has tested whether a believed limit is one.
    """

    request: CallRequest
    record: RequestRecord
    plan: Plan
    amounts: Amounts
    total_at: float
    tried: dict[Candidate, Failure] = {}
    drops: dict[Candidate, Dropped] = {}
    avoided: set[str] = set()
    beliefs: list[Candidate] = []
    small_models: set[str] = set()
    faults: int = 0
    beyond_belief: bool = False

    def __repr__(self) -> str:
        return f"<Job {self.record.id} tried={len(self.tried)} dropped={len(self.drops)} faults={self.faults}>"
