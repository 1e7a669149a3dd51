"""Anthropic's stream as events.

A block is what a part is; its pieces carry its index. Blocks come one after the other, but a server that mixes them is
understood as well: the pieces of a later block wait until the one before it is complete. Blocks of tools that the
provider runs itself, and everything that is not known, are passed over and named.
"""

from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Tokens,
)
from keyrelay.wire.anthropic import shapes
from keyrelay.wire.anthropic.endings import finish_of, read_tokens
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import raw_text
from keyrelay.wire.sse import event_data

Read = Event | StreamEnded | StreamFailure

_DONE = b"[DONE]"  # of servers that speak OpenAI's dialect too
_LINE_ENDS = 3  # of a name, data in one line, and the end
_ABSENT = msgspec.Raw()


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: msgspec.Raw = _ABSENT


class _Details(msgspec.Struct, gc=False):
    explanation: str | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _Details | None = None


class _StreamEvent(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: msgspec.Raw = _ABSENT
    message: _Message | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Typed(msgspec.Struct, gc=False):
    type: str


class _Open(msgspec.Struct):
    """A block that has begun. `kind` is its type, empty for one to be passed over; `whole` its input, said at once."""

    kind: str
    whole: str = ""
    signature: str = ""
    closed: bool = False
    held: list[Event] = []


_event = msgspec.json.Decoder(_StreamEvent)
_typed = msgspec.json.Decoder(_Typed)
_NO_DELTA = _Delta()
_KNOWN = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)


