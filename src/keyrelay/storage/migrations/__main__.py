"""`python -m keyrelay.storage.migrations FILE`: migrate an SQLite file, in a process of its own; 1 says it failed."""

import asyncio
import sys
from pathlib import Path

from keyrelay.core.errors import StoreError
from keyrelay.storage.migrations.running import migrate
from keyrelay.storage.sqlite_database import SqliteDatabase


async def _main(path: Path) -> int:
    database = SqliteDatabase(path)
    try:
        await migrate(database)
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        await database.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(Path(sys.argv[1]))))
