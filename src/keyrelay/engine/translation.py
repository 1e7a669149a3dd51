"""Requests and answers between two dialects, for the candidates that do not speak the caller's.

A request is written once for each provider and model that may serve it, whichever of its keys does: what one cannot say
drops its candidates with a reason, before anything is reserved.
"""

from collections.abc import Iterable
from functools import partial
from typing import Final

import msgspec

from keyrelay.core.conversation import Answer, Conversation, EmbeddingsAsked
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import QuirksRow
from keyrelay.core.records import MOST_LEFT_OUT
from keyrelay.core.requests import CallRequest
from keyrelay.engine.collecting import AnswerCollector
from keyrelay.engine.jobs import Job
from keyrelay.engine.outcomes import WholeReading
from keyrelay.engine.recall import Recall, may_go_on, without_signatures
from keyrelay.engine.stored_responses import wants_keeping
from keyrelay.ports import Clock
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.ways import Way
from keyrelay.wire.dialects import (
    AnswerFacts,
    CallerCodec,
    Dialects,
    EmbeddingFacts,
    ProviderCodec,
    StreamHooks,
    Target,
    Unreadable,
    UntranslatableError,
    Written,
)
from keyrelay.wire.inline_thoughts import InlineReader, thinks_inline, without_inline
from keyrelay.wire.media import fitted
from keyrelay.wire.tool_names import RenamingReader, renamed, with_fitting_names, with_own_names
from keyrelay.wire.translated import AnswerStream, TranslatedStream

_ID_PREFIX: Final = "req_"


def way_of(candidate: Candidate, request: CallRequest) -> Way | None:
    """How a request goes to a candidate; None when its provider has no such operation."""
    ways = candidate.openai_ways if request.dialect == "openai" else candidate.ways.others
    return ways.get(request.operation)


def _takes_back(candidate: Candidate, request: CallRequest) -> bool:
    """Whether a candidate takes thoughts or signatures back that came with its answers."""
    way, habits = way_of(candidate, request), candidate.provider.row.habits
    if way is None:
        return False
    return way.dialect != "openai" or way.insists or habits.signs_calls or bool(habits.thoughts)


def is_plain(way: Way, request: CallRequest) -> bool:
    """Whether OpenAI's dialect is spoken on both sides, so that nothing has to be translated.

    Where a provider insists on its own words coming back, requests with tools take the longer way, on which they do.
    """
    if way.translated or request.dialect != "openai" or request.reshaped:
        return False
    return not (way.insists and "tools" in request.needs)


def account_of(candidate: Candidate) -> str:
    """The account that a candidate's key belongs to, among those of all providers."""
    return f"{candidate.provider_id}/{candidate.key.account}"