class AnthropicReader:
    """Implements `EventReader`."""

    __slots__ = ("_begun", "_called", "_finished", "_open", "_said", "_tokens")

    def __init__(self) -> None:
        self._begun = False
        self._called = False
        self._finished = False
        self._open: dict[int, _Open] = {}
        self._said = False
        self._tokens: Tokens | None = None

    def read(self, event: bytes) -> Sequence[Read]:
        """What an event says; nothing for comments, pings and whatever is not known. Never raises."""
        data = _data(event)
        if data is None:
            bare = event.strip()
            return (_failure(bare),) if bare[:1] == b"{" else ()
        try:
            said = _event.decode(data)
            if said.type == "content_block_delta":
                return self._with_begun(self._delta(said.index, said.delta or _NO_DELTA))
            return self._read(said, data)
        except JSON_ERRORS:
            return _unreadable(data)

    def _read(self, said: _StreamEvent, data: bytes) -> Sequence[Read]:
        match said.type:
            case "content_block_start":
                return self._with_begun(self._start(said.index, said.content_block))
            case "content_block_stop":
                return self._with_begun(self._stop(said.index))
            case "message_start":
                return self._begin(said.message or _Message())
            case "message_delta":
                return self._with_begun(self._finish(said.delta or _NO_DELTA, said.usage))
            case "message_stop":
                unsaid = () if self._finished else self._finish(_Delta(stop_reason=""), _ABSENT)
                return (*self._with_begun(unsaid), StreamEnded())
            case _:
                failed = said.type == "error" or (not said.type and bytes(said.error) not in NOTHING)
                return (_failure(data),) if failed else ()

    def _with_begun(self, events: Sequence[Event]) -> Sequence[Read]:
        if self._begun or not events:
            return events
        self._begun = True
        return (Begun(), *events)

    def _begin(self, message: _Message) -> Sequence[Read]:
        if self._begun:
            return ()
        self._begun = True
        self._tokens = read_tokens(message.usage)
        return (Begun(id=message.id, model=message.model, tokens=self._tokens),)

    def _start(self, index: int, raw: msgspec.Raw) -> Sequence[Event]:
        if index in self._open:
            return ()
        unknown = shapes.unknown_type(raw)
        if unknown:
            self._open[index] = _Open("")
            return (shapes.unheld(unknown),)
        block = shapes.blocks.decode(raw)
        opened, begun = self._opened(block)
        if not opened.kind and not begun:
            begun = (shapes.unheld(shapes.type_of(raw)),)
        self._open[index] = opened
        return self._in_turn(opened, begun)

    def _opened(self, block: shapes.Block) -> tuple[_Open, Sequence[Event]]:
        match block:
            case shapes.TextBlock(text):
                self._said = self._said or bool(text)
                return _Open("text"), (TextPiece(text),) if text else ()
            case shapes.ThinkingBlock(thinking, signature):
                return _Open("thinking", signature=signature), (ThinkingPiece(thinking),) if thinking else ()
            case shapes.RedactedThinkingBlock(data):
                return _Open(""), (ThinkingPiece(redacted=data, signed_by="anthropic"),)
            case shapes.ToolUseBlock():
                self._called = True
                whole = "" if bytes(block.input) in NOTHING else raw_text(block.input)
                return _Open("tool_use", whole), (CallBegun(id=block.id, name=block.name),)
            case _:
                return _Open(""), ()

    def _delta(self, index: int, delta: _Delta) -> Sequence[Event]:
        block = self._open.get(index)
        if block is None:  # a server that does not say when a block begins
            kind = {"text_delta": "text", "thinking_delta": "thinking"}.get(delta.type, "")
            block = self._open[index] = _Open(kind)
        piece = self._piece(block, delta)
        return () if piece is None else self._in_turn(block, (piece,))

    def _piece(self, block: _Open, delta: _Delta) -> Event | None:
        match (block.kind, delta.type):
            case ("text", "text_delta") if delta.text:
                self._said = True
                return TextPiece(delta.text)
            case ("tool_use", "input_json_delta") if delta.partial_json:
                block.whole = ""
                return CallPiece(delta.partial_json)
            case ("thinking", "thinking_delta") if delta.thinking:
                return ThinkingPiece(delta.thinking)
            case ("text", "citations_delta"):
                return shapes.CITATIONS
            case ("thinking", "signature_delta") if delta.signature:
                block.signature = ""
                return ThinkingPiece(signature=delta.signature, signed_by="anthropic")
            case _:
                return None

    def _in_turn(self, block: _Open, events: Sequence[Event]) -> Sequence[Event]:
        """The events of the first block that is open; those of the others wait."""
        if next(iter(self._open.values())) is block:
            return events
        block.held += events
        return ()

    def _stop(self, index: int) -> Sequence[Event]:
        block = self._open.get(index)
        if block is None or block.closed:
            return ()
        block.closed = True
        return [*self._in_turn(block, _rest(block)), *self._advance()]

    def _advance(self) -> list[Event]:
        """What waited for the blocks that are complete now."""
        events: list[Event] = []
        while self._open:
            index, block = next(iter(self._open.items()))
            events += block.held
            block.held = []
            if not block.closed:
                break
            del self._open[index]
        return events

    def _finish(self, delta: _Delta, usage: msgspec.Raw) -> Sequence[Event]:
        events: list[Event] = []
        if delta.stop_reason is not None and not self._finished:
            self._finished = True
            for index in tuple(self._open):
                events += self._stop(index)
            finish = finish_of(delta.stop_reason, called=self._called)
            explanation = delta.stop_details.explanation if delta.stop_details is not None else None
            if explanation and finish == "content_filter" and not self._said:
                events.append(RefusalPiece(explanation))
            events.append(Finished(finish, delta.stop_sequence or ""))
        tokens = read_tokens(usage, self._tokens)
        if tokens is not None and bytes(usage) not in NOTHING:
            self._tokens = tokens
            events.append(Counted(tokens=tokens))
        return events

    def __repr__(self) -> str:
        state = "finished" if self._finished else "begun" if self._begun else "waiting"
        return f"<AnthropicReader {state} {len(self._open)} blocks open>"


def _data(event: bytes) -> bytes | None:
    """The data of an event; the form that nearly all of them have is read at once."""
    if event.startswith(b"event: ") and event.count(b"\n") == _LINE_ENDS and event.find(b"\r") < 0:
        data = event.partition(b"\ndata: ")[2]
        if data:
            return data[:-2] or None
    return event_data(event)


def _rest(block: _Open) -> Sequence[Event]:
    """What a block said when it began and never again."""
    if block.whole:
        return (CallPiece(block.whole),)
    if block.signature:
        return (ThinkingPiece(signature=block.signature, signed_by="anthropic"),)
    return ()


def _failure(data: bytes) -> StreamFailure:
    return StreamFailure(problem="the stream holds an error", error=data)


def _unreadable(data: bytes) -> Sequence[Read]:
    """An event that is not as expected: of no interest when its type is not known either."""
    try:
        unknown = data == _DONE or _typed.decode(data).type not in _KNOWN
    except JSON_ERRORS:
        unknown = False
    return () if unknown else (StreamFailure(problem="an event is not the JSON that was expected"),)
