r"""Splitting a stream of server-sent events, on bytes.

Only `\n`, `\r\n` and `\r` end a line (never U+2028 and its like, which may stand inside JSON), and an event ends
with an empty line. Events keep their own bytes, so that what passes through is what came.
"""

import re
from typing import Final

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = rb"(?:\r\n|\r(?=[^\n])|\n)"  # a \r at the very end is none yet: it may be half of a \r\n
_EVENT_END: Final = re.compile(_LINE_END + _LINE_END)
_LINES: Final = re.compile(rb"\r\n|\r|\n")
_LONGEST_EVENT_END: Final = 4


class EventTooLargeError(ValueError):
    """An event, or a line without end, is larger than the splitter may hold."""


class EventSplitter:
    """Cuts chunks, however they are split, into whole events including their final empty line.

    Empty lines before an event are dropped. What is held grows in place and is searched once, so that an event in
    a million chunks costs no more than its bytes.
    """

    __slots__ = ("_buffer", "_max_bytes", "_started")

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now. Raise EventTooLargeError when one is larger than allowed."""
        if not self._started:
            chunk = self._without_bom(chunk)
        if not self._buffer and chunk.find(b"\r") < 0:  # `in` makes and drops an exception first, for each event
            if chunk.startswith(b"data:") and chunk.find(b"\n\n") == len(chunk) - 2:
                return [chunk]  # one whole event: what nearly every arrival is
            spaced = chunk.split(b"\n\n")
            rest = spaced.pop().lstrip(b"\n")
            if rest:
                self._buffer += rest
                self._check_size()
            return [event + b"\n\n" for piece in spaced if (event := piece.lstrip(b"\n"))]
        return self._feed_slowly(chunk)

    def rest(self) -> bytes:
        """What is left at the end of the stream: an event without its empty line, or nothing."""
        rest = bytes(self._buffer).strip(b"\r\n")
        self._buffer.clear()
        return rest

    def _feed_slowly(self, chunk: bytes) -> list[bytes]:
        buffer = self._buffer
        searched = max(0, len(buffer) - _LONGEST_EVENT_END)
        buffer += chunk
        end = _EVENT_END.search(buffer, searched)
        events = []
        if end is not None:
            text = bytes(buffer)
            start = 0
            while end is not None:
                event = text[start : end.end()].lstrip(b"\r\n")
                start = end.end()
                if event:
                    events.append(event)
                end = _EVENT_END.search(text, start)
            buffer[:] = text[start:]
        self._check_size()
        return events

    def _check_size(self) -> None:
        if len(self._buffer) > self._max_bytes:
            raise EventTooLargeError(f"an event is larger than {self._max_bytes} bytes")

    def _without_bom(self, chunk: bytes) -> bytes:
        head = bytes(self._buffer) + chunk
        self._buffer.clear()
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._buffer += head
            return b""
        self._started = True
        return head.removeprefix(_BOM)

    def __repr__(self) -> str:
        return f"<EventSplitter {len(self._buffer)} of {self._max_bytes} bytes held>"


def event_data(event: bytes) -> bytes | None:
    """The data of an event, its lines joined by newlines; None for comments and whatever else says nothing."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2 and event.find(b"\r") < 0:
        return event[6:].rstrip(b"\n") or None
    data = [
        line[5:].removeprefix(b" ") if line.startswith(b"data:") else b""
        for line in _LINES.split(event)
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(data) or None
