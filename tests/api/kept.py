"""A gateway whose store holds rows already, for tests of the views of kept usage."""

import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from keyrelay.core.records import RequestRecord
from keyrelay.storage.database import open_database
from keyrelay.storage.migrating import ensure_file
from keyrelay.storage.migrations.running import migrate
from tests.api.served import served
from tests.e2e.harness import Embedded
from tests.storage.usage_rows import a_record, keep

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000


def some_records(count: int, *, spread_ms: int = 20 * HOUR_MS, seed: int = 1) -> list[RequestRecord]:
    """Records of the last hours, the newest first."""
    chance = random.Random(seed)
    moments = sorted((NOW_MS - 120_000 - chance.randrange(spread_ms) for _ in range(count)), reverse=True)
    return [a_record(moment_ms, chance) for moment_ms in moments]


@contextlib.asynccontextmanager
async def kept(
    directory: Path, records: Iterable[RequestRecord] = (), *, database_url: str = "", **more: str
) -> AsyncIterator[Embedded]:
    """A gateway with these rows in its store, which is an SQLite file unless an empty database is named."""
    data = directory / "data"
    database = open_database(database_url, data)
    await ensure_file(database)
    await migrate(database)
    await keep(database, list(records))
    await database.close()
    environ: dict[str, Any] = {"KEYRELAY_DATA_DIR": str(data), "DATABASE_URL": database_url, **more}
    async with served(directory, **environ) as gateway:
        yield gateway
