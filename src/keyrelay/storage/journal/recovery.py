"""What processes that died have left behind: rows that the store may not have, and attempts that nobody ended.

Whether a writer lives is asked of the lock in its directory. Of an attempt without an end nobody knows what it used:
it becomes a row of category `unknown` that counts all that was reserved.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import Attempt, RequestRecord, Reserved
from keyrelay.core.usage import Usage
from keyrelay.storage.journal.format import ENDED, RESERVED, request_id_in, reservation_in
from keyrelay.storage.journal.locks import exclusive, take
from keyrelay.storage.journal.segments import (
    JOURNAL_DIRECTORY,
    LOCK,
    DrainedNote,
    Position,
    SegmentReader,
    filled_bytes,
    segment_path,
    segments_in,
)

UNKNOWN = "unknown"
"""The category of a request whose end nobody has written down."""

_NO_LOCK = -1
_PIECE_BYTES = 1024 * 1024
_PIECE_RECORDS = 10_000
_MILLION = 1_000_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RequestRecord).decode


def recover(data_dir: Path) -> tuple["Leftover", ...]:
    """Take over the journals of dead processes, oldest first; nobody else gets them while this process lives.

    Raise StoreError when the directory cannot be read.
    """
    root = data_dir / JOURNAL_DIRECTORY
    if not root.is_dir():
        return ()
    try:
        with exclusive(root / LOCK):
            return tuple(
                Leftover(directory, lock)
                for directory in sorted(root.iterdir())
                if directory.is_dir() and (lock := take(directory / LOCK)) is not None
            )
    except OSError as error:
        raise StoreError(f"the journals in {root} cannot be read: {error.strerror}") from error


def look_at(data_dir: Path) -> tuple["Leftover", ...]:
    """The journals of all processes, dead or alive, as they are now, taken over by nobody: for `records` alone.

    Raise StoreError when the directory cannot be read.
    """
    root = data_dir / JOURNAL_DIRECTORY
    found = list[Leftover]()
    try:
        for directory in sorted(root.iterdir()) if root.is_dir() else ():
            if directory.is_dir():
                with contextlib.suppress(FileNotFoundError):  # its rows have come to the store just now
                    found.append(Leftover(directory, _NO_LOCK))
    except OSError as error:
        raise StoreError(f"the journals in {root} cannot be read: {error.strerror}") from error
    return tuple(found)


class Leftover:
    """The journal of a writer that is dead: `read`, `kept` and `tend` for the recorder, `records` for the ledger.

    `rows_waiting` is known, and else None, once `records` has come to its end.
    """

    problem = ""

    def __init__(self, directory: Path, lock: int) -> None:
        """`lock` is the descriptor that holds the directory's lock. Raise OSError when it cannot be read."""
        self._directory = directory
        self._lock = lock
        self._note = DrainedNote(directory)
        self._filled = {number: filled_bytes(path) for number, path in segments_in(directory).items()}
        self._replay = Replay(directory, self._note.load())
        self._kept_to = self._replay.drained
        self._lines: list[bytes] = []
        self.rows_waiting: int | None = None
        self.exhausted = False

    @property
    def writer_id(self) -> str:
        """The name of its directory."""
        return self._directory.name

    @property
    def bytes_waiting(self) -> int:
        """Bytes of journal that have not been drained."""
        kept_to = self._kept_to
        if self.exhausted:
            return 0
        return sum(
            max(0, size - kept_to.offset) if number == kept_to.segment else size
            for number, size in self._filled.items()
            if number >= kept_to.segment
        )

    @property
    def damaged_bytes(self) -> int:
        """Bytes that nothing could be made of when they were read."""
        return self._replay.damaged_bytes

    def records(self) -> Iterator[RequestRecord]:
        """The rows that the store may not have, those of attempts without an end last; raise StoreError.

        A row that is no record is left out: the recorder finds it.
        """
        replay = Replay(self._directory, self._note.load())
        rows = 0
        try:
            while lines := replay.next_rows(_PIECE_RECORDS, _PIECE_BYTES):
                rows += len(lines)
                yield from (record for line in lines if (record := _record_in(line)) is not None)
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            replay.close()
        self.rows_waiting = rows

    async def read(self, max_rows: int, max_bytes: int) -> list[bytes]:
        """The rows that come next, the same ones until `kept`; raise StoreError.

        When there are no more the journal is removed, and `exhausted`.
        """
        if not self._lines and not self.exhausted:
            try:
                self._lines = await asyncio.to_thread(self._replay.next_rows, max_rows, max_bytes)
            except OSError as error:
                raise self._unreadable(error) from error
            if not self._lines:
                await asyncio.to_thread(self._remove)
                self.exhausted = True
                self.close()
        return self._lines

    async def kept(self) -> None:
        """The store has the rows that were read last."""
        if self.rows_waiting is not None:
            self.rows_waiting = max(0, self.rows_waiting - len(self._lines))
        self._lines = []
        self._kept_to = self._replay.position
        with contextlib.suppress(OSError):  # then the next start writes rows to the store that it has: no harm
            self._note.save(self._kept_to)
        await asyncio.to_thread(self._remove_before, self._kept_to.segment)

    async def tend(self) -> None:
        """Nothing has been put off."""

    def close(self) -> None:
        """Let go of it; what the store does not have stays for the next start."""
        self._replay.close()
        self._note.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = _NO_LOCK

    def _remove_before(self, segment: int) -> None:
        """Each segment begins with the reservations that were open then, so earlier ones are needed for rows alone."""
        for number in [number for number in self._filled if number < segment]:
            with contextlib.suppress(OSError):  # the next start drains it once more
                segment_path(self._directory, number).unlink(missing_ok=True)
                del self._filled[number]

    def _remove(self) -> None:
        with contextlib.suppress(OSError), exclusive(self._directory.parent / LOCK):
            shutil.rmtree(self._directory)

    def _unreadable(self, error: OSError) -> StoreError:
        return StoreError(f"the journal in {self._directory} cannot be read: {error.strerror}")

    def __repr__(self) -> str:
        state = "exhausted" if self.exhausted else f"{self.bytes_waiting} bytes waiting"
        return f"<Leftover {self.writer_id} {state}>"