class Translator:
    """Writes requests and reads answers; what it finds out about a request is kept in its job."""

    __slots__ = ("_clock", "_dialects", "_recall")

    def __init__(self, dialects: Dialects, recall: Recall, clock: Clock) -> None:
        self._dialects = dialects
        self._recall = recall
        self._clock = clock

    def caller(self, job: Job) -> CallerCodec:
        """The codec of the caller."""
        return job.wishes.caller or self._dialects.callers[job.request.dialect]

    def written(self, job: Job, candidate: Candidate, way: Way) -> Written | Dropped:
        """The request as it goes to this candidate, or why it cannot. Raise CallerError when it is wrong in itself."""
        account = account_of(candidate) if job.account is not None else ""
        place = (way.dialect, candidate.provider_id, candidate.model, account)
        written = job.written.get(place)
        if written is None:
            written = self._write(job, candidate, way)
            if not isinstance(written, Dropped):  # one body is enough to hold
                job.written = {known: dropped for known, dropped in job.written.items() if isinstance(dropped, Dropped)}
            job.written[place] = written
        return written

    def whole(self, job: Job, candidate: Candidate, way: Way, body: bytes) -> WholeReading | Unreadable:
        """Read the body of a 200, and write it as the caller's."""
        codec = self._dialects.providers[way.dialect]
        if job.request.operation == "embeddings":
            return self._embeddings(job, candidate, codec, body)
        answer = codec.answer(body)
        if isinstance(answer, Unreadable):
            return answer
        if answer.finish == "error":
            return Unreadable(problem="the model broke its answer off")
        usage = None if answer.tokens is None else answer.tokens.usage
        if not self._passes(job, way):
            caller = self.caller(job)
            answer = with_own_names(answer, renamed(self.conversation(job), way.dialect))
            answer = without_inline(answer) if _thinks_inline(job, candidate, way) else answer
            answer = fitted(answer, partial(caller.shows, request=job.request))
            body = caller.answer(answer, self._facts(job, candidate))
            _note_left_out(job, answer.left_out)
        self._remember(job, candidate, answer, body)
        return WholeReading(body, usage)

    def stream(self, job: Job, candidate: Candidate, way: Way, *, max_event_bytes: int) -> TranslatedStream:
        """The reading of a stream that this candidate begins."""
        codec, collector = self._dialects.providers[way.dialect], AnswerCollector()
        caller = self.caller(job)
        writer = None if self._passes(job, way) else caller.writer(self._facts(job, candidate))

        reader = codec.reader()
        own = {} if writer is None else renamed(self.conversation(job), way.dialect)
        if own:
            reader = RenamingReader(reader, own)
        if writer is not None and _thinks_inline(job, candidate, way):
            reader = InlineReader(reader)

        def ended() -> None:
            _note_left_out(job, stream.left_out)
            self._remember(job, candidate, collector.answer(), b"")

        stream = TranslatedStream(
            codec.splitter(max_event_bytes),
            reader,
            writer,
            shows=partial(caller.shows, request=job.request),
            ends_at_eof=way.dialect == "gemini" or candidate.provider.row.stream.terminator == "any",
            hooks=StreamHooks(collector.feed, ended, lambda: self._took_s(job)),
            frame_end=b"\n" if way.dialect == "ollama" else b"\n\n",
        )
        return stream

    def broken(self, job: Job, stream: AnswerStream, error: CallerError) -> bytes:
        """What ends a stream that has begun and cannot go on, in the caller's dialect."""
        said = stream.fail(error) if isinstance(stream, TranslatedStream) else b""
        return said or self.caller(job).error_event(error, job.record.id)

    def restores(self, job: Job) -> bool:
        """Whether what is remembered of conversations may be put into the request, whoever gets it."""
        request = job.request
        if request.dialect != "openai":
            return True
        if "tools" not in request.needs:
            return False
        ways = (way_of(candidate, request) for candidate in job.plan.one_of_each_provider())
        return any(way is not None and not is_plain(way, request) for way in ways)

    async def fetch(self, job: Job) -> None:
        """Learn of other processes what they remember of a job's conversation."""
        request, client = job.request, job.record.client
        if not may_go_on(request) or not any(_takes_back(each, request) for each in job.plan.one_of_each_provider()):
            return
        try:
            conversation = self.caller(job).conversation(request)
        except CallerError:
            return  # who has to read it will say so
        continuity = self._recall.continuity
        await continuity.fetch(conversation, client, now_s=self._clock.epoch_s())
        job.conversation = continuity.restore(conversation, client, now_s=self._clock.epoch_s())

    def find_account(self, job: Job) -> None:
        """Note in a job whose signatures its conversation holds, if anybody's."""
        if not self._recall.continuity.knows(job.record.client):
            return
        try:
            conversation = self.conversation(job)
        except CallerError:
            return  # who has to read it will say so
        now_s = self._clock.epoch_s()
        job.account = self._recall.continuity.account_of(conversation, job.record.client, now_s=now_s)

    def conversation(self, job: Job) -> Conversation:
        """The request in the canonical form. Raise CallerError."""
        if job.conversation is None:
            conversation = self.caller(job).conversation(job.request)
            now_s = self._clock.epoch_s()
            job.conversation = self._recall.continuity.restore(conversation, job.record.client, now_s=now_s)
        return job.conversation

    def _remember(self, job: Job, candidate: Candidate, answer: Answer, body: bytes) -> None:
        """Keep of an answer what those who go on from it will need; without a body it was a stream."""
        client, now_s, request = job.record.client, self._clock.epoch_s(), job.request
        if job.wishes.told is not None:
            job.wishes.told(answer)
        continuity, account = self._recall.continuity, account_of(candidate)
        keeps = request.dialect != "responses" or wants_keeping(request)
        continuity.remember(client, answer, account, now_s=now_s, words=keeps)
        if request.dialect == "responses":
            whole = body or self.caller(job).answer(answer, self._facts(job, candidate))
            self._recall.responses.keep(request, whole, client, now_s=now_s)
        job.keeping = continuity.unwritten(client)

    def _passes(self, job: Job, way: Way) -> bool:
        """Whether the caller's dialect is the provider's, so that bytes pass through."""
        if way.dialect != job.request.dialect or not job.wishes.passes:
            return False
        return way.dialect != "openai" or is_plain(way, job.request)

    def _write(self, job: Job, candidate: Candidate, way: Way) -> Written | Dropped:
        request, codec = job.request, self._dialects.providers[way.dialect]
        row = candidate.model_row
        target = Target(
            provider_id=candidate.provider_id,
            model=candidate.model,
            quirks=_quirks(candidate, way),
            habits=candidate.provider.row.habits,
            max_output_tokens=row.max_output_tokens if row is not None else 0,
            asked_in=request.dialect,
        )
        try:
            passes, foreign = self._passes(job, way), job.account not in {None, account_of(candidate)}
            if passes and not (foreign and self._holds_signatures(job)):
                return codec.passed(request, target)
            if request.operation == "embeddings":
                return codec.embeddings_request(self._asked(job), target)
            conversation, extra = self.conversation(job), list[str]()
            if foreign:
                conversation, extra = without_signatures(conversation), ["signatures of another account"]
            conversation = with_fitting_names(conversation, renamed(conversation, way.dialect))
            written = codec.request(conversation, target)
        except UntranslatableError as error:
            return _inexpressible(candidate, str(error))
        except CallerError as error:
            if not any(_speaks(other, request) for other in job.plan.candidates()):
                raise
            return _inexpressible(candidate, error.message)  # who speaks the caller's dialect itself may know better
        left_out = (*conversation.left_out, *extra, *written.left_out)
        return written if left_out == written.left_out else msgspec.structs.replace(written, left_out=left_out)

    def _holds_signatures(self, job: Job) -> bool:
        """Whether a request holds signatures as it came, which would go on with it as it is. Raise CallerError."""
        sent = self.caller(job).conversation(job.request)
        return without_signatures(sent) is not sent

    def _asked(self, job: Job) -> EmbeddingsAsked:
        if job.asked is None:
            job.asked = self.caller(job).embeddings_asked(job.request)
        return job.asked

    def _embeddings(
        self, job: Job, candidate: Candidate, codec: ProviderCodec, body: bytes
    ) -> WholeReading | Unreadable:
        embeddings = codec.embeddings(body)
        if isinstance(embeddings, Unreadable):
            return embeddings
        asked = self._asked(job)
        if len(embeddings.vectors) != max(len(asked.inputs), len(asked.token_inputs)):
            return Unreadable(problem="there are not as many vectors as inputs")
        facts = EmbeddingFacts(model=candidate.model, input_tokens=job.amounts.input_tokens, asked=asked)
        usage = None if embeddings.tokens is None else embeddings.tokens.usage
        return WholeReading(self.caller(job).embeddings(embeddings, facts), usage)

    def _took_s(self, job: Job) -> float:
        """How long the answer has taken since it was asked for."""
        return max(0.0, self._clock.epoch_s() - job.sent_s)

    def _facts(self, job: Job, candidate: Candidate) -> AnswerFacts:
        return AnswerFacts(
            id=job.record.id.removeprefix(_ID_PREFIX),
            model=candidate.model,
            created_s=job.sent_s,
            input_tokens=job.amounts.input_tokens,
            request=job.request,
            conversation=self.conversation(job),
            took_s=self._took_s(job),
        )

    def __repr__(self) -> str:
        return f"<Translator {', '.join(self._dialects.callers)} to {', '.join(self._dialects.providers)}>"


