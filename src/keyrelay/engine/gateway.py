"""The story of one request, told once: plan, estimate, serve, settle, record.

`api` hands in a decoded request and a sink for streams, and gets a whole answer back or sees the stream go out.
Everything that the answer says of itself (who gave it, after how many attempts, at what cost) is decided here.
"""

from collections.abc import Callable

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.records import WRITTEN_DOWN, RequestRecord, milliseconds
from keyrelay.core.redaction import Redactor
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.engine.attempts import AttemptRunner, OpenStream, WholeAnswer, used_amounts
from keyrelay.engine.executor import Executor
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan, Pool
from keyrelay.engine.relay import Relay, StreamShape, WholeShape
from keyrelay.engine.settings import EngineSettings
from keyrelay.ports import Clock, Ledger, Observer, Reservation, Sink, Upstream
from keyrelay.quota.estimates import COMPLETION_TOKENS, estimate
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.resolve import near_matches

_PER_MILLION = 1_000_000
_OK = 200


class Wishes(msgspec.Struct, frozen=True):
    """What a caller may ask for in headers: a deadline in seconds, a provider to try first, another shape."""

    deadline_s: float | None = None
    prefer: str = ""
    shape_whole: WholeShape | None = None
    shape_stream: StreamShape | None = None


NO_WISHES = Wishes()


class Gateway:
    """Serves requests over the ports that it is given."""

    __slots__ = ("_attempts", "_clock", "_executor", "_ledger", "_observer", "_random", "_relay", "_settings", "pool")

    def __init__(
        self,
        pool: Pool,
        upstream: Upstream,
        ledger: Ledger,
        *,
        clock: Clock,
        observer: Observer,
        settings: EngineSettings,
        random: Callable[[], float],
        redactor: Redactor,
    ) -> None:
        self.pool = pool
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._settings = settings
        self._random = random
        self._attempts = AttemptRunner(upstream, ledger, clock, settings=settings, random=random, redactor=redactor)
        self._executor = Executor(
            pool, self._attempts, ledger, clock=clock, observer=observer, settings=settings, random=random
        )
        self._relay = Relay(clock, settings=settings, random=random, redactor=redactor)

    async def serve(
        self, request: CallRequest, record: RequestRecord, sink: Sink, wishes: Wishes = NO_WISHES
    ) -> tuple[bytes, bytes] | None:
        """Head and body of a whole answer, or None when a stream has gone to the sink. Raise CallerError."""
        record.operation = request.operation
        record.model_asked = request.model
        record.stream = request.stream
        plan = self._plan(request.model, wishes)
        total_s = self._settings.total_s if wishes.deadline_s is None else wishes.deadline_s
        job = Job(request, record, plan, _estimate(request), record.started_at + total_s)
        outcome, candidate, reservation = await self._executor.serve(job)
        record.provider, record.key, record.model = candidate.provider_id, candidate.key.label, candidate.model
        record.status = _OK
        if isinstance(outcome, WholeAnswer):
            return self._whole(job, outcome, candidate, wishes)
        await self._stream(job, outcome, candidate, reservation, sink=sink, shape=wishes.shape_stream)
        return None

    def finish(self, record: RequestRecord) -> None:
        """Write the request down; only the first call counts."""
        if record.started_at:
            record.ms = milliseconds(self._clock.monotonic_s() - record.started_at)
            record.started_at = WRITTEN_DOWN
            self._observer.finished(record)

    def _plan(self, name: str, wishes: Wishes) -> Plan:
        plan = self.pool.plan(name)
        if plan is None:
            raise unknown_model(self.pool, name)
        return plan.preferring(wishes.prefer, self._random) if wishes.prefer else plan

    def _whole(self, job: Job, answer: WholeAnswer, candidate: Candidate, wishes: Wishes) -> tuple[bytes, bytes]:
        record = job.record
        record.usage = answer.usage or Usage(job.amounts.input_tokens, job.amounts.output_tokens, estimated=True)
        record.cost_usd = cost_usd(candidate, record.usage)
        body = answer.body
        if wishes.shape_whole is not None:
            body = wishes.shape_whole(body, provider=record.provider, model=record.model, usage=answer.usage)
        head = self._head(record, candidate, _WHOLE_HEAD)
        self.finish(record)
        return head, body

    async def _stream(
        self,
        job: Job,
        stream: OpenStream,
        candidate: Candidate,
        reservation: Reservation,
        *,
        sink: Sink,
        shape: StreamShape | None,
    ) -> None:
        record = job.record
        record.first_token_ms = milliseconds(self._clock.monotonic_s() - record.started_at)
        head = self._head(record, candidate, _STREAM_HEAD)

        def settle() -> None:
            usage = record.usage
            self._ledger.settle(reservation, used_amounts(usage, job.amounts), self._clock.epoch_s())
            record.cost_usd = cost_usd(candidate, usage) if usage else None
            self.finish(record)

        await self._relay.run(job, stream, candidate, sink=sink, head=head, shape=shape, settle=settle)

    def _head(self, record: RequestRecord, candidate: Candidate, rest: str) -> bytes:
        """The lines of an answer's head, each with its line end; none of the values can hold one."""
        if not self._settings.answer_headers:
            return f"x-request-id: {record.id}\r\n{rest}".encode("ascii")
        own_ms = (self._clock.monotonic_s() - record.started_at) * 1000 - record.upstream_ms
        cost = "" if record.cost_usd is None else f"x-keyrelay-cost-usd: {record.cost_usd:.8f}\r\n"
        return (
            f"x-request-id: {record.id}\r\n{candidate.head_lines or _say(candidate)}{cost}"
            f"x-keyrelay-attempts: {len(record.attempts)}\r\nx-keyrelay-overhead-ms: {max(0.0, own_ms):.3f}\r\n{rest}"
        ).encode("ascii")

    def __repr__(self) -> str:
        return f"<Gateway {self.pool!r} {self._executor!r}>"


_WHOLE_HEAD = "content-type: application/json\r\n"
_STREAM_HEAD = "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"


def _say(candidate: Candidate) -> str:
    """The lines that say who answered; made once for each candidate."""
    names = (candidate.provider_id, candidate.model, candidate.key.label)
    provider, model, key = ("".join(sign if " " <= sign <= "~" else "?" for sign in name) for name in names)
    lines = f"x-keyrelay-provider: {provider}\r\nx-keyrelay-model: {model}\r\nx-keyrelay-key: {key}\r\n"
    candidate.head_lines = lines
    return lines


def cost_usd(candidate: Candidate, usage: Usage) -> float | None:
    """Cost at the catalogue's list price; None when the catalogue has no price for the model."""
    row = candidate.model_row
    if row is None or row.price_input_usd_per_mtok is None:
        return None
    price_out = row.price_output_usd_per_mtok or 0.0
    return (usage.input_tokens * row.price_input_usd_per_mtok + usage.output_tokens * price_out) / _PER_MILLION


def unknown_model(pool: Pool, name: str) -> CallerError:
    """The error for a name that nothing configured answers to, with names that resemble it."""
    near = near_matches(pool.snapshot, name)
    hint = f" Did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
    message = f"The model '{name}' is not known to any configured provider.{hint} GET /v1/models lists all names."
    return CallerError(404, message, param="model", code="model_not_found", detail={"near_matches": near})


def _estimate(request: CallRequest) -> Amounts:
    completion = 0 if request.operation == "embeddings" else COMPLETION_TOKENS
    return estimate(request.body, max_tokens=request.max_output_tokens, completion_tokens=completion)
