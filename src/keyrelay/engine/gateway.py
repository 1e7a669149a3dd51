"""The story of one request, told once: plan, estimate, serve, settle, record.

`api` hands in a decoded request and a sink for streams, and gets a whole answer back or sees the stream go out.
Everything that the answer says of itself (who gave it, after how many attempts, at what cost) is decided here.
"""

from typing import Final

from keyrelay.core.errors import CallerError
from keyrelay.core.records import MOST_LEFT_OUT, RequestRecord, milliseconds
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.engine.amounts import note_cost
from keyrelay.engine.attempts import AttemptRunner
from keyrelay.engine.cache import AnswerCache, Ride
from keyrelay.engine.client_limits import ClientLimits
from keyrelay.engine.decisions import Decisions
from keyrelay.engine.executor import Executor
from keyrelay.engine.files import Files, Located
from keyrelay.engine.heads import (
    ESTIMATED,
    STREAM_HEAD,
    WHOLE_HEAD,
    file_head,
    left_out,
    served_by,
    stream_head,
    whole_head,
)
from keyrelay.engine.jobs import Job
from keyrelay.engine.learner import Learner
from keyrelay.engine.outcomes import OpenStream, WholeAnswer
from keyrelay.engine.patience import PatientSink
from keyrelay.engine.pool import Plan, Pool
from keyrelay.engine.recall import MOST_FETCHING_S, Recall, fetched, kept
from keyrelay.engine.relay import Relay
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.translation import Translator, account_of
from keyrelay.engine.waiting_room import RoomView
from keyrelay.engine.wishes import NO_WISHES, Wishes
from keyrelay.ports import Ports, Reservation, Sink
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.resolve import near_matches
from keyrelay.wire.dialects import Dialects

_OK: Final = 200
_SKIPPING_COMMENTS: Final = frozenset({"openai", "responses", "anthropic"})
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
        "client_limits",
        "decisions",
        "files",
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
        files: Files | None = None,
    ) -> None:
        self.pool = pool
        self.files = files
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
        self._attempts = AttemptRunner(ports, settings=settings, learner=learner, translator=translator, files=files)
        self._executor = Executor(
            pool, self._attempts, ports, settings=settings, learner=learner, translator=translator
        )
        self.client_limits = ClientLimits(pool, ports)
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
        located = self._locate(request, record)
        plan = self._plan(request, wishes, located)
        if self.answers is not None and not fresh:
            asked = self.answers.asked(request, record, wishes, wishes.cache)
            if asked is not None:
                return await self.answers.serve(asked, Ride(self, request, record, sink, wishes))
        total_s = self._settings.total_s if wishes.deadline_s is None else wishes.deadline_s
        # What is asked for an opaque stream may answer with something else.
        waits = request.stream and not request.opaque and request.dialect in _SKIPPING_COMMENTS
        patient = PatientSink(sink, record.id) if waits else None
        raw, total_at = plan.estimate(request.body), record.started_at + total_s
        job = Job(request, record, plan, raw, total_at, wishes=wishes, patient=patient)
        job.files = located
        if self._translator.restores(job):
            await self._go_on_from(job)
        if wishes.limited:
            await self.client_limits.take(job)
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
            if job.keeping is not None or (journal is not None and journal.syncs):
                await self._kept_and_synced(job)
            return answer
        await self._stream(job, outcome, candidate, reservation, sink=sink)
        return None

    async def _kept_and_synced(self, job: Job) -> None:
        """Wait until an answer may go out: others know what is remembered of it, and it is written down for good."""
        if job.keeping is not None:
            await kept(job.keeping)
        if self._journal is not None and self._journal.syncs:
            await self._journal.synced()

    def configure(self, settings: EngineSettings) -> None:
        """Go on with other settings; what is under way may see the old ones or the new ones."""
        self._settings = settings
        self.decisions.keep_at_least(settings.kept_requests)
        self._attempts.configure(settings)
        self._executor.configure(settings)
        self._relay.configure(settings)

    async def keep_response(self, request: CallRequest, record: RequestRecord, response: bytes) -> None:
        """Keep an answer of the Responses dialect that took no call, so that it can be gone on from by its id."""
        responses, client = self.recall.responses, record.client
        if responses.keep(request, response, client, now_s=self._clock.epoch_s()):
            keeping = responses.unwritten(client)
            if keeping is not None:
                await kept(keeping)

    def finish(self, record: RequestRecord) -> None:
        """Write the request down; only the first call counts."""
        if record.started_at:
            if self.client_limits.holds:
                self.client_limits.settle(record)
            record.ms = milliseconds(self._clock.monotonic_s() - record.started_at)
            record.mark_written()
            self._observer.finished(record)

    async def _go_on_from(self, job: Job) -> None:
        """Bring in what is remembered of the answers that a conversation goes on from. Raise CallerError."""
        responses, client, others_know = self.recall.responses, job.record.client, self.recall.waits
        until_at = self._clock.monotonic_s() + MOST_FETCHING_S
        if job.request.dialect == "responses":
            told = not others_know or await fetched(
                responses.fetch(job.request, client, now_s=self._clock.epoch_s()), until_at
            )
            try:
                expanded = responses.expand(job.request, client, now_s=self._clock.epoch_s())
            except CallerError as error:
                raise error if told else _still_fetching() from None
            if expanded is not job.request:
                job.request = expanded
                items = bytes(expanded.fields["input"])
                job.raw = job.plan.estimate(items)
                job.files = self._named(expanded, job.record, b"\n".join((expanded.body, items)))
        if others_know:
            await fetched(self._translator.fetch(job), until_at)
        self._translator.find_account(job)
        if job.account is not None:
            account = job.account
            job.plan = job.plan.preferring(lambda each: account_of(each) == account, self._random)

    def _locate(self, request: CallRequest, record: RequestRecord) -> Located | None:
        """Where the files are that a request is about; None when it is about none. Raise CallerError."""
        if request.operation == "chat":
            return self._named(request, record, request.body)
        return None if request.file is None else self._files().asked_for(request.file, record.client)

    def _named(self, request: CallRequest, record: RequestRecord, body: bytes) -> Located | None:
        """Where the files are that a chat names. Raise CallerError."""
        files = self.files
        if files is None or not files.may_name(body):
            return None
        return files.named_in(request, record.client, body)

    def _files(self) -> Files:
        """Finds files. Raise CallerError when nothing here does."""
        if self.files is None:
            raise CallerError(400, "Files are not handed out here.", code="unsupported_operation")
        return self.files

    def _plan(self, request: CallRequest, wishes: Wishes, located: Located | None) -> Plan:
        name, file = request.model, request.file
        plan = self.pool.plan(name) if file is None else self._files().plan(file, located)
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
        if job.request.file is not None and job.request.file.content:
            rest = file_head(answer.answer.headers)
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
        rest = STREAM_HEAD if caller is None else stream_head(caller.stream_type)
        if job.request.file is not None:
            rest = file_head(stream.answer.headers)
        head = self._head(job, candidate, rest)

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
            record.left_out = record.left_out or job.left_out[:MOST_LEFT_OUT]
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


def _still_fetching() -> CallerError:
    """The error for a conversation of which too much lies elsewhere: what has come by now need not come again."""
    return CallerError(
        503,
        "The answers that this request goes on from could not be fetched in time; ask again.",
        kind="service_unavailable_error",
        code="state_not_ready",
        headers=(("retry-after", "1"), ("x-should-retry", "true")),
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
