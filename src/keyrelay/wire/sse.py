r"""Splitting a stream of server-sent events, on bytes.

Only `\n`, `\r\n` and `\r` end a line (never U+2028 and its like, which may stand inside JSON), and an event ends
with an empty line. Events keep their own bytes, so that what passes through is what came.
"""

import re

_BOM = b"\xef\xbb\xbf"
_LINE_END = rb"(?:\r\n|\r(?!\n)|\n)"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_LINES = re.compile(rb"\r\n|\r|\n")
_LONGEST_EVENT_END = 4


class EventTooLargeError(ValueError):
    """An event, or a line without end, is larger than the splitter may hold."""


class EventSplitter:
    """Cuts chunks, however they are split, into whole events including their final empty line."""

    __slots__ = ("_buffer", "_max_bytes", "_started")

    def __init__(self, max_bytes: int) -> None:
        self._buffer = b""
        self._max_bytes = max_bytes
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now. Raise EventTooLargeError when one is larger than allowed."""
        if not self._started:
            chunk = self._without_bom(chunk)
        if not self._buffer and b"\r" not in chunk:
            if chunk.endswith(b"\n\n") and chunk.find(b"\n\n") == len(chunk) - 2:
                return [chunk]  # one whole event: what nearly every arrival is
            events = chunk.split(b"\n\n")
            self._keep(events.pop())
            return [event + b"\n\n" for event in events if event.strip(b"\n")]
        return self._feed_slowly(chunk)

    def rest(self) -> bytes:
        """What is left at the end of the stream: an event without its empty line, or nothing."""
        rest, self._buffer = self._buffer, b""
        return rest.strip(b"\r\n")

    def _feed_slowly(self, chunk: bytes) -> list[bytes]:
        searched = max(0, len(self._buffer) - _LONGEST_EVENT_END)
        text = self._buffer + chunk
        events = []
        start = 0
        for end in _EVENT_END.finditer(text, searched):
            event = text[start : end.end()]
            start = end.end()
            if event.strip(b"\r\n"):
                events.append(event.lstrip(b"\r\n"))
        self._keep(text[start:])
        return events

    def _keep(self, rest: bytes) -> None:
        if len(rest) > self._max_bytes:
            raise EventTooLargeError(f"an event is larger than {self._max_bytes} bytes")
        self._buffer = rest

    def _without_bom(self, chunk: bytes) -> bytes:
        head = self._buffer + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._buffer = head
            return b""
        self._started = True
        self._buffer = b""
        return head.removeprefix(_BOM)

    def __repr__(self) -> str:
        return f"<EventSplitter {len(self._buffer)} of {self._max_bytes} bytes held>"


def event_data(event: bytes) -> bytes | None:
    """The data of an event, its lines joined by newlines; None for comments and other events without data."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2 and b"\r" not in event:
        return event[6:].rstrip(b"\n")
    data = [
        line[5:].removeprefix(b" ") if line.startswith(b"data:") else b""
        for line in _LINES.split(event)
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(data) if data else None
