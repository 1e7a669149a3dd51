"""The ways on which a request gets through: as it is, unread, translated, or to the files that a provider keeps.

A passage writes the request for a provider and reads what it answers. Which one is taken depends on the two dialects
and the operation alone.
"""

from typing import Final, Protocol

from msgspec.structs import replace

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.usage import Usage
from keyrelay.engine.files import Files
from keyrelay.engine.jobs import Job
from keyrelay.engine.outcomes import WholeAnswer, WholeReading
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.translation import Translator
from keyrelay.ports import UpstreamAnswer
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped
from keyrelay.routing.ways import Way
from keyrelay.wire.chat.provider import without_echoes
from keyrelay.wire.dialects import Unreadable
from keyrelay.wire.files import FileStream, read_file
from keyrelay.wire.opaque import OpaqueStream, answer_type, encode_opaque, read_opaque
from keyrelay.wire.openai import asks_usage, encode_request, left_out_by, read_answer
from keyrelay.wire.stream import StreamReader
from keyrelay.wire.translated import AnswerStream

Outgoing = tuple[bytes, tuple[tuple[str, str], ...], tuple[memoryview, ...]]
"""A request on its way: its body, its headers, and the parts of an upload that stands in place of the body."""

_ASSISTANT: Final = b'"assistant"'
"""What a body holds in which clients may send back what other providers have said."""

_NO_PARTS: Final[tuple[memoryview, ...]] = ()
_NO_USAGE: Final = Usage(0, 0)
_MISSING, _TOO_LARGE = (404, 410), 413


class Passage(Protocol):
    """One of these ways."""

    def write(self, job: Job, candidate: Candidate, way: Way) -> Outgoing:
        """The request as it goes to a candidate."""
        ...

    def whole(self, job: Job, candidate: Candidate, way: Way, answer: UpstreamAnswer) -> WholeAnswer | Unreadable:
        """Read an answer with status 200 that came in one piece."""
        ...

    def stream(self, job: Job, candidate: Candidate, way: Way) -> AnswerStream:
        """What reads the stream that a candidate has begun."""
        ...


class PlainPassage:
    """OpenAI's dialect on both sides: what comes goes on, but for the model's name and the provider's rules.

    `without_usage` are providers that refused to be asked for a stream's usage.
    """

    __slots__ = ("settings", "without_usage")

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.without_usage: set[str] = set()

    def write(self, job: Job, candidate: Candidate, way: Way) -> Outgoing:
        """The caller's own bytes wherever nothing has to change."""
        request, quirks = job.request, candidate.quirks
        if _ASSISTANT in request.body and request.operation == "chat":
            request = without_echoes(request, candidate.provider.row.habits)
        ask_usage = request.stream and self.asks_usage(job, candidate)
        body = encode_request(request, quirks, candidate.model, ask_usage=ask_usage)
        job.left_out = () if body is job.request.body else left_out_by(quirks, request.fields)
        return body, way.headers, _NO_PARTS

    def whole(self, job: Job, candidate: Candidate, way: Way, answer: UpstreamAnswer) -> WholeAnswer | Unreadable:
        """Read just far enough to account for it."""
        del candidate, way
        body = answer.body
        reading = read_answer(job.request.operation, body)
        if reading.problem:
            return Unreadable(problem=reading.problem, is_error=reading.is_error)
        return _unless_streamed(job, WholeAnswer(body, reading.usage, answer))

    def stream(self, job: Job, candidate: Candidate, way: Way) -> AnswerStream:
        """The stream passes, but for usage that only Keyrelay has asked for."""
        del way
        hide_usage = self.asks_usage(job, candidate)
        return StreamReader(hide_usage=hide_usage, max_event_bytes=self.settings.max_event_bytes)

    def asks_usage(self, job: Job, candidate: Candidate) -> bool:
        """Whether Keyrelay asks for the stream's usage on its own account."""
        return asks_usage(job.request, candidate.provider.row) and candidate.provider_id not in self.without_usage

    def __repr__(self) -> str:
        return f"<PlainPassage, {len(self.without_usage)} providers without usage>"


