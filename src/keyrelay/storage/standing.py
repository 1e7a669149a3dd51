"""How a database stands: for a person who wants to know what is in it."""

from pathlib import Path

import msgspec
import sqlalchemy as sa

from keyrelay.storage.database import Database
from keyrelay.storage.schema import AUDIT, REQUESTS, STATES, USAGE_DAYS, VERSIONS
from keyrelay.storage.versions import SchemaState, state_of, version_of


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is, which version its tables have and which they should have, and what they hold.

    `counted` is how many requests the sums are of, `oldest_ms` and `newest_ms` (epoch) when the first and the last of
    those began whose rows are kept. `bytes` is what it takes up on the disk, SQLite's write-ahead log included.
    """

    place: str
    state: SchemaState
    version: str
    wanted: str
    bytes: int
    counted: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None


async def standing_of(database: Database) -> Standing:
    """Look. An SQLite file that is not there is empty, and is not made. Raise StoreError."""
    file = database.file
    if file is not None and not file.exists():
        return Standing(place=database.place, state=SchemaState.EMPTY, version="", wanted=VERSIONS[-1], bytes=0)
    size = None if file is None else _size(file)
    return await database.read(lambda connection: _look(connection, database.place, size))


async def last_written_s(database: Database) -> float:
    """When something was last put down in it (epoch): a request, a change, or what was found out; 0: never.

    Raise StoreError.
    """
    return await database.read(_last_written_s)


def _last_written_s(connection: sa.Connection) -> float:
    newest_ms = (
        sa.select(REQUESTS.c.ended_ms).order_by(sa.desc(REQUESTS.c.id)).limit(1),
        sa.select(AUDIT.c.at_ms).order_by(sa.desc(AUDIT.c.id)).limit(1),
    )
    found_s = [(connection.execute(statement).scalar() or 0) / 1000 for statement in newest_ms]
    return max(*found_s, connection.execute(sa.select(sa.func.max(STATES.c.updated_s))).scalar() or 0)


def _size(file: Path) -> int:
    parts = (file, file.with_name(f"{file.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _look(connection: sa.Connection, place: str, size: int | None) -> Standing:
    version = version_of(connection)
    if size is None:
        size = connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar() or 0
    standing = Standing(place=place, state=state_of(version), version=version, wanted=VERSIONS[-1], bytes=size)
    if standing.state is not SchemaState.CURRENT:
        return standing
    counted = connection.execute(sa.select(sa.func.sum(USAGE_DAYS.c.requests))).scalar() or 0
    began = sa.select(REQUESTS.c.started_ms).limit(1)
    oldest_ms = connection.execute(began.order_by(REQUESTS.c.id)).scalar()
    newest_ms = connection.execute(began.order_by(sa.desc(REQUESTS.c.id))).scalar()
    return msgspec.structs.replace(standing, counted=int(counted), oldest_ms=oldest_ms, newest_ms=newest_ms)
