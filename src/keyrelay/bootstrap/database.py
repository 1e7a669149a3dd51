"""What an operator does to the database itself, for the commands `keyrelay db …`."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from keyrelay.settings import Settings
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.migrating import ensure_file, ensure_schema
from keyrelay.storage.migrations.running import migrate
from keyrelay.storage.retention import Purged, Retention, purge
from keyrelay.storage.standing import Standing, standing_of

__all__ = ["Migrated", "Purged", "Retention", "Standing", "migrate_database", "purge_database", "standing_of_database"]

_Result = TypeVar("_Result")


class Migrated(msgspec.Struct, frozen=True):
    """Where the database is, and the version of its tables before and after; the one before is empty without tables."""

    place: str
    before: str
    after: str


async def migrate_database(settings: Settings) -> Migrated:
    """Bring its tables to the present version. Raise StoreError."""

    async def work(database: Database) -> Migrated:
        await ensure_file(database)
        before, after = await migrate(database)
        return Migrated(database.place, before, after)

    return await _with_database(settings, work)


async def standing_of_database(settings: Settings) -> Standing:
    """What is in it. Raise StoreError."""
    return await _with_database(settings, standing_of)


async def purge_database(settings: Settings, retention: Retention) -> Purged:
    """Delete what is older. Raise StoreError."""

    async def work(database: Database) -> Purged:
        await ensure_schema(database)
        return await purge(database, retention, time.time())

    return await _with_database(settings, work)


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[_Result]]) -> _Result:
    database = open_database(settings.database_url.reveal(), settings.data_dir, patient=True)
    try:
        return await work(database)
    finally:
        await database.close()