class OpaquePassage:
    """What is in a request and its answer is between caller and provider: pictures, sound, scores."""

    __slots__ = ("settings",)

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings

    def write(self, job: Job, candidate: Candidate, way: Way) -> Outgoing:
        """The body or the form with the model's name in it."""
        job.left_out = ()
        body, parts = encode_opaque(job.request, candidate.quirks.model_prefix, candidate.model)
        return body, way.headers, parts

    def whole(self, job: Job, candidate: Candidate, way: Way, answer: UpstreamAnswer) -> WholeAnswer | Unreadable:
        """Whatever it is, unless it is empty or an error; some models answer a stream with it."""
        del candidate, way
        content_type = answer_type(answer.headers.get("content-type", ""))
        reading = read_opaque(job.request.operation, content_type, answer.body)
        if reading.problem:
            return Unreadable(problem=reading.problem, is_error=reading.is_error)
        return WholeAnswer(answer.body, reading.usage, answer, content_type)

    def stream(self, job: Job, candidate: Candidate, way: Way) -> AnswerStream:
        """Events pass; one may be a whole picture."""
        del job, candidate, way
        return OpaqueStream(max_event_bytes=self.settings.max_answer_bytes)

    def __repr__(self) -> str:
        return "<OpaquePassage>"


class FilePassage:
    """Files that providers keep: the form of an upload passes as it is, and so does what is in a file.

    What is said of a file has the provider's own id, in whose place the client gets one that says where the file is.
    """

    __slots__ = ("_files",)

    def __init__(self, files: Files) -> None:
        self._files = files

    def write(self, job: Job, candidate: Candidate, way: Way) -> Outgoing:
        """The form, or nothing."""
        del candidate
        job.left_out = ()
        form = job.request.form
        return b"", way.headers, () if form is None else (form.content,)

    def whole(self, job: Job, candidate: Candidate, way: Way, answer: UpstreamAnswer) -> WholeAnswer | Unreadable:
        """What is said of a file; of what is in one only nothing comes in one piece."""
        del way
        call, client = job.request.file, job.record.client
        if call is None or (call.content and not answer.body):
            return WholeAnswer(b"", _NO_USAGE, answer, answer_type(answer.headers.get("content-type", "")))
        reading = read_file(answer.body)
        if reading.problem:
            return Unreadable(problem=reading.problem, is_error=reading.is_error)
        given = call.file_id or self._files.uploaded(candidate, reading.id, client)
        told = reading.told(given)
        if call.method != "DELETE":
            self._files.note(client, given, told)
        elif bytes(reading.members.get("deleted", b"true")) == b"true":
            self._files.forget(client, given)
        return WholeAnswer(told, _NO_USAGE, answer)

    def stream(self, job: Job, candidate: Candidate, way: Way) -> AnswerStream:
        """What is in a file."""
        del job, candidate, way
        return FileStream()

    def refused(self, job: Job, failure: Failure) -> Failure:
        """A failure as it has to be understood here: what is not there, or is too large, is so for every key."""
        call = job.request.file
        missing = failure.status in _MISSING and call is not None and bool(call.file_id)
        if missing and call is not None:
            self._files.forget(job.record.client, call.file_id)
        if missing or failure.status == _TOO_LARGE:
            return replace(failure, kind=FailureKind.REQUEST, scope=FailureScope.REQUEST, until_s=None)
        return replace(failure, until_s=None) if failure.kind is FailureKind.MODEL else failure

    def __repr__(self) -> str:
        return f"<FilePassage {self._files!r}>"


class TranslatedPassage:
    """Another dialect on one side, or OpenAI's with what the provider wants back put in."""

    __slots__ = ("_translator", "settings")

    def __init__(self, settings: EngineSettings, translator: Translator) -> None:
        self.settings = settings
        self._translator = translator

    def write(self, job: Job, candidate: Candidate, way: Way) -> Outgoing:
        """The request in the provider's words; a candidate that cannot be told it is never chosen."""
        written = self._translator.written(job, candidate, way)
        if isinstance(written, Dropped):
            raise TypeError(written.text)
        job.left_out = written.left_out
        same = way.dialect == job.request.dialect
        own = (*written.headers, *(job.request.headers if same else ()))
        headers = tuple({**dict(way.headers), **dict(own)}.items()) if own else way.headers
        return written.body, headers, _NO_PARTS

    def whole(self, job: Job, candidate: Candidate, way: Way, answer: UpstreamAnswer) -> WholeAnswer | Unreadable:
        """The answer in the caller's words."""
        if job.request.stream:
            return _NOT_A_STREAM
        reading = self._translator.whole(job, candidate, way, answer.body)
        return WholeAnswer(reading.body, reading.usage, answer) if isinstance(reading, WholeReading) else reading

    def stream(self, job: Job, candidate: Candidate, way: Way) -> AnswerStream:
        """Event by event, in the caller's words."""
        return self._translator.stream(job, candidate, way, max_event_bytes=self.settings.max_event_bytes)

    def __repr__(self) -> str:
        return f"<TranslatedPassage {self._translator!r}>"


_NOT_A_STREAM: Final = Unreadable(problem="a stream was asked for and a whole answer came")


def _unless_streamed(job: Job, answer: WholeAnswer) -> WholeAnswer | Unreadable:
    return _NOT_A_STREAM if job.request.stream else answer
