"""PostgreSQL over asyncpg: one connection writes, a small pool reads.

A server that is frozen or cut off answers nothing, not even that it is gone, and asyncpg's own way of closing such a
connection waits for it. So every statement has a deadline, and a connection that missed one is dropped without a word.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine

from keyrelay.core.errors import StoreError
from keyrelay.storage.batches import Batch, LineError, by_id
from keyrelay.storage.database import READ_TIMEOUT_S, WRITE_TIMEOUT_S, Database
from keyrelay.storage.forms import Form, Rows
from keyrelay.storage.rollups import Row
from keyrelay.storage.schema import ATTEMPTS, REQUESTS, prepare_for_postgres
from keyrelay.storage.statements import postgres_statement

CONNECT_TIMEOUT_S = 3.0

_READERS = 4
_LINES_AT_A_TIME = 64
_FORM = Form(str, yes=True, no=False, nothing=None)
_ROWS_AT_A_TIME = 250
"""As many as the event loop can encode in one go without anybody waiting for it."""

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises; what is out of time is an OSError too."""
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # while it tries to roll back over a connection that is gone
    ConnectionError,
)
"""What it raises when the server has let go of a connection."""

_ADVICE = (
    ("28", "user or password are refused: check the database's URL", True),
    ("3D", "there is no such database: create it, or check the database's URL", True),
    ("42501", "access is refused: grant the user its rights", True),
    ("42P01", "its tables are missing or of another version: run `keyrelay db migrate`", True),
    ("42703", "its tables are missing or of another version: run `keyrelay db migrate`", True),
    ("53100", "its disk is full: free some space there", False),
    ("53300", "it takes no more connections: raise max_connections or run fewer workers", False),
    ("57014", "it took too long", False),
    ("25006", "it takes no changes now: is it a standby?", False),
)
"""What an error means for a person, and whether it lasts until a person acts, by how its SQLSTATE begins."""

_BAD_DATA = ("22", "23")
"""How the SQLSTATE of an error begins that lies in a row."""

_Result = TypeVar("_Result")


