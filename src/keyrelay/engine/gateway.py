"""The story of one request, told once: plan, estimate, serve, settle, record.

`api` hands in a decoded request and a sink for streams, and gets a whole answer back or sees the stream go out.
Everything that the answer says of itself (who gave it, after how many attempts, at what cost) is decided here.
"""

from keyrelay.core.errors import CallerError
from keyrelay.core.records import WRITTEN_DOWN, RequestRecord, milliseconds
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.engine.amounts import note_cost
from keyrelay.engine.attempts import AttemptRunner, OpenStream
from keyrelay.engine.cache import AnswerCache, Ride
from keyrelay.engine.decisions import Decisions
from keyrelay.engine.executor import Executor
from keyrelay.engine.heads import ESTIMATED, STREAM_HEAD, WHOLE_HEAD, left_out, served_by, stream_head, whole_head
from keyrelay.engine.jobs import NO_WISHES, Job, Wishes
from keyrelay.engine.learner import Learner
from keyrelay.engine.passages import WholeAnswer
from keyrelay.engine.patience import PatientSink
from keyrelay.engine.pool import Plan, Pool
from keyrelay.engine.recall import Recall
from keyrelay.engine.relay import Relay
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.translation import Translator, account_of
from keyrelay.engine.waiting_room import RoomView
from keyrelay.ports import Ports, Reservation, Sink
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.resolve import near_matches
from keyrelay.wire.dialects import Dialects

_OK = 200
_SKIPPING_COMMENTS = frozenset({"openai", "responses", "anthropic"})
"""Dialects whose clients skip comments in a stream: Google's and Ollama's take each line for JSON."""


