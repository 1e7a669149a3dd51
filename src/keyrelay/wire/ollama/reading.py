"""What an Ollama server answers: one object, lines of a stream, vectors.

An answer whose `prompt_eval_count` is missing had its prompt in the server's cache. Calls without an id get one made of
the moment that the server wrote, their place and their name.
"""

from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Embeddings,
    Event,
    Finish,
    Finished,
    Image,
    MediaPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.dialects import StreamEnded, StreamFailure, Unreadable
from keyrelay.wire.media import picture_type
from keyrelay.wire.ollama.shapes import Call, EmbedGiven, Given, Said, arguments_text
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import tool_id

_WHOLE_NUMBER_LIMIT = 2**53
_NOT_JSON = "the answer is not the JSON object that was expected"
_HOLDS_ERROR = "the answer holds an error although its status is 200"
_SAID_NOTHING = Said()

_given = msgspec.json.Decoder(Given)
_embedded = msgspec.json.Decoder(EmbedGiven)


def read_answer(body: bytes) -> Answer | Unreadable:
    """Read the body of a 200."""
    try:
        given = _given.decode(body)
        calls = _calls(given.said or _SAID_NOTHING, given, 0)
    except JSON_ERRORS:
        return Unreadable(problem=_NOT_JSON)
    if bytes(given.error) not in NOTHING:
        return Unreadable(problem=_HOLDS_ERROR, is_error=True)
    said = given.said
    if said is None or given.done is False:
        return Unreadable(problem="the answer is empty" if said is None else "the answer is not whole")
    thoughts = (Thinking(text=said.thinking),) if said.thinking else ()
    texts = (Text(text=said.content),) if said.content else ()
    images = tuple(map(_image, said.images or ()))
    return Answer(
        parts=(*thoughts, *texts, *images, *calls),
        finish=_finish(given.done_reason, called=bool(calls)),
        tokens=_tokens(given.prompt_eval_count, given.eval_count),
        model=given.model or "",
    )


def read_embeddings(body: bytes) -> Embeddings | Unreadable:
    """Read the vectors in the body of a 200."""
    try:
        given = _embedded.decode(body)
    except JSON_ERRORS:
        return Unreadable(problem=_NOT_JSON)
    if bytes(given.error) not in NOTHING:
        return Unreadable(problem=_HOLDS_ERROR, is_error=True)
    vectors = given.embeddings or ((given.embedding,) if given.embedding else ())
    if not vectors:
        return Unreadable(problem="the answer is empty")
    return Embeddings(vectors=vectors, tokens=_tokens(given.prompt_eval_count, None), model=given.model or "")


def _calls(said: Said, given: Given, start: int) -> list[ToolCall]:
    return [_call(call, given.created_at or "", place) for place, call in enumerate(said.tool_calls or (), start)]


def _call(call: Call, created_at: str, place: int) -> ToolCall:
    name = call.function.name
    call_id = call.id or tool_id(created_at, place, name)
    return ToolCall(id=call_id, name=name, arguments=arguments_text(call.function.arguments))


def _image(data: str) -> Image:
    return Image(media_type=picture_type(data), data=data)


def _finish(reason: str | None, *, called: bool) -> Finish:
    if reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def _tokens(prompt: float | None, output: float | None) -> Tokens | None:
    """The counts, None where there are none or absurd ones, which counts as not reported."""
    if prompt is None and output is None:
        return None
    counts = (prompt or 0, output or 0)
    if not all(0 <= count < _WHOLE_NUMBER_LIMIT for count in counts):
        return None
    return Tokens(input=int(counts[0]), output=int(counts[1]))


class OllamaReader:
    """Reads one streamed answer."""

    __slots__ = ("_begun", "_calls", "_over")

    def __init__(self) -> None:
        self._begun = False
        self._over = False
        self._calls = 0

    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        """What one line says; nothing once the stream is over."""
        if self._over or not event.strip():
            return ()
        try:
            given = _given.decode(event)
            said = given.said or _SAID_NOTHING
            calls = _calls(said, given, self._calls)
        except JSON_ERRORS:
            return self._failed("an event is not the JSON that was expected")
        if bytes(given.error) not in NOTHING:
            return self._failed("the stream holds an error", event.strip())
        return self._events(given, said, calls)

    def _events(self, given: Given, said: Said, calls: list[ToolCall]) -> list[Event | StreamEnded | StreamFailure]:
        events: list[Event | StreamEnded | StreamFailure] = []
        if not self._begun:
            self._begun = True
            events.append(Begun(model=given.model or ""))
        if said.thinking:
            events.append(ThinkingPiece(text=said.thinking))
        if said.content:
            events.append(TextPiece(text=said.content))
        events += [MediaPiece(_image(data)) for data in said.images or ()]
        for call in calls:
            events += (CallBegun(id=call.id, name=call.name), CallPiece(arguments=call.arguments))
        self._calls += len(calls)
        if given.done:
            self._over = True
            events.append(Finished(finish=_finish(given.done_reason, called=self._calls > 0)))
            tokens = _tokens(given.prompt_eval_count, given.eval_count)
            if tokens is not None:
                events.append(Counted(tokens=tokens))
            events.append(StreamEnded())
        return events

    def _failed(self, problem: str, error: bytes = b"") -> tuple[StreamFailure]:
        self._over = True
        return (StreamFailure(problem=problem, error=error),)

    def __repr__(self) -> str:
        state = "over" if self._over else "open" if self._begun else "not begun"
        return f"<OllamaReader {state} {self._calls} calls>"
