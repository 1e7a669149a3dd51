"""An SQLite file in WAL mode: one thread writes, others read beside it.

Rows of ended requests go over Python's own driver, in the writing thread, one transaction per batch. The threads share
Python's lock with the event loop, so that a batch is worked off in small portions, each of which ends with a statement
during which the lock is free.
"""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.storage.batches import Batch, LineError, by_id
from keyrelay.storage.database import READ_TIMEOUT_S, WRITE_TIMEOUT_S, Database
from keyrelay.storage.forms import Form, Rows
from keyrelay.storage.rollups import Row
from keyrelay.storage.schema import ATTEMPTS, REQUESTS
from keyrelay.storage.statements import NOTHING, chunks, sqlite_statement

_READERS = 2
_LINES_AT_A_TIME = 64
_FORM = Form(bytearray.fromhex, yes=1, no=0, nothing=NOTHING)
"""Only what the driver takes as it is; `bytes` and truths are among what it offers to be something else."""
_SIZES = (64, 8, 1)
_SUM_SIZES = (16, 4, 1)
_LOOK_EVERY = 20_000
"""Steps of SQLite's machine between two looks at the clock, about a millisecond."""

_WRITER_PAGES_KIB = 4_096
_READER_PAGES_KIB = 8_192
_LARGEST_LOG_BYTES = 67_108_864

_ADVICE = {
    sqlite3.SQLITE_BUSY: ("another process keeps it locked", False),
    sqlite3.SQLITE_LOCKED: ("another process keeps it locked", False),
    sqlite3.SQLITE_FULL: ("the disk is full: free some space", False),
    sqlite3.SQLITE_IOERR: ("the disk fails: see the system's log", False),
    sqlite3.SQLITE_INTERRUPT: ("it took too long", False),
    sqlite3.SQLITE_READONLY: ("it cannot be written: check the owner and the mode of file and directory", True),
    sqlite3.SQLITE_PERM: ("access is refused: check the owner and the mode of file and directory", True),
    sqlite3.SQLITE_AUTH: ("access is refused: check the owner and the mode of file and directory", True),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened: check that its directory is there and may be written", True),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged: restore a backup", True),
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database: move it away or restore a backup", True),
}
"""What an error means for a person, and whether it lasts until a person acts, by SQLite's primary code."""

_PRIMARY_CODE = 0xFF
_PRIVATE = 0o600

_LOST = (
    "the file that is open was removed or replaced meanwhile: put it back, or restart Keyrelay with the one that is to "
    "be used. Rows wait in the journal, and nothing can be changed until then"
)

_Result = TypeVar("_Result")


