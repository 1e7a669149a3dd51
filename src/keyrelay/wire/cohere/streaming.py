"""Cohere's streamed answers, read event by event.

Calls of tools come one after the other, each between `tool-call-start` and `tool-call-end`. Should others, or words,
come between, they wait until the call that was begun is complete.
"""

from collections.abc import Iterator, Sequence

import msgspec

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    TextPiece,
    ThinkingPiece,
    Unheld,
)
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.cohere.reading import BROKEN, finish_of, id_of, name_of, tokens_of, unheld_content
from keyrelay.wire.cohere.shapes import Call, Content, Delta, EventDelta, StreamedEvent
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.sse import event_data

_DONE = b"[DONE]"
_BRACKETS = (b"{", b"[")
_HOLDS_ERROR = "the stream holds an error"

_Read = Sequence[Event | StreamEnded | StreamFailure]

_event = msgspec.json.Decoder(StreamedEvent)
_encode = msgspec.json.Encoder().encode
_NOTHING_SAID = Delta()
_NO_DELTA = EventDelta()


class CohereReader:
    """Reads one streamed answer."""

    __slots__ = ("_begun", "_calls", "_held", "_id", "_open", "_over")

    def __init__(self) -> None:
        self._begun = False
        self._over = False
        self._id = ""
        self._calls = 0
        self._open: int | None = None
        self._held: list[tuple[int | None, Event | None]] = []

    def read(self, event: bytes) -> _Read:
        """What one event says; nothing once the stream is over."""
        if self._over:
            return ()
        data = event_data(event)
        if data is None:
            text = event.strip()
            return self._failed(_HOLDS_ERROR, text) if text.startswith(_BRACKETS) else ()
        if data == _DONE:
            return ()
        try:
            streamed = _event.decode(data)
            if not data.isascii():
                data.decode()  # values that are skipped over are not looked into
        except JSON_ERRORS:
            return self._failed("an event is not the JSON that was expected")
        if bytes(streamed.error) not in NOTHING or (streamed.type is None and bytes(streamed.message) not in NOTHING):
            return self._failed(_HOLDS_ERROR, data)
        return self._events(streamed)

    def _events(self, streamed: StreamedEvent) -> _Read:
        delta = streamed.delta or _NO_DELTA
        if streamed.type == "message-end" and (delta.error or delta.finish_reason in BROKEN):
            said = {"message": delta.error or "The model broke its answer off.", "code": delta.finish_reason}
            return self._failed(f"the model broke its answer off: {delta.finish_reason}", _encode(said))
        events: list[Event | StreamEnded | StreamFailure] = []
        if not self._begun:
            self._begun = True
            self._id = streamed.id or ""
            events.append(Begun(id=self._id))
        if streamed.type == "message-end":
            events += self._ended(delta)
        elif streamed.type == "citation-start":
            events.append(Unheld("citations"))
        else:
            for index, piece in self._pieces(streamed, delta.message or _NOTHING_SAID):
                events += self._place(index, piece)
        return events

    def _pieces(self, streamed: StreamedEvent, said: Delta) -> Iterator[tuple[int | None, Event | None]]:
        """The pieces of parts in an event, with the index of the call that they belong to; None ends it."""
        kind = streamed.type
        if kind in {"content-delta", "content-start", "tool-plan-delta"}:
            yield from ((None, piece) for piece in _words(said))
        elif kind in {"tool-call-start", "tool-call-delta", "tool-call-end"}:
            index = streamed.index or 0
            calls = said.tool_calls
            for call in calls if isinstance(calls, list) else [calls] if calls is not None else []:
                if kind == "tool-call-start":
                    yield index, self._call(call)
                if call.function is not None and call.function.arguments:
                    yield index, CallPiece(arguments=call.function.arguments)
            if kind == "tool-call-end":
                yield index, None

    def _call(self, call: Call) -> CallBegun:
        self._calls += 1
        return CallBegun(id=id_of(call, self._id, self._calls - 1), name=name_of(call))

    def _place(self, index: int | None, piece: Event | None) -> list[Event]:
        """What comes next now that a piece is there: nothing while it waits for another call to be complete."""
        if self._open is not None and index != self._open:
            self._held.append((index, piece))
            return []
        if piece is None:
            self._open = None
            held, self._held = self._held, []
            return [event for waited, waiting in held for event in self._place(waited, waiting)]
        if isinstance(piece, CallBegun):
            self._open = index
        elif isinstance(piece, CallPiece) and self._open is None:
            return []  # of a call that nobody began
        return [piece]

    def _ended(self, delta: EventDelta) -> Iterator[Event | StreamEnded]:
        while self._open is not None:
            yield from self._place(self._open, None)
        self._over = True
        yield Finished(finish=finish_of(delta.finish_reason))
        tokens = tokens_of(delta.usage)
        if tokens is not None:
            yield Counted(tokens=tokens)
        yield StreamEnded()

    def _failed(self, problem: str, error: bytes = b"") -> tuple[StreamFailure]:
        self._over = True
        return (StreamFailure(problem=problem, error=error),)

    def __repr__(self) -> str:
        state = "over" if self._over else "open" if self._begun else "not begun"
        return f"<CohereReader {state} {self._calls} calls {len(self._held)} pieces held>"


def _words(said: Delta) -> Iterator[Event]:
    if said.tool_plan:
        yield ThinkingPiece(text=said.tool_plan)
    if isinstance(said.content, Content):
        if said.content.thinking:
            yield ThinkingPiece(text=said.content.thinking)
        if said.content.text:
            yield TextPiece(text=said.content.text)
        unheld = unheld_content(said.content)
        if unheld:
            yield Unheld(unheld)
