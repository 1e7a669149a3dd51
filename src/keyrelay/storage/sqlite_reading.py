"""An SQLite file that is only looked at: nothing in its directory becomes another by that.

A file in WAL mode is not read by merely not writing to it: SQLite makes the log and its index beside it, and takes up
what is in them. Which way leaves everything as it is depends on what is there:

- Log and index are there: a process has the file open, or was killed. The index is mapped for reading alone
  (`readonly_shm`). While somebody has the file open it is shared with them; left behind, it is not believed, and SQLite
  makes one in its own memory from the log, so that what the dead process had committed is read.
- No log, or an empty one: whoever had it closed it in order, and everything is in the file. It is read as one that
  cannot change (`immutable`), without locks and without a log. Should somebody open it meanwhile, it is read once more.
- A log without its index: somebody has taken it away, or has copied two files of three. There is no way to read that
  without writing, so a gateway has to do it.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.storage.database import READ_TIMEOUT_S
from keyrelay.storage.sqlite_database import SqliteDatabase

BUSY_TIMEOUT_S = 1.0
"""Longest wait for another process that keeps the file locked, which nobody does for long."""

_SHARED = "mode=ro&readonly_shm=1"
_ALONE = "mode=ro&immutable=1"
_TRIES = 3

_Print = tuple[int, int, int, bool]

_Result = TypeVar("_Result")


class SqliteReading(SqliteDatabase):
    """The file at this path, to be read. Changing it raises StoreError."""

    __slots__ = ()

    def __init__(self, path: Path, *, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        super().__init__(path, read_timeout_s=read_timeout_s, write_timeout_s=BUSY_TIMEOUT_S)

    async def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Look at one moment of the file, and once more when that cannot be said because somebody has opened it."""
        for _ in range(_TRIES):
            before = self._print()
            try:
                result = await super().read(work)
            except StoreError:
                if self._print() == before:
                    raise
            else:
                after = self._print()
                if after == before or (after[-1] and before[-1]):
                    return result
            finally:
                self._engine.dispose()  # how it is to be opened is asked anew each time
        raise StoreError(f"the database {self._path}: it is being changed all the time; try again")

    async def change(self, work: Callable[[sa.Connection], _Result]) -> NoReturn:
        """Raise StoreError."""
        del work
        raise StoreError(f"the database {self._path} is only looked at here", lasting=True)

    async def write(self, lines: object) -> NoReturn:
        """Raise StoreError."""
        del lines
        raise StoreError(f"the database {self._path} is only looked at here", lasting=True)

    def _connect_reader(self) -> sqlite3.Connection:
        how = _SHARED if self._print()[-1] else _ALONE
        address = f"file:{quote(str(self._path))}?{how}"
        return sqlite3.connect(
            address, uri=True, timeout=self._write_timeout_s, isolation_level=None, check_same_thread=False
        )

    def _print(self) -> _Print:
        """What tells one state of the file from another, and whether it is shared. Raise StoreError."""
        log, index = (self._path.with_name(f"{self._path.name}-{part}") for part in ("wal", "shm"))
        try:
            status = self._path.stat()
            filled = log.exists() and log.stat().st_size > 0
            shared = log.exists() and index.exists()
        except OSError as error:
            raise StoreError(f"the database {self._path} cannot be read: {error.strerror}", lasting=True) from error
        if filled and not shared:
            raise StoreError(
                f"the database {self._path} has a log without its index, which only a gateway can take up: start one",
                lasting=True,
            )
        return status.st_mtime_ns, status.st_size, status.st_ino, shared
