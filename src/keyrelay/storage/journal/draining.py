"""Reading back what a living writer has written: its rows, in order, and how far the store has them.

As a rule they are still in memory (`tail`); what is not is read from the files.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from keyrelay.core.errors import StoreError
from keyrelay.storage.journal.format import ENDED
from keyrelay.storage.journal.segments import DrainedNote, Position, SegmentReader
from keyrelay.storage.journal.tail import Tail

EndOf = Callable[[int], int]
"""How far a segment has been written."""

NextAfter = Callable[[int], int | None]
"""The segment that was begun after this one; None when this one is still being written."""


class Drain:
    """Where the recorder stands in a writer's segments. `position` is what the store has everything before.

    It begins where `tail` does. Raise OSError when nothing can be noted in the directory.
    """

    def __init__(self, directory: Path, tail: Tail, end_of: EndOf, next_after: NextAfter) -> None:
        start = tail.start
        self._directory = directory
        self._tail = tail
        self._end_of = end_of
        self._next_after = next_after
        self._reader = SegmentReader(directory)
        self._note = DrainedNote(directory)
        self._note.save(start)  # from now on it needs no room
        self.position = start
        self._read_to = start
        self._rows_read = self._damaged_read = 0
        self.rows_kept = self.damaged_bytes = 0

    async def read(self, max_rows: int, max_bytes: int) -> list[bytes]:
        """The rows that come next, the same ones until `kept`; none when there are none. Raise StoreError."""
        while True:
            at = self.position
            limit = self._end_of(at.segment)
            if at.offset >= limit:
                following = self._next_after(at.segment)
                if following is None:
                    return []
                self.position = Position(following, 0)
                continue
            if self._tail.holds(at):
                lines, end = self._tail.read(at, limit, max_rows, max_bytes)
            else:
                lines, end = await self._from_file(at, limit, max_rows, max_bytes)
            self._read_to, self._rows_read = Position(at.segment, end), len(lines)
            if lines:
                return lines
            self._advance()

    async def _from_file(self, at: Position, limit: int, max_rows: int, max_bytes: int) -> tuple[list[bytes], int]:
        try:
            found = await asyncio.to_thread(self._reader.read, at, limit, max_rows, max_bytes)
        except OSError as error:
            raise StoreError(f"the journal in {self._directory} cannot be read: {error.strerror}") from error
        self._damaged_read = found.damaged
        return [payload for kind, payload in found.records if kind == ENDED], found.end

    def kept(self) -> None:
        """The store has what was read last."""
        self._advance()
        self._tail.forget(self.position)
        with contextlib.suppress(OSError):  # then the next start writes rows to the store that it has: no harm
            self._note.save(self.position)

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()
        self._note.close()

    def _advance(self) -> None:
        self.position = self._read_to
        self.rows_kept += self._rows_read
        self.damaged_bytes += self._damaged_read
        self._rows_read = self._damaged_read = 0
        if self.position.offset >= self._end_of(self.position.segment):
            following = self._next_after(self.position.segment)
            if following is not None:
                self.position = Position(following, 0)

    def __repr__(self) -> str:
        return f"<Drain at {self.position.segment}:{self.position.offset} {self.rows_kept} rows kept>"
