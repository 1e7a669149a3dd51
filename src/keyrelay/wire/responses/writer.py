"""Streamed answers: each event of the canonical form as the events of this dialect, numbered from 0.

`response.created` and `.in_progress` come first, each item between its `output_item.added` and `.done`, and one of
`response.completed`, `.incomplete` and `.failed` last, which holds the whole answer; there is no `[DONE]`.
"""

from collections.abc import Sequence

from msgspec import UNSET

from keyrelay.core.conversation import Begun, Counted, Event, Finish, Finished, Tokens
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.responses.answers import closed, failed, opened, usage_out
from keyrelay.wire.responses.building import OutputBuilder, last_status
from keyrelay.wire.responses.events import LeftOut, ResponseEvent, StreamEvent, frame


class ResponsesWriter:
    """Implements `EventWriter` for one stream."""

    __slots__ = ("_builder", "_facts", "_finish", "_response", "_sequence", "_tokens")

    def __init__(self, facts: AnswerFacts) -> None:
        self._facts = facts
        self._builder = OutputBuilder(facts)
        self._response = opened(facts)
        self._finish: Finish = "stop"
        self._tokens: Tokens | None = None
        self._sequence = 0

    def write(self, event: Event) -> bytes:
        """The bytes for an event; none for what only the end says."""
        if isinstance(event, Begun):
            return self._written([self._event("created"), self._event("in_progress")])
        if isinstance(event, Counted):
            self._tokens = event.tokens
            return b""
        if isinstance(event, Finished):
            self._finish = event.finish
            return self._written(self._builder.close(last_status(event.finish)))
        return self._written(self._builder.add(event))

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """The event that ends a whole answer; what was left out stands beside the response."""
        del took_s
        events = self._builder.close(last_status(self._finish))
        usage = usage_out(self._tokens, self._facts, self._builder.written)
        self._response = closed(self._response, self._finish, self._builder.items, usage)
        told = LeftOut(left_out=tuple(left_out)) if left_out else UNSET
        events.append(ResponseEvent(type=f"response.{self._response.status}", response=self._response, keyrelay=told))
        return self._written(events)

    def fail(self, error: CallerError) -> bytes:
        """The event that ends a stream in which something went wrong, with the items that had come whole."""
        self._response = failed(self._response, error, self._builder.items)
        return self._written([self._event(self._response.status)])

    def _event(self, name: str) -> StreamEvent:
        return ResponseEvent(type=f"response.{name}", response=self._response)

    def _written(self, events: list[StreamEvent]) -> bytes:
        first = self._sequence
        self._sequence += len(events)
        if len(events) == 1:
            return frame(events[0], first)
        return b"".join([frame(event, first + place) for place, event in enumerate(events)])

    def __repr__(self) -> str:
        return f"<ResponsesWriter {self._sequence} events, {self._builder!r}>"
