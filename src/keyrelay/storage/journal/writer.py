"""Writing the journal, and its other side for the recorder.

Three promises shape this: what `reserved` and `ended` have returned for is with the operating system; they neither
wait nor raise; and no row of a request that was admitted is given up. So room is set aside ahead: beside the segment
that is being written there is another one, empty. As long as the disk gives that, and both fit into the bound,
requests are admitted; when it does not, `full` says so while the room for all that are under way is still there.
Should that run out too, records wait in memory, in their order, until the disk takes them.

Records may be gathered, so that one call writes those of many requests: whoever sends what they are about then calls
`commit` first, and the promise is what `commit` has returned for.

Everything happens on one event loop, but for the slow work on files, which is done in threads.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from keyrelay.core.errors import StoreError
from keyrelay.core.records import Reserved
from keyrelay.storage.journal.draining import Drain
from keyrelay.storage.journal.format import ended_id_in, framed_end, framed_reservation, request_id_in
from keyrelay.storage.journal.locks import exclusive, take
from keyrelay.storage.journal.segments import (
    JOURNAL_DIRECTORY,
    LOCK,
    Position,
    Segment,
    create_segment,
    segment_path,
    sync_directory,
)
from keyrelay.storage.journal.syncing import GroupSync
from keyrelay.storage.journal.tail import Tail

_CLOSED: Final = -1
"""No descriptor: what is written after the end must not reach another file that has got the number."""

LARGEST_SEGMENT_BYTES: Final = 16 * 1024 * 1024
SMALLEST_SEGMENT_BYTES: Final = 64 * 1024

SEGMENTS_IN_BOUND: Final = 8
"""Segments are so large that at least this many make up the bound."""

MARGIN_SEGMENTS: Final = 1
"""While so many segments beside the one being written do not fit the bound, the journal is full: they are the room that
requests under way may need."""


class Held(Protocol):
    """Something that takes part of the bound."""

    @property
    def bytes_waiting(self) -> int:
        """How much of it."""
        ...


_Gathered = tuple[bytes, bytes, str]
"""A record to be written, the line of a request's end and that request's id; the latter two empty for a reservation."""


class FileJournal:
    """Implements `ports.Journal`, and what the recorder needs of it: `read`, `kept`, `tend`.

    When it `gathers`, records wait for `commit`, at most until the end of the event loop's turn.
    """

    exhausted = False
    gathers = False

    def __init__(self, directory: Path, lock: int, *, max_bytes: int, fsync: bool, others: Sequence[Held]) -> None:
        """Use `open`. `lock` is the descriptor that holds the directory's lock. Raise OSError."""
        self._directory = directory
        self._lock = lock
        self._max_bytes = max(max_bytes, SEGMENTS_IN_BOUND * SMALLEST_SEGMENT_BYTES)
        self._segment_bytes = min(LARGEST_SEGMENT_BYTES, self._max_bytes // SEGMENTS_IN_BOUND)
        self._others = tuple(others)
        self.syncs = fsync
        self._numbers = itertools.count(1)
        self._offset = 0
        self._fd = _CLOSED
        self._begin(self._create(self._segment_bytes))
        self._spare: Segment | None = None
        self._sealed: dict[int, int] = {}
        self._open: dict[str, bytes] = {}
        self._pending: deque[bytes] = deque()
        self._gathered: list[_Gathered] = []
        self._hopeless = False
        self._trouble = ""
        self._rows = 0
        self._sync = GroupSync(lambda: (self._fd, self._written))
        self._tail = Tail(self._written)
        self._drain = Drain(directory, self._tail, self._end_of, self._next_after)
        self.full = False

    @classmethod
    def open(
        cls, data_dir: Path, *, max_bytes: int, fsync: bool = False, leftovers: Sequence[Held] = ()
    ) -> "FileJournal":
        """A new journal in the data directory, for this process alone.

        `max_bytes` bounds its segments and `leftovers` together. With `fsync`, `synced` waits for the disk. Raise
        StoreError when the first segment cannot be made.
        """
        root = data_dir / JOURNAL_DIRECTORY
        try:
            with contextlib.suppress(FileExistsError):
                data_dir.mkdir(mode=0o700, parents=True)  # made as a parent it would get any mode
            root.mkdir(mode=0o700, exist_ok=True)
            with exclusive(root / LOCK):
                return cls._make(root, max_bytes, fsync=fsync, others=leftovers)
        except OSError as error:
            raise StoreError(f"no journal can be written in {root}: {error.strerror}") from error

    @classmethod
    def _make(cls, root: Path, max_bytes: int, *, fsync: bool, others: Sequence[Held]) -> "FileJournal":
        directory = root / f"{time.time_ns():016x}-{os.getpid()}"
        directory.mkdir(mode=0o700)
        lock = take(directory / LOCK)
        if lock is None:
            raise OSError(errno.EBUSY, f"{directory.name} is in use")
        try:
            journal = cls(directory, lock, max_bytes=max_bytes, fsync=fsync, others=others)
            if fsync:
                sync_directory(root)
        except OSError:
            os.close(lock)
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return journal

    def reserved(self, entry: Reserved) -> None:
        """An attempt is about to be sent."""
        frame = framed_reservation(entry)
        self._write_down((frame, b"", ""))
        request_id, attempts = entry.request_id, self._open
        attempts[request_id] = attempts[request_id] + frame if request_id in attempts else frame

    def ended(self, line: bytes, request_id: str | None = None) -> None:
        """A request has ended: its record in JSON, without a line end, and its id where that is at hand."""
        self._rows += 1
        self._write_down((framed_end(line), line, request_id_in(line) if request_id is None else request_id))

    def commit(self) -> None:
        """What has been gathered is with the operating system on return; neither waits nor raises."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        end = self._offset
        frames = [frame for frame, _, _ in gathered]
        if not self._append(b"".join(frames)):
            self._put_off(frames)
            return
        for frame, line, request_id in gathered:
            end += len(frame)
            if line:
                self._tail.add(line, end)
                self._open.pop(request_id, None)

    async def synced(self) -> None:
        """Return once everything written so far is on the disk; at once unless that was asked for."""
        self.commit()
        if self.syncs:
            await self._sync.reach(self._written)

    @property
    def problem(self) -> str:
        """What the disk refuses; empty when nothing."""
        return self._trouble or self._sync.problem

    @property
    def rows_waiting(self) -> int:
        """Rows that are not noted as being in the store."""
        return self._rows - self._drain.rows_kept

    @property
    def bytes_waiting(self) -> int:
        """Bytes of journal that have not been drained."""
        return sum(self._sealed.values()) + self._offset - self._drain.position.offset

    @property
    def damaged_bytes(self) -> int:
        """Bytes that nothing could be made of when they were read back."""
        return self._drain.damaged_bytes

    async def read(self, max_rows: int, max_bytes: int) -> list[bytes]:
        """The rows that come next, the same ones until `kept`; none when all are drained. Raise StoreError."""
        return await self._drain.read(max_rows, max_bytes)

    async def kept(self) -> None:
        """The store has the rows that were read last: note it, let go of what is no longer needed."""
        self._drain.kept()
        await self._release()

    async def tend(self) -> None:
        """Set the next segment aside, and try again what the disk has refused. To be called every second or so."""
        await self._sync.try_again()
        if self._spare is None:
            await self._set_spare_aside()
        self._hopeless = False
        self._catch_up()
        if self._spare is not None and not self._pending:
            self._trouble = ""
            self._assess()

    def close(self) -> None:
        """Stop writing. A journal in which nothing waits is removed, any other stays for the next start."""
        self.commit()
        self._hopeless = False
        self._catch_up()
        drained = not (self._open or self._pending or self.rows_waiting)
        if self._spare is not None:
            self._spare.discard()
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._offset)
        self._retire(self._fd)
        self._fd = _CLOSED
        self._sync.close()
        self._drain.close()
        if drained:
            with contextlib.suppress(OSError), exclusive(self._directory.parent / LOCK):
                shutil.rmtree(self._directory)
        os.close(self._lock)

    @property
    def _written(self) -> Position:
        return Position(self._segment.number, self._offset)

    def _end_of(self, number: int) -> int:
        return self._offset if number == self._segment.number else self._sealed.get(number, 0)

    def _next_after(self, number: int) -> int | None:
        if number >= self._segment.number:
            return None
        return min((later for later in self._sealed if later > number), default=self._segment.number)

    def _write_down(self, record: _Gathered) -> None:
        """Gather a record; without gathering it is committed at once."""
        gathered = self._gathered
        if not self.gathers:
            gathered.append(record)
            self.commit()
            return
        if not gathered:
            asyncio.get_running_loop().call_soon(self.commit)
        gathered.append(record)

    def _append(self, frames: bytes) -> bool:
        """Write some records, if that can be done at once."""
        offset = self._offset
        end = offset + len(frames)
        if end <= self._capacity and not self._pending:
            try:
                if os.pwrite(self._fd, frames, offset) == len(frames):
                    self._offset = end
                    return True
            except OSError as error:
                self._refused(error)
        return False

    def _put_off(self, frames: Sequence[bytes]) -> None:
        """Have records wait in memory, if only for a moment."""
        self._pending.extend(frames)
        self._catch_up()

    def _catch_up(self) -> None:
        """Write what waits in memory, as far as the disk takes it."""
        pending = self._pending
        while pending and not self._hopeless:
            frame = pending[0]
            if self._write(frame) or (self._rotate(len(frame)) and self._write(frame)):
                pending.popleft()
                self._open.pop(ended_id_in(frame), None)
                self._tail.begin(self._written)
            else:
                self._hopeless = True  # until `tend` or `kept`: trying costs more than waiting
        self._assess()

    def _write(self, frame: bytes) -> bool:
        offset = self._offset
        if offset + len(frame) > self._capacity:
            return False
        try:
            if os.pwrite(self._fd, frame, offset) < len(frame):
                raise OSError(0, "a record was written in part only")  # noqa: TRY301  the same as any other refusal
        except OSError as error:
            self._refused(error)
            return False
        self._offset = offset + len(frame)
        return True

    def _rotate(self, needed: int) -> bool:
        """Go on in a new segment that has room for as many bytes; False when the disk gives none.

        Open reservations are written at its beginning, so that no earlier segment is needed for them.
        """
        carried = b"".join(self._open.values())
        needed += len(carried)
        capacity = self._segment_bytes if 2 * needed <= self._segment_bytes else needed + self._segment_bytes
        segment, self._spare = self._spare, None
        try:
            if segment is None:
                segment = self._create(capacity)
            elif segment.capacity < capacity:
                segment.grow(capacity, durable=self.syncs)
            if os.pwrite(segment.fd, carried, 0) < len(carried):
                raise OSError(0, "reservations were written in part only")  # noqa: TRY301  see _write
        except OSError as error:
            self._refused(error)
            if segment is not None:
                segment.discard()
            return False
        self._seal()
        self._begin(segment)
        self._offset = len(carried)
        return True

    def _begin(self, segment: Segment) -> None:
        self._segment = segment
        self._fd, self._capacity, self._offset = segment.fd, segment.capacity, 0

    def _seal(self) -> None:
        """Nothing more is written to the current segment."""
        self._sealed[self._segment.number] = self._offset
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._offset)
        self._retire(self._fd)

    def _retire(self, fd: int) -> None:
        if self.syncs:
            self._sync.retire(fd)
        else:
            os.close(fd)

    def _create(self, capacity: int) -> Segment:
        return create_segment(self._directory, next(self._numbers), capacity, durable=self.syncs)

    async def _set_spare_aside(self) -> None:
        try:
            spare = await asyncio.to_thread(self._create, self._segment_bytes)
        except OSError as error:
            self._refused(error)
            return
        if self._spare is None and spare.number > self._segment.number:
            self._spare = spare
        else:  # meanwhile one was made in haste
            spare.discard()

    async def _release(self) -> None:
        """Remove the segments before the one that the recorder reads."""
        drained = [number for number in self._sealed if number < self._drain.position.segment]
        for number in drained:
            del self._sealed[number]
        if drained:
            await asyncio.to_thread(self._remove, drained)
            self._hopeless = False
        self._catch_up()

    def _remove(self, numbers: Sequence[int]) -> None:
        for path in (segment_path(self._directory, number) for number in numbers):
            with contextlib.suppress(OSError):  # the next start drains it once more
                path.unlink()

    def _refused(self, error: OSError) -> None:
        self._trouble = f"the journal cannot be written: {error.strerror}"
        self.full = True

    def _assess(self) -> None:
        """Whether another request may be admitted."""
        held = sum(self._sealed.values()) + self._capacity + sum(other.bytes_waiting for other in self._others)
        fits = held + MARGIN_SEGMENTS * self._segment_bytes <= self._max_bytes
        self.full = bool(self._pending or self.problem) or not fits

    def __repr__(self) -> str:
        state = self.problem or ("full" if self.full else "ok")
        return f"<FileJournal {self._directory.name} {self.rows_waiting} rows waiting, {len(self._open)} open, {state}>"
