"""Segments as files: set aside, found again, read in pieces; and the note of what has been drained."""

import contextlib
import errno
import os
import re
import struct
import threading
import zlib
from pathlib import Path

import msgspec

from keyrelay.storage.journal.format import scan
from keyrelay.storage.journal.values import Scan

JOURNAL_DIRECTORY = "journal"
"""Where journals are, below the data directory."""

LOCK = "lock"
"""File in the directory of all journals, locked while one of them is made, taken over or removed; and file in the
directory of a writer, locked while it lives."""

_NAME = re.compile(r"(\d{8,})\.seg")
_PRIVATE = 0o600
_ZEROS = bytes(64 * 1024)
_NOT_OFFERED = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in a writer's segments: everything before it."""

    segment: int
    offset: int


class Segment(msgspec.Struct, eq=False):
    """A segment that is open for writing. `capacity` bytes of it are set aside on the disk."""

    number: int
    path: Path
    fd: int
    capacity: int

    def grow(self, capacity: int, *, durable: bool) -> None:
        """Set aside as many bytes as that. Raise OSError when the disk does not have them."""
        _set_aside(self.fd, self.capacity, capacity)
        self.capacity = capacity
        if durable:
            os.fsync(self.fd)

    def discard(self) -> None:
        """Close and remove it."""
        os.close(self.fd)
        self.path.unlink(missing_ok=True)


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment is."""
    return directory / f"{number:08d}.seg"


def create_segment(directory: Path, number: int, capacity: int, *, durable: bool) -> Segment:
    """A new segment, empty; with `durable` it survives a loss of power. Raise OSError, leaving nothing behind."""
    path = segment_path(directory, number)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    segment = Segment(number, path, fd, 0)
    try:
        segment.grow(capacity, durable=durable)
        if durable:
            sync_directory(directory)
    except OSError:
        segment.discard()
        raise
    return segment


def segments_in(directory: Path) -> dict[int, Path]:
    """The segments of a directory by number, in the order in which they were written."""
    found = {int(match[1]): path for path in directory.iterdir() if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def filled_bytes(path: Path) -> int:
    """How many bytes of a file there are up to the zeros at its end. Raise OSError when it cannot be read."""
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at:
            start = max(0, at - len(_ZEROS))
            file.seek(start)
            if filled := file.read(at - start).rstrip(b"\0"):
                return start + len(filled)
            at = start
    return 0


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk. Raise OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SegmentReader:
    """Reads the segments of one directory in pieces; one call at a time, in whichever thread."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._directory = directory
        self._number = 0
        self._fd = -1
        self._unread = 0

    def read(self, at: Position, limit: int, max_records: int, max_bytes: int) -> Scan:
        """Records from a position on, as many as a piece of `max_bytes` holds, but one at least if there is one.

        `limit` is where the segment ends. The `end` of what is returned is an offset in the segment; bytes that
        nothing could be made of are `damaged` once a record has been found behind them. Raise OSError.
        """
        with self._lock:
            self._turn_to(at.segment)
            return self._read(at, limit, max_records, max_bytes)

    def close(self) -> None:
        """Let go of the file, once no thread reads it any more."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _read(self, at: Position, limit: int, max_records: int, max_bytes: int) -> Scan:
        room = limit - at.offset
        size = min(max_bytes, room)
        data = os.pread(self._fd, size, at.offset) if self._fd >= 0 else b""
        if len(data) < size:  # the file is shorter than it was: what is left of it is all there is
            room = len(data)
        found = scan(data, room, max_records)
        while found.wanted and not found.records:
            data = os.pread(self._fd, found.end + found.wanted, at.offset)
            found = scan(data, room if len(data) == found.end + found.wanted else len(data), max_records)
        unread = found.torn + (0 if found.records else self._unread)
        damaged = found.damaged + (self._unread if found.records else 0)
        self._unread = unread
        end = limit if room < limit - at.offset and found.end >= room else at.offset + found.end
        return Scan(found.records, end, 0, damaged, unread)

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._number = -1, 0

    def _turn_to(self, number: int) -> None:
        """Open a segment; one that is gone reads as empty."""
        if self._closed:
            raise OSError(errno.EBADF, "it has been let go of")
        if number == self._number:
            return
        self._let_go()
        with contextlib.suppress(FileNotFoundError):
            self._fd = os.open(segment_path(self._directory, number), os.O_RDONLY | os.O_CLOEXEC)
        self._number, self._unread = number, 0

    def __repr__(self) -> str:
        return f"<SegmentReader of segment {self._number}>"


class DrainedNote:
    """Up to where rows are in the store, in a small file that is written over in place: so it needs no room.

    A note that was torn reads as none at all: then rows are written to the store twice, which changes nothing there.
    """

    NAME = "drained"
    _LAYOUT = struct.Struct("<QQI")

    def __init__(self, directory: Path) -> None:
        self._path = directory / self.NAME
        self._fd = -1

    def load(self) -> Position | None:
        """What was noted last; None when nothing was. Raise OSError when it cannot be read."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) != self._LAYOUT.size:
            return None
        segment, offset, checksum = self._LAYOUT.unpack(data)
        return Position(segment, offset) if checksum == zlib.crc32(data[:-4]) else None

    def save(self, position: Position) -> None:
        """Note a position. Raise OSError."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        data = self._LAYOUT.pack(position.segment, position.offset, 0)[:-4]
        os.pwrite(self._fd, data + zlib.crc32(data).to_bytes(4, "little"), 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __repr__(self) -> str:
        return f"<DrainedNote {self._path}>"


def _set_aside(fd: int, start: int, end: int) -> None:
    """Make sure that the disk has room for these bytes of a file. Raise OSError when it has not."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, start, end - start)
        except OSError as error:
            if error.errno not in _NOT_OFFERED:
                raise
        else:
            return
    while start < end:  # where nothing can be set aside, zeros are as good
        start += os.pwrite(fd, _ZEROS[: end - start], start)
