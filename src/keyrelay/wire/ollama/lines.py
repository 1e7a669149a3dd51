r"""Splitting a stream of lines of JSON, on bytes.

A line ends with `\n`, `\r\n` or `\r`: none of them may stand inside of JSON's strings, other than U+2028 and its like,
which end nothing. Whatever ended a line, it goes on with `\n`, so that its bytes never depend on how they arrived.
"""

import re

from keyrelay.wire.sse import EventTooLargeError

_BOM = b"\xef\xbb\xbf"
_LINE_ENDS = re.compile(rb"[\r\n]+")


class LineSplitter:
    r"""Cuts chunks, however they are split, into whole lines that end with `\n`; empty ones are dropped.

    See `sse.EventSplitter`, which does the same for server-sent events.
    """

    __slots__ = ("_buffer", "_max_bytes", "_started")

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now. Raise EventTooLargeError when one is larger than allowed."""
        if self._started and not self._buffer and chunk.find(b"\n") == len(chunk) - 1 and chunk.find(b"\r") < 0:
            return self._whole([chunk[:-1]])  # one whole line: what nearly every arrival is
        buffer = self._buffer
        buffer += chunk
        if chunk.find(b"\n") < 0 and chunk.find(b"\r") < 0:
            self._check_size(len(buffer))
            return []
        pieces = _LINE_ENDS.split(bytes(buffer))
        buffer[:] = pieces.pop()
        lines = self._whole(pieces)
        self._check_size(len(buffer))
        return lines

    def rest(self) -> bytes:
        """What is left at the end of the stream: a line without its end, or nothing."""
        rest = self._without_bom(bytes(self._buffer)).strip()
        self._buffer.clear()
        return rest

    def _whole(self, pieces: list[bytes]) -> list[bytes]:
        lines = []
        for piece in pieces:
            self._check_size(len(piece))
            line = self._without_bom(piece)
            if line and not line.isspace():
                lines.append(line + b"\n")
        return lines

    def _without_bom(self, piece: bytes) -> bytes:
        if self._started or not piece:
            return piece
        self._started = True
        return piece.removeprefix(_BOM)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise EventTooLargeError(f"a line is larger than {self._max_bytes} bytes")

    def __repr__(self) -> str:
        return f"<LineSplitter {len(self._buffer)} of {self._max_bytes} bytes held>"