def _thinks_inline(job: Job, candidate: Candidate, way: Way) -> bool:
    """Whether a model's thoughts stand in its words, and the caller's dialect has a place of their own for them."""
    if way.dialect not in {"openai", "ollama"} or job.request.operation != "chat":
        return False
    return thinks_inline(candidate.provider.row.habits.inline_thoughts, candidate.model)


def _note_left_out(job: Job, names: Iterable[str]) -> None:
    """Add what of an answer the caller could not be told to what of its request the provider could not."""
    job.left_out = (*job.left_out, *names)
    job.record.left_out = tuple(dict.fromkeys(job.left_out))[:MOST_LEFT_OUT]


def _speaks(candidate: Candidate, request: CallRequest) -> bool:
    """Whether a candidate takes the request in the caller's own dialect."""
    way = way_of(candidate, request)
    return way is not None and way.dialect == request.dialect and not request.reshaped


def _quirks(candidate: Candidate, way: Way) -> QuirksRow:
    """The parameter rules of a call: a row's are about its `dialect`, but for what its schemas may not hold."""
    if way.dialect == candidate.provider.row.dialect:
        return candidate.quirks
    return QuirksRow(strip_tool_schema=candidate.quirks.strip_tool_schema)


def _inexpressible(candidate: Candidate, problem: str) -> Dropped:
    return Dropped(DropReason.INEXPRESSIBLE, f"{candidate.provider.row.name} cannot be told {problem}")