class PostgresDatabase(Database):
    """The database of this URL, of whose query libpq's parameters (`sslmode`, …) are understood.

    When it is opened for `reading`, the server itself refuses every change.
    """

    __slots__ = ("_connection", "_engine", "_lock", "_reading", "_url", "_write_timeout_s", "place")

    name = "postgresql"
    file = None

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = READ_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        reading: bool = False,
    ) -> None:
        prepare_for_postgres()
        self._url = url
        self._reading = reading
        self._write_timeout_s = write_timeout_s
        try:
            parts = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError):
            raise StoreError("the database's URL cannot be read", lasting=True) from None  # it may hold a password
        self.place = f"{parts.host or 'localhost'}:{parts.port or 5432}/{parts.database or ''}"
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: self.connect(timeout_s),
            pool_size=_READERS,
            max_overflow=0,
            pool_timeout=timeout_s,
            pool_use_lifo=True,
            pool_pre_ping=True,
        )

    async def connect(self, timeout_s: float) -> asyncpg.Connection:
        """A connection of the driver on which no statement takes longer than this. The caller maps its errors."""
        limit_ms = str(int(timeout_s * 1000))
        try:
            connection: asyncpg.Connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=timeout_s,
                server_settings={
                    "application_name": "keyrelay",
                    "statement_timeout": limit_ms,
                    "lock_timeout": limit_ms,
                    "idle_in_transaction_session_timeout": limit_ms,
                    "timezone": "UTC",
                    **({"default_transaction_read_only": "on"} if self._reading else {}),
                },
            )
        except ValueError:  # which may quote a part of the password
            words = "cannot be read: percent-encode what is special in its user and password"
            raise StoreError(f"the database's address {words}", lasting=True) from None
        return connection

    async def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Look at one moment of the database."""
        return await self._run(work, isolation_level="REPEATABLE READ", postgresql_readonly=True)

    async def change(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Do this in one transaction."""
        return await self._run(work, isolation_level="READ COMMITTED")

    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep rows of ended requests."""
        made = await _made_of(lines)
        async with self._lock:
            try:
                await self._insert(made)
            except _FOREIGN as error:
                raise self._explained(error) from None  # its text may hold values

    async def _insert(self, made: "_Made") -> None:
        """Insert over the writing connection, and once more over a fresh one when that was gone already."""
        stale = self._connection is not None
        while True:
            connection = self._connection or await self.connect(self._write_timeout_s)
            self._connection = None
            try:
                await _insert(connection, made)
            except _GONE:
                connection.terminate()
                if not stale:
                    raise
                stale = False
            except BaseException:
                connection.terminate()
                raise
            else:
                self._connection = connection
                return

    async def _run(self, work: Callable[[sa.Connection], _Result], **options: Any) -> _Result:
        try:
            async with self._engine.connect() as connection:
                chosen = await connection.execution_options(**options)
                async with chosen.begin():
                    return await chosen.run_sync(work)
        except (sa.exc.SQLAlchemyError, *_FOREIGN) as error:
            raise self._explained(error) from None  # its text may hold values

    async def close(self) -> None:
        """Let go of all connections."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        await self._engine.dispose()

    def _explained(self, error: BaseException) -> StoreError:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
        state = getattr(cause, "sqlstate", None) or ""
        if state.startswith(_BAD_DATA):
            return LineError(None, f"{cause}")
        for beginning, words, lasting in _ADVICE:
            if state.startswith(beginning):
                return StoreError(f"the database {self.place}: {words}", lasting=lasting)
        if state:
            return StoreError(f"the database {self.place}: {cause}")
        words = (
            "does not answer in time" if isinstance(cause, TimeoutError | sa.exc.TimeoutError) else "cannot be reached"
        )
        return StoreError(f"the database {self.place} {words}")


class _Made(msgspec.Struct, frozen=True):
    """Lines and what has been made of them."""

    lines: Sequence[bytes]
    rows: Rows
    batch: Batch


async def _made_of(lines: Sequence[bytes]) -> _Made:
    """Make rows. Raise LineError."""
    made = _Made(lines, Rows(), Batch(_FORM))
    for place in range(0, len(lines), _LINES_AT_A_TIME):
        made.batch.add(lines[place : place + _LINES_AT_A_TIME], made.rows, place)
        await asyncio.sleep(0)  # others on this event loop have their turn
    for requests in (made.rows.usual, made.rows.requests):
        requests.sort(key=_id_of)  # by id: writers of the same rows wait for each other, and never in a circle
    return made


async def _insert(connection: asyncpg.Connection, made: _Made) -> None:
    """Insert the rows that are not there yet, and add them to the sums, in one transaction."""
    async with connection.transaction():
        inserted: list[asyncpg.Record] = []
        for requests, usual in ((made.rows.usual, True), (made.rows.requests, False)):
            inserted += await _insert_rows(connection, REQUESTS, requests, usual=usual)
        if len(inserted) != len(made.lines):
            lines = by_id(made.lines)
            made = await _made_of([lines[each["id"].hex] for each in inserted])
        await _insert_rows(connection, ATTEMPTS, made.rows.attempts)
        for table, sums in made.batch.sums():
            await _insert_rows(connection, table, sums)


async def _insert_rows(
    connection: asyncpg.Connection, table: sa.Table, rows: list[Row], *, usual: bool = False
) -> list[asyncpg.Record]:
    statement = postgres_statement(table, _DIALECT, usual=usual)
    inserted: list[asyncpg.Record] = []
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        columns = zip(*rows[start : start + _ROWS_AT_A_TIME], strict=True)
        inserted += await connection.fetch(statement, *columns)
    return inserted


def _id_of(row: Row) -> str:
    return str(row[0])
