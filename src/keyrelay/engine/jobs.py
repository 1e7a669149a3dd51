"""One request while it is being served."""

import asyncio
from collections.abc import Hashable, Mapping
from typing import Final

from keyrelay.core.conversation import Conversation, EmbeddingsAsked
from keyrelay.core.failures import Failure
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.files import Located
from keyrelay.engine.patience import PatientSink
from keyrelay.engine.pool import Plan
from keyrelay.engine.wishes import NO_WISHES, Wishes
from keyrelay.quota.values import Amounts, RawEstimate
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped
from keyrelay.wire.dialects import Written

_NOTHING: Final = Amounts(requests=0)


class Job:
    """What has been tried for a request, and why the rest was not.

    `raw` is the measure of its prompt, `total_at` its deadline on the monotonic clock; `patient` is the sink of a
    stream, which may have begun before anybody answered. `amounts` is what was reserved last, and `sent_s` (epoch)
    when that was sent. `tried` holds the last failure of each candidate that was called, `drops` why each was passed
    over, `parked` those that were left out because of what was found a moment ago, `avoided` the providers that failed
    it, `faults` how many of its calls to failing providers count as retries, `small_models` the models that it does not
    fit into, `beyond_belief` that it has tested whether a believed limit is one. `conversation` and `asked` are the
    request in the canonical form, once that has been needed; `written` is what it becomes for each dialect, provider,
    model and account, or why it cannot. `account` is the one that signed parts of it, None when none did. `left_out`
    names what the candidate that was called last could not be told. `files` says where the files are that it names, if
    any. `keeping` is done when others may know what is remembered of its answer, which is before the answer's last
    byte; None where nobody else is to know. `held_micros` is what its client's budgets hold for it, in millionths of a
    US dollar. `said` is why its last call failed, in words that its caller alone may see: they may quote the request.
    What nearly always stays as it is at first stands in the class.
    """

    account: str | None = None
    asked: EmbeddingsAsked | None = None
    beyond_belief = False
    conversation: Conversation | None = None
    faults = 0
    files: Located | None = None
    held_micros = 0
    keeping: asyncio.Future[None] | None = None
    said = ""
    sent_s = 0.0

    def __init__(
        self,
        request: CallRequest,
        record: RequestRecord,
        plan: Plan,
        raw: RawEstimate,
        total_at: float,
        *,
        wishes: Wishes = NO_WISHES,
        patient: PatientSink | None = None,
    ) -> None:
        self.request = request
        self.record = record
        self.plan = plan
        self.raw = raw
        self.total_at = total_at
        self.wishes = wishes
        self.patient = patient
        self.amounts = _NOTHING
        self.tried: dict[Candidate, Failure] = {}
        self.drops: dict[Candidate, Dropped] = {}
        self.parked: tuple[Mapping[Candidate, Dropped], ...] = ()
        self.avoided: set[str] = set()
        self.beliefs: list[Candidate] = []
        self.small_models: set[str] = set()
        self.written: dict[tuple[str, str, str, str], Written | Dropped] = {}
        self.left_out: tuple[str, ...] = ()

    @property
    def failing(self) -> bool:
        """Whether a provider has failed it, be it only by not being there."""
        return bool(self.faults or self.avoided)

    @property
    def group(self) -> Hashable:
        """Those who want the same, and so wait for it behind one another."""
        request = self.request
        key_id = "" if self.files is None else self.files.key_id
        return request.model, request.operation, request.needs if self.plan.free_choice else (), key_id

    def __repr__(self) -> str:
        return f"<Job {self.record.id} tried={len(self.tried)} dropped={len(self.drops)} faults={self.faults}>"