class SqliteDatabase(Database):
    """The file at this path."""

    __slots__ = (
        "_connection",
        "_durable",
        "_engine",
        "_opened",
        "_path",
        "_readers",
        "_timeout_s",
        "_write_timeout_s",
        "_writer",
        "file",
        "place",
    )

    name = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = False,
        read_timeout_s: float = READ_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self.file = self._path = path
        self.place = str(path)
        self._durable = durable
        self._timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._engine = _engine(path, self._connect_reader)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="keyrelay-store")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="keyrelay-reader")

    async def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Look at one moment of the database, in a thread."""
        deadline_at = time.monotonic() + self._timeout_s
        return await self._run(self._readers, lambda: self._read(work, deadline_at))

    async def change(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Do this in one transaction, in the writing thread."""
        return await self._run(self._writer, lambda: self._change(work))

    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep rows of ended requests, in the writing thread."""
        await self._run(self._writer, lambda: self._write(lines))

    @property
    def lost(self) -> str:
        """Whether another file, or none, stands where the one was that was opened."""
        if self._opened in {None, _identity(self._path)}:
            return ""
        return f"the database {self._path}: {_LOST}"

    async def close(self) -> None:
        """Let go of all connections."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        self._writer.shutdown()
        self._readers.shutdown()

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
        def on_the_file() -> _Result:
            if lost := self.lost:
                raise StoreError(lost, lasting=True)
            return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(threads, on_the_file)
        except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
            raise self._explained(error) from error
        except OverflowError as error:  # a number beyond 64 bits
            raise LineError(None, str(error)) from error

    def _read(self, work: Callable[[sa.Connection], _Result], deadline_at: float) -> _Result:
        with self._engine.connect() as connection:
            driver = cast("sqlite3.Connection", connection.connection.driver_connection)
            driver.set_progress_handler(lambda: time.monotonic() > deadline_at, _LOOK_EVERY)
            try:
                return work(connection)
            finally:
                driver.set_progress_handler(None, 0)

    def _change(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        with self._engine.connect().execution_options(changes=True) as connection, connection.begin():
            return work(connection)

    def _write(self, lines: Sequence[bytes]) -> None:
        connection = self._connection or self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            batch = _insert(connection, lines)
            if batch is None:  # some are there already
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                batch = _insert_missing(connection, lines)
            _add_sums(connection, batch)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        connection = self._connected()
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size = -{_WRITER_PAGES_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG_BYTES}")
        self._connection = connection
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        """A connection for readers, and for changes."""
        connection = self._connected()
        connection.execute(f"PRAGMA cache_size = -{_READER_PAGES_KIB}")
        return connection

    def _connected(self) -> sqlite3.Connection:
        """A connection to the file, which is remembered from the first one on."""
        connection = connect(self._path, self._write_timeout_s)
        self._opened = self._opened or _identity(self._path)
        return connection

    def _close(self) -> None:
        self._engine.dispose()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _explained(self, error: Exception) -> StoreError:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE
        words, lasting = _ADVICE.get(code, (f"{cause}", True))
        return StoreError(f"the database {self._path}: {words}", lasting=lasting)


def connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection of the driver, in WAL mode, on which transactions begin and end where they are told to.

    A file that is not there is made for its owner alone.
    """
    # Only a new file may be opened and closed beside SQLite: closing it drops all locks that this process has on it.
    with contextlib.suppress(OSError):  # it is there, or SQLite says what is wrong
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    with _closed_on_error(connection):
        connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one at the same place; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error:
        connection.close()
        raise


def _engine(path: Path, creator: Callable[[], sqlite3.Connection]) -> sa.Engine:
    """SQLAlchemy over the same driver: for readers, and for changes, which say so by an option."""
    engine = sa.create_engine(
        sa.URL.create("sqlite+pysqlite", database=str(path)),
        creator=creator,
        poolclass=sa.QueuePool,
        pool_size=_READERS + 1,
        max_overflow=0,
        pool_timeout=READ_TIMEOUT_S,
    )
    sa.event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: sa.Connection) -> None:
    """Begin where SQLAlchemy thinks that the driver does it; what changes things asks for the lock at once."""
    changes = connection.get_execution_options().get("changes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if changes else "BEGIN")


def _insert(connection: sqlite3.Connection, lines: Sequence[bytes]) -> Batch | None:
    """Insert all rows; None when one of them was there already."""
    batch, rows, inserted = Batch(_FORM), Rows(), 0
    for place in range(0, len(lines), _LINES_AT_A_TIME):
        batch.add(lines[place : place + _LINES_AT_A_TIME], rows, place)
        inserted += _insert_rows(connection, rows, _SIZES[:1])
    inserted += _insert_rows(connection, rows, _SIZES)
    return batch if inserted == len(lines) else None


def _insert_missing(connection: sqlite3.Connection, lines: Sequence[bytes]) -> Batch:
    """Insert the rows that are not there yet, each one once."""
    batch, rows = Batch(_FORM), Rows()
    for place in range(0, len(lines), _LINES_AT_A_TIME):
        portion = lines[place : place + _LINES_AT_A_TIME]
        new = by_id(portion)
        asked = f"SELECT id FROM requests WHERE id IN ({', '.join('?' * len(new))})"  # noqa: S608 - question marks alone
        for (known,) in connection.execute(asked, list(map(bytes.fromhex, new))).fetchall():
            del new[known.hex()]
        batch.add(new.values(), rows)
        _insert_rows(connection, rows, _SIZES)
    return batch


def _insert_rows(connection: sqlite3.Connection, rows: Rows, sizes: Sequence[int]) -> int:
    """Insert rows, as far as they make up portions of these sizes, and let go of them; how many requests were new."""
    _take(connection, ATTEMPTS, rows.attempts, sizes)
    return _take(connection, REQUESTS, rows.usual, sizes, usual=True) + _take(
        connection, REQUESTS, rows.requests, sizes
    )


def _take(
    connection: sqlite3.Connection, table: sa.Table, rows: list[Row], sizes: Sequence[int], *, usual: bool = False
) -> int:
    """Insert rows of one table and let go of them; how many were new."""
    inserted, whole = 0, len(rows) - len(rows) % sizes[-1]
    for size, values in chunks(rows[:whole], sizes):
        inserted += connection.execute(sqlite_statement(table, size, usual=usual), values).rowcount
    del rows[:whole]
    return inserted


def _add_sums(connection: sqlite3.Connection, batch: Batch) -> None:
    for table, rows in batch.sums():
        for size, values in chunks(rows, _SUM_SIZES):
            connection.execute(sqlite_statement(table, size), values)
