"""What a dialect has to offer, on the caller's side and on the provider's.

Ten directions instead of twenty-five pairs: a caller's codec reads requests into `core.conversation` and writes answers
and events out of it, a provider's codec the other way round. Codecs are pure, keep nothing between calls but in the
objects that they make for one stream, and never change what they are given: they run again on each attempt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from keyrelay.core.conversation import Answer, Conversation, Dialect, Embeddings, EmbeddingsAsked, Event, Media
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import HabitsRow, Operation, QuirksRow
from keyrelay.core.requests import CallRequest


class UntranslatableError(ValueError):
    """A request that a target's dialect cannot express: `field` is what the caller said, `reason` why not."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


class AnswerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says of itself beyond the model's words.

    `id` is made of the request's id (32 hex digits; each dialect puts its prefix before it), `model` the name that
    answered, `created_s` (epoch) when. `input_tokens` is the estimate of the prompt, for where usage has to be said
    before the provider does. `request` is what was asked, `conversation` the same in the canonical form. `took_s` is
    how long a whole answer took, 0 where nobody says.
    """

    id: str
    model: str
    created_s: float
    input_tokens: int
    request: CallRequest
    conversation: Conversation
    took_s: float = 0.0


class EventWriter(Protocol):
    """Writes one streamed answer in a caller's dialect, framing included."""

    def write(self, event: Event) -> bytes:
        """The bytes for an event; often none, as when it only has to be known at the end."""
        ...

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """What ends a whole answer. Usage is what the last `Counted` said, else the estimate and what was written.

        `left_out` names what the provider said and the caller could not be told; it is told where clients do not mind.
        `took_s` is how long the answer took, 0 where nobody says.
        """
        ...

    def fail(self, error: CallerError) -> bytes:
        """What ends an answer that has begun and cannot go on; empty where `CallerCodec.error_event` says it all."""
        ...


class CallerCodec(Protocol):
    """One dialect as callers speak it."""

    dialect: Dialect
    whole_type: str
    """`content-type` of a whole answer."""
    stream_type: str
    """`content-type` of a stream."""

    def request(
        self, operation: Operation, body: bytes, *, max_depth: int, model: str = "", stream: bool | None = None
    ) -> CallRequest:
        """Read a body just far enough to route it: model, stream, bound, what a model must be able to do.

        `model` and `stream` are given by dialects that say them in the path. Raise CallerError (400) naming the field.
        """
        ...

    def conversation(self, request: CallRequest) -> Conversation:
        """The request in the canonical form. Raise CallerError (400) whose `param` points to the field."""
        ...

    def shows(self, part: Media, request: CallRequest) -> bool:
        """Whether the answer to a request has a place for this; what it has not is never given to the two below."""
        ...

    def answer(self, answer: Answer, facts: AnswerFacts) -> bytes:
        """The body of a whole answer."""
        ...

    def writer(self, facts: AnswerFacts) -> EventWriter:
        """The writer of one streamed answer."""
        ...

    def embeddings_asked(self, request: CallRequest) -> EmbeddingsAsked:
        """A request for embeddings. Raise CallerError; also where the dialect has none."""
        ...

    def embeddings(self, embeddings: Embeddings, facts: "EmbeddingFacts") -> bytes:
        """The body of their answer."""
        ...

    def error(self, error: CallerError, request_id: str) -> tuple[int, bytes]:
        """Status and body of an error."""
        ...

    def error_event(self, error: CallerError, request_id: str) -> bytes:
        """The same in a stream that has begun; nothing follows it."""
        ...


class EmbeddingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer with embeddings says beyond the vectors; see `AnswerFacts`."""

    model: str
    input_tokens: int
    asked: EmbeddingsAsked


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's codec has to know of whom it writes for.

    `quirks` are the provider's parameter rules, `habits` what it takes inside of messages; `max_output_tokens` is the
    most that the model gives (0: unknown), for dialects that insist on a bound. `asked_in` is the caller's dialect,
    empty for none in particular: what is not said does not mean the same in all of them.
    """

    provider_id: str
    model: str
    quirks: QuirksRow = QuirksRow()
    habits: HabitsRow = HabitsRow()
    max_output_tokens: int = 0
    asked_in: Dialect | Literal[""] = ""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a provider: its body and extra headers.

    `left_out` is what its dialect could not say, in the words of the canonical form (`seed`, `top_k`, `tools.strict`).
    """

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A 200 that is no answer: `problem` says what is wrong with it, `is_error` that it holds a provider's error.

    `error` is that error (JSON, for `wire.errors.read_error`) where the body does not say it so.
    """

    problem: str
    is_error: bool = False
    error: bytes = b""


class StreamFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that cannot go on.

    `error` is what the provider said (JSON, for `wire.errors.read_error`), empty when it said nothing and `problem` is
    what was malformed.
    """

    problem: str
    error: bytes = b""


class StreamEnded(msgspec.Struct, frozen=True):
    """The provider's own mark that the answer is whole (`[DONE]`, `message_stop`, `done: true`)."""


class EventReader(Protocol):
    """Reads one provider's streamed answer, one framed event at a time."""

    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        """What an event, as the splitter cut it, says; nothing for comments and whatever is not known. Never raises.

        The first of an answer's events is `Begun`. `Finished` comes as soon as the reason is known.
        """
        ...


class Splitter(Protocol):
    """Cuts a stream into framed events; see `sse.EventSplitter`."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now. Raise `sse.EventTooLargeError`."""
        ...

    def rest(self) -> bytes:
        """What is left at the end of the stream."""
        ...


class ProviderCodec(Protocol):
    """One dialect as providers speak it."""

    dialect: Dialect

    def request(self, conversation: Conversation, target: Target) -> Written:
        """The body for a provider.

        Raise UntranslatableError for what must not be left out in silence: a picture, a result of a tool, a schema.
        """
        ...

    def passed(self, request: CallRequest, target: Target) -> Written:
        """The body for a caller of the same dialect: its own bytes wherever nothing has to change."""
        ...

    def answer(self, body: bytes) -> Answer | Unreadable:
        """Read the body of a 200. Never raises."""
        ...

    def splitter(self, max_event_bytes: int) -> Splitter:
        """How its streams are framed."""
        ...

    def reader(self) -> EventReader:
        """The reader of one stream."""
        ...

    def embeddings_request(self, asked: EmbeddingsAsked, target: Target) -> Written:
        """The body for a provider. Raise UntranslatableError, also where the dialect has none."""
        ...

    def embeddings(self, body: bytes) -> Embeddings | Unreadable:
        """Read the body of a 200. Never raises."""
        ...


class Dialects(msgspec.Struct, frozen=True):
    """The codecs: one per dialect for callers, the usual one where there are several, and one for providers."""

    callers: Mapping[Dialect, CallerCodec]
    providers: Mapping[Dialect, ProviderCodec]


def _unknown() -> float:
    """How long an answer took of which nobody says it."""
    return 0.0


class StreamHooks(msgspec.Struct, frozen=True):
    """Who else listens to a stream.

    `note` is told each event, `ended` is called once the answer is whole; `took_s` says how long it has taken by now.
    """

    note: Callable[[Event], None] | None = None
    ended: Callable[[], None] | None = None
    took_s: Callable[[], float] = _unknown
