"""One request while it is being served."""

import asyncio
from collections.abc import Callable, Hashable, Mapping

import msgspec

from keyrelay.core.conversation import Answer, Conversation, EmbeddingsAsked
from keyrelay.core.failures import Failure
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.files import Located
from keyrelay.engine.patience import PatientSink
from keyrelay.engine.pool import Plan
from keyrelay.engine.shapes import StreamShape, WholeShape
from keyrelay.quota.estimates import RawEstimate
from keyrelay.quota.fairness import Priority
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate, Dropped
from keyrelay.wire.cache_wishes import AS_CONFIGURED, CacheWishes
from keyrelay.wire.dialects import CallerCodec, Written


class Wishes(msgspec.Struct, frozen=True):
    """What a caller may ask for in headers: a deadline in seconds, a provider to try first, a class to wait in.

    `cache` is what it wants of the response cache. `caller` writes its answer, where that is not the usual codec of its
    dialect; unless `passes`, nothing goes through as it is, whatever the provider speaks. `told` gets what the answer
    says once it is whole, where anybody had to find that out. `limited`: the client has limits of its own.
    """

    deadline_s: float | None = None
    prefer: str = ""
    priority: Priority = Priority.INTERACTIVE
    shape_whole: WholeShape | None = None
    shape_stream: StreamShape | None = None
    cache: CacheWishes = AS_CONFIGURED
    caller: CallerCodec | None = None
    passes: bool = True
    told: Callable[[Answer], None] | None = None
    limited: bool = False


NO_WISHES = Wishes()

_NOTHING = Amounts(requests=0)


class Job(msgspec.Struct, eq=False):
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
    """

    request: CallRequest
    record: RequestRecord
    plan: Plan
    raw: RawEstimate
    total_at: float
    wishes: Wishes = NO_WISHES
    patient: PatientSink | None = None
    amounts: Amounts = _NOTHING
    sent_s: float = 0.0
    tried: dict[Candidate, Failure] = {}
    drops: dict[Candidate, Dropped] = {}
    parked: tuple[Mapping[Candidate, Dropped], ...] = ()
    avoided: set[str] = set()
    beliefs: list[Candidate] = []
    small_models: set[str] = set()
    faults: int = 0
    conversation: Conversation | None = None
    asked: EmbeddingsAsked | None = None
    written: dict[tuple[str, str, str, str], Written | Dropped] = {}
    account: str | None = None
    left_out: tuple[str, ...] = ()
    beyond_belief: bool = False
    files: Located | None = None
    keeping: asyncio.Future[None] | None = None
    held_micros: int = 0
    said: str = ""

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