class Gateway:
    """Serves requests over the ports that it is given; with `answers`, some of them by answers given before."""

    __slots__ = (
        "_attempts",
        "_clock",
        "_executor",
        "_journal",
        "_observer",
        "_random",
        "_relay",
        "_settings",
        "_translator",
        "answers",
        "decisions",
        "learner",
        "pool",
        "recall",
    )

    def __init__(
        self,
        pool: Pool,
        ports: Ports,
        *,
        settings: EngineSettings,
        learner: Learner,
        dialects: Dialects,
        recall: Recall,
        answers: AnswerCache | None = None,
    ) -> None:
        self.pool = pool
        self.answers = answers
        self._clock = ports.clock
        self._observer = ports.observer
        self._journal = ports.journal
        self._settings = settings
        self._random = ports.random
        self.decisions = Decisions(pool, settings.kept_requests)
        self.learner = learner
        self.recall = recall
        self._translator = translator = Translator(dialects, recall, ports.clock)
        self._attempts = AttemptRunner(ports, settings=settings, learner=learner, translator=translator)
        self._executor = Executor(
            pool, self._attempts, ports, settings=settings, learner=learner, translator=translator
        )
        self._relay = Relay(ports, settings=settings, redactor=learner.redactor, translator=translator)

    async def serve(
        self,
        request: CallRequest,
        record: RequestRecord,
        sink: Sink,
        wishes: Wishes = NO_WISHES,
        *,
        fresh: bool = False,
    ) -> tuple[bytes, bytes] | None:
        """Head and body of a whole answer, or None when a stream has gone to the sink. Raise CallerError.

        With `fresh` a provider gives it, whatever has been answered before.
        """
        journal = self._journal
        if journal is not None and journal.full:
            raise _nothing_more_can_be_kept()
        record.operation = request.operation
        record.model_asked = request.model
        record.stream = request.stream
        plan = self._plan(request.model, wishes)
        if self.answers is not None and not fresh and request.dialect == "openai":
            asked = self.answers.asked(request, record, wishes, wishes.cache)
            if asked is not None:
                return await self.answers.serve(asked, Ride(self, request, record, sink, wishes))
        total_s = self._settings.total_s if wishes.deadline_s is None else wishes.deadline_s
        # What is asked for an opaque stream may answer with something else.
        waits = request.stream and not request.opaque and request.dialect in _SKIPPING_COMMENTS
        patient = PatientSink(sink, record.id) if waits else None
        job = Job(request, record, plan, plan.estimate(request.body), record.started_at + total_s, wishes, patient)
        if request.dialect != "openai" or "tools" in request.needs:
            self._go_on_from(job)
        try:
            outcome, candidate, reservation = await self._executor.serve(job)
        except BaseException:
            self.decisions.keep(job, preferred=wishes.prefer)
            raise
        if patient is not None and patient.begun:
            sink = patient
        record.provider, record.key, record.model = candidate.provider_id, candidate.key.label, candidate.model
        record.status = _OK
        if isinstance(outcome, WholeAnswer):
            answer = self._whole(job, outcome, candidate)
            if journal is not None and journal.syncs:
                await journal.synced()
            return answer
        await self._stream(job, outcome, candidate, reservation, sink=sink)
        return None

    def configure(self, settings: EngineSettings) -> None:
        """Go on with other settings; what is under way may see the old ones or the new ones."""
        self._settings = settings
        self.decisions.keep_at_least(settings.kept_requests)
        self._attempts.configure(settings)
        self._executor.configure(settings)
        self._relay.configure(settings)

    def finish(self, record: RequestRecord) -> None:
        """Write the request down; only the first call counts."""
        if record.started_at:
            record.ms = milliseconds(self._clock.monotonic_s() - record.started_at)
            record.started_at = WRITTEN_DOWN
            self._observer.finished(record)

    def _go_on_from(self, job: Job) -> None:
        """Bring in what is remembered of the answers that a conversation goes on from. Raise CallerError."""
        if job.request.dialect == "responses":
            expanded = self.recall.responses.expand(job.request, job.record.client, now_s=self._clock.epoch_s())
            if expanded is not job.request:
                job.request = expanded
                job.raw = job.plan.estimate(bytes(expanded.fields["input"]))
        self._translator.find_account(job)
        if job.account is not None:
            account = job.account
            job.plan = job.plan.preferring(lambda each: account_of(each) == account, self._random)

    def _plan(self, name: str, wishes: Wishes) -> Plan:
        plan = self.pool.plan(name)
        if plan is None:
            raise unknown_model(self.pool, name)
        if not wishes.prefer:
            return plan
        return plan.preferring(lambda candidate: candidate.provider_id == wishes.prefer, self._random)

    def _whole(self, job: Job, answer: WholeAnswer, candidate: Candidate) -> tuple[bytes, bytes]:
        record, wishes = job.record, job.wishes
        record.usage = answer.usage or Usage(job.amounts.input_tokens, job.amounts.output_tokens, estimated=True)
        note_cost(record, candidate, job.sent_s)
        body = answer.body
        if wishes.shape_whole is not None:
            body = wishes.shape_whole(body, provider=record.provider, model=record.model, usage=answer.usage)
        content_type = answer.content_type or (wishes.caller and wishes.caller.whole_type)
        rest = whole_head(content_type) if content_type else WHOLE_HEAD
        head = self._head(job, candidate, rest if answer.usage is not None else ESTIMATED + rest)
        self.decisions.keep(job, candidate, wishes.prefer)
        self.finish(record)
        return head, body

    async def _stream(
        self, job: Job, stream: OpenStream, candidate: Candidate, reservation: Reservation, *, sink: Sink
    ) -> None:
        record, shape = job.record, job.wishes.shape_stream
        record.first_token_ms = milliseconds(self._clock.monotonic_s() - record.started_at)
        caller = job.wishes.caller
        head = self._head(job, candidate, STREAM_HEAD if caller is None else stream_head(caller.stream_type))

        def settle() -> None:
            self._attempts.settle_stream(job, candidate, reservation)
            self._executor.announce()
            note_cost(record, candidate, job.sent_s)
            self.decisions.keep(job, candidate, job.wishes.prefer)
            self.finish(record)

        await self._relay.run(job, stream, candidate, sink=sink, head=head, shape=shape, settle=settle)

    def _head(self, job: Job, candidate: Candidate, rest: str) -> bytes:
        """The lines of an answer's head, each with its line end; none of the values can hold one."""
        record = job.record
        if job.left_out:
            rest = left_out(job.left_out) + rest
        if not self._settings.answer_headers:
            return f"x-request-id: {record.id}\r\n{rest}".encode("ascii")
        own_ms = (self._clock.monotonic_s() - record.started_at) * 1000 - record.upstream_ms - record.waited_ms
        cost = "" if record.cost_usd is None else f"x-keyrelay-cost-usd: {record.cost_usd:.8f}\r\n"
        return (
            f"x-request-id: {record.id}\r\n{candidate.head_lines or _say(candidate)}{cost}"
            f"x-keyrelay-attempts: {len(record.attempts)}\r\nx-keyrelay-overhead-ms: {max(0, own_ms):.3f}\r\n{rest}"
        ).encode("ascii")

    def announce(self) -> None:
        """Something has changed that those who wait for may look at."""
        self._executor.announce()

    def waiting(self) -> RoomView:
        """How many wait for quota."""
        return self._executor.room.view()

    def __repr__(self) -> str:
        return f"<Gateway {self.pool!r} {self._executor!r}>"


def _nothing_more_can_be_kept() -> CallerError:
    return CallerError(
        503,
        "Keyrelay cannot write down any more requests: its disk or journal is full (/readyz?verbose=true says why).",
        kind="service_unavailable_error",
        code="journal_full",
        headers=(("retry-after", "5"), ("x-should-retry", "true")),
    )


def _say(candidate: Candidate) -> str:
    """The lines that say who answered; made once for each candidate."""
    candidate.head_lines = served_by(candidate.provider_id, candidate.model, candidate.key.label)
    return candidate.head_lines


def unknown_model(pool: Pool, name: str) -> CallerError:
    """The error for a name that nothing configured answers to, with names that resemble it."""
    near = near_matches(pool.snapshot, name)
    hint = f" Did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
    message = f"The model '{name}' is not known to any configured provider.{hint} GET /v1/models lists all names."
    return CallerError(404, message, param="model", code="model_not_found", detail={"near_matches": near})
