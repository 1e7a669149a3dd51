from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyrelay.storage.database import Database, open_database
from keyrelay.storage.migrating import ensure_file
from keyrelay.storage.versions import make_tables
from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """An SQLite file with empty tables."""
    database = open_database("", tmp_path)
    await ensure_file(database)
    await database.change(make_tables)
    yield database
    await database.close()


@pytest.fixture
async def postgres_database(postgres_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A PostgreSQL database with empty tables."""
    database = open_database(postgres_url, tmp_path)
    await database.change(make_tables)
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of the two in turn."""
    name = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    found: Database = request.getfixturevalue(name)
    return found
