"""One request while it is being served."""

from keyrelay.core.failures import Failure
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.pool import Plan
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate, Dropped


class Job:
    """What has been tried for a request, and why the rest was not.

    `total_at` is the request's deadline on the monotonic clock. `tried` holds the last failure of each candidate
    that was called, `drops` why each was passed over, `avoided` the providers that failed it, `faults` how many
    calls failed because of a provider, `small_models` the models that it does not fit into.
    """

    __slots__ = (
        "amounts",
        "avoided",
        "beliefs",
        "drops",
        "faults",
        "plan",
        "record",
        "request",
        "small_models",
        "total_at",
        "tried",
    )

    def __init__(
        self, request: CallRequest, record: RequestRecord, plan: Plan, amounts: Amounts, total_at: float
    ) -> None:
        self.request = request
        self.record = record
        self.plan = plan
        self.amounts = amounts
        self.total_at = total_at
        self.tried: dict[Candidate, Failure] = {}
        self.drops: dict[Candidate, Dropped] = {}
        self.avoided: set[str] = set()
        self.beliefs: list[Candidate] = []
        self.small_models: set[str] = set()
        self.faults = 0

    def __repr__(self) -> str:
        return f"<Job {self.record.id} tried={len(self.tried)} dropped={len(self.drops)} faults={self.faults}>"
