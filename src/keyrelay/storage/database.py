"""A database as the rest of the storage uses it, whichever it is.

Reading and small changes are SQLAlchemy Core in ordinary functions: SQLite runs them in a thread, PostgreSQL beside the
event loop. Rows of ended requests take a way of their own, over the driver. Errors of a driver become `StoreError` here
and nowhere else.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.settings import DATABASE_SCHEMES

READ_TIMEOUT_S = 10.0
"""Longest time for one reading or change, as long as nobody asked for patience."""

PATIENT_TIMEOUT_S = 3_600.0

WRITE_TIMEOUT_S = 5.0
"""Longest wait for PostgreSQL to answer a writer's statement, and for another process to let go of an SQLite file."""

FILE_NAME = "keyrelay.db"

_Result = TypeVar("_Result")


class Database(ABC):
    """A connection to where usage is kept; opening one does no I/O.

    Functions given to `read` and `change` are called with a connection that is theirs until they return, so they give
    back plain values and no results that are still being read. All methods raise StoreError.
    """

    __slots__ = ()

    name: Literal["sqlite", "postgresql"]
    place: str
    """Where it is, in words without a secret."""
    file: Path | None
    """The SQLite file; None for PostgreSQL."""

    @abstractmethod
    async def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Look at one moment of the database, for at most `READ_TIMEOUT_S` unless opened with patience."""

    @abstractmethod
    async def change(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Do this in one transaction, which is committed unless it raises."""

    @abstractmethod
    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep rows of ended requests (`ports.UsageStore.write`)."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of all connections; nothing may be under way."""

    @property
    def lost(self) -> str:
        """Why what is opened is not what stands at its place any more, for a person; empty while it is.

        Reading and changing raise StoreError then.
        """
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.place}>"


def open_database(
    url: str, data_dir: Path, *, durable: bool = False, patient: bool = False, reading: bool = False
) -> Database:
    """The database of this URL; of an empty one the SQLite file in the data directory.

    With `durable`, what was written survives a loss of power. `patient` is for an operator's commands, which may take
    long. One that is opened for `reading` refuses all changes, and an SQLite file's directory stays as it is. Raise
    StoreError for a URL of any other kind.
    """
    timeout_s = PATIENT_TIMEOUT_S if patient else READ_TIMEOUT_S
    if not url and reading:
        module = importlib.import_module("keyrelay.storage.sqlite_reading")
        looked_at: Database = module.SqliteReading(data_dir / FILE_NAME, read_timeout_s=timeout_s)
        return looked_at
    if not url:
        module = importlib.import_module("keyrelay.storage.sqlite_database")
        sqlite: Database = module.SqliteDatabase(data_dir / FILE_NAME, durable=durable, read_timeout_s=timeout_s)
        return sqlite
    scheme = next((each for each in DATABASE_SCHEMES if url.startswith(each)), None)
    if scheme is None:
        raise StoreError(
            "the database's URL must begin with postgresql://; without one, usage is kept in the data directory",
            lasting=True,
        )
    module = importlib.import_module("keyrelay.storage.postgres_database")  # its driver is worth 10 MB of memory
    address = f"postgresql://{url.removeprefix(scheme)}"
    postgres: Database = module.PostgresDatabase(address, timeout_s=timeout_s, reading=reading)
    return postgres