class Replay:
    """One pass over the segments of a dead writer, which remembers the attempts that have not ended.

    Rows before `drained` are passed over. `position` is how far it has come.
    """

    def __init__(self, directory: Path, drained: Position | None) -> None:
        self._sizes = {number: path.stat().st_size for number, path in segments_in(directory).items()}
        self._reader = SegmentReader(directory)
        self._open: dict[str, dict[int, Reserved]] = {}
        self._unknown: Iterator[bytes] | None = None
        self.position = Position(min(self._sizes, default=0), 0)
        self.drained = max(self.position, drained or self.position)
        self.damaged_bytes = 0

    def next_rows(self, max_records: int, max_bytes: int) -> list[bytes]:
        """The next rows, none at the end; a few at a time. Raise OSError."""
        while self._unknown is None:
            at = self.position
            size = self._sizes.get(at.segment, 0)
            if at.offset >= size:
                following = min((number for number in self._sizes if number > at.segment), default=None)
                if following is not None:
                    self.position = Position(following, 0)
                    continue
                self._unknown = iter([_encode(unknown_record(attempts)) for attempts in self._open.values()])
                break
            if lines := self._piece(at, size, max_records, max_bytes):
                return lines
        return list(itertools.islice(self._unknown, max_records))

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    def _piece(self, at: Position, size: int, max_records: int, max_bytes: int) -> list[bytes]:
        passed_over = at < self.drained
        if passed_over and at.segment == self.drained.segment:
            size = min(size, self.drained.offset)
        found = self._reader.read(at, size, max_records, max_bytes)
        self.position = Position(at.segment, found.end)
        self.damaged_bytes += found.damaged
        lines = []
        for kind, payload in found.records:
            if kind == ENDED:
                self._open.pop(request_id_in(payload), None)
                lines.append(payload)
            elif kind == RESERVED and (entry := reservation_in(payload)) is not None:
                self._open.setdefault(entry.request_id, {})[entry.attempt] = entry
        return [] if passed_over else lines

    def __repr__(self) -> str:
        return f"<Replay at {self.position.segment}:{self.position.offset}, {len(self._open)} open>"


def unknown_record(attempts: Mapping[int, Reserved]) -> RequestRecord:
    """The row of a request of which only its attempts (by their place) are known: each has used what it reserved.

    Before the last one was sent the others had failed, so provider, usage and cost are the last one's.
    """
    entries = [attempts[place] for place in sorted(attempts)]
    last = entries[-1]
    return RequestRecord(
        id=last.request_id,
        time=rfc3339(last.sent_s),
        level="warning",
        client=last.client,
        operation=last.operation,
        provider=last.provider,
        key=last.key,
        model=last.model,
        category=UNKNOWN,
        reserved_input_tokens=last.input_tokens,
        reserved_output_tokens=last.output_tokens,
        usage=Usage(last.input_tokens, last.output_tokens, estimated=True),
        cost_usd=last.usd_micros / _MILLION if last.usd_micros else None,
        charged=_charged(entries) if last.client else None,
        attempts=[
            Attempt(
                provider=entry.provider,
                key=entry.key,
                model=entry.model,
                sent_s=entry.sent_s,
                requests=entry.requests,
                input_tokens=entry.input_tokens,
                output_tokens=entry.output_tokens,
                usd_micros=entry.usd_micros,
                units=entry.units,
            )
            for entry in entries
        ],
    )


def _charged(entries: Sequence[Reserved]) -> tuple[int, int, int, int]:
    """What the client's own limits count: it is one request, and each call may have used what it reserved."""
    amounts = ((entry.input_tokens, entry.output_tokens, entry.usd_micros) for entry in entries)
    input_tokens, output_tokens, usd_micros = map(sum, zip(*amounts, strict=True))
    return 1, input_tokens, output_tokens, usd_micros


def _record_in(line: bytes) -> RequestRecord | None:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
