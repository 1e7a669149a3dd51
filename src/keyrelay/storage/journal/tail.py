"""The rows that were written last, kept in memory as well: who reads soon need not read them back from the file.

They are in the file all the same, and whatever does not fit in here is read there.
"""

from bisect import bisect_right
from typing import Final

from keyrelay.storage.journal.segments import Position

MAX_TAIL_BYTES: Final = 8 * 1024 * 1024
"""Bytes of journal whose rows are kept in memory; when there are more, all of them are let go of."""


class Tail:
    """The rows of one segment that have been written since `start`, in order."""

    __slots__ = ("_ends", "_rows", "start")

    def __init__(self, start: Position) -> None:
        self.begin(start)

    def begin(self, start: Position) -> None:
        """Let go of all rows, and know what is written from there on."""
        self.start = start
        self._rows: list[bytes] = []
        self._ends: list[int] = []

    def add(self, row: bytes, end: int) -> None:
        """The row that has just been written, and where it ends."""
        self._rows.append(row)
        self._ends.append(end)
        if end - self.start.offset > MAX_TAIL_BYTES:
            self.begin(Position(self.start.segment, end))

    def holds(self, at: Position) -> bool:
        """Whether all rows are known that were written to this place's segment behind it."""
        return at.segment == self.start.segment and at.offset >= self.start.offset

    def read(self, at: Position, limit: int, max_rows: int, max_bytes: int) -> tuple[list[bytes], int]:
        """The rows behind a place, and where they end; `limit` is where the segment has been written to.

        They are no more than so many, and no further apart than so many bytes; one at least, if there is one.
        """
        ends = self._ends
        first = bisect_right(ends, at.offset)
        last = min(first + max_rows, max(first + 1, bisect_right(ends, at.offset + max_bytes)))
        return self._rows[first:last], ends[last - 1] if last < len(ends) else limit

    def forget(self, before: Position) -> None:
        """Let go of the rows before a place."""
        if self.holds(before):
            count = bisect_right(self._ends, before.offset)
            del self._rows[:count], self._ends[:count]
            self.start = before

    def __repr__(self) -> str:
        return f"<Tail of {len(self._rows)} rows from {self.start.segment}:{self.start.offset}>"
