"""How long a full store takes to answer: the readings of a start and the retention, on 1,000,000 requests.

Run: `python bench/store_queries.py [--rows N] [--days N] [--runs N] [--postgres URL] [directory]`. The rows of
`store_rows` are written through the store itself, spread over the days, into a new SQLite file and, when one is named,
into an empty PostgreSQL database. Shown is the 95th percentile of some runs; fails when a reading exceeds its goal.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from keyrelay.storage.database import Database, open_database
from keyrelay.storage.migrating import ensure_file
from keyrelay.storage.migrations.running import migrate
from keyrelay.storage.retention import Retention
from keyrelay.storage.standing import standing_of
from keyrelay.storage.usage_store import SqlUsageStore
from store_rows import lines

BATCH = 2_000
DAY_S = 86_400
NOW_S = 1_795_300_000.0
GOAL_MS = 300.0
START_GOAL_MS = 2_000.0
"""A start may take a moment longer than a screen."""

Reading = Callable[[], Awaitable[object]]


async def fill(database: Database, rows: int, days: float) -> float:
    """Make the tables and write so many rows; seconds that it took."""
    await ensure_file(database)
    await migrate(database)
    store = SqlUsageStore(database, lambda: NOW_S)
    began_at = time.perf_counter()
    made = lines(rows, from_s=NOW_S - days * DAY_S, to_s=NOW_S)
    batch: list[bytes] = []
    for line in made:
        batch.append(line)
        if len(batch) == BATCH:
            await store.write(batch)
            batch.clear()
    await store.write(batch)
    return time.perf_counter() - began_at


def readings(database: Database) -> Mapping[str, tuple[Reading, float]]:
    """What is measured, by name, each with its goal in milliseconds."""
    store = SqlUsageStore(database, lambda: NOW_S)
    return {
        "used, 2 hours": (lambda: store.used_since(NOW_S - 7_200), GOAL_MS),
        "used, 1 day": (lambda: store.used_since(NOW_S - DAY_S), START_GOAL_MS),
        "used, 31 days": (lambda: store.used_since(NOW_S - 31 * DAY_S), START_GOAL_MS),
        "used, ever": (store.used_ever, GOAL_MS),
        "nothing to delete": (
            lambda: store.purge(Retention(requests_days=365, minutes_days=365, hours_days=365)),
            GOAL_MS,
        ),
    }


async def p95_ms(reading: Reading, runs: int) -> float:
    """The 95th percentile of some runs."""
    taken = []
    for _ in range(runs):
        began_at = time.perf_counter()
        await reading()
        taken.append((time.perf_counter() - began_at) * 1000)
    return sorted(taken)[max(0, -(-runs * 95 // 100) - 1)]


async def measure(database: Database, rows: int, days: float, runs: int) -> bool:
    """Fill, measure, print; whether all goals are met."""
    took_s = await fill(database, rows, days)
    print(f"{database.name}: {rows:,} rows over {days:g} days, written at {rows / took_s:,.0f} a second")
    standing = await standing_of(database)
    print(f"  {standing.bytes / rows:.0f} bytes for each")
    store = SqlUsageStore(database, lambda: NOW_S)
    began_at = time.perf_counter()
    await store.purge(Retention(requests_days=365, minutes_days=365, hours_days=365))
    print(f"  sums per second deleted in {time.perf_counter() - began_at:.1f} s")
    fine = True
    for name, (reading, goal_ms) in readings(database).items():
        taken_ms = await p95_ms(reading, runs)
        fine = fine and taken_ms <= goal_ms
        print(f"  {name:24} p95 {taken_ms:8.1f} ms   {'ok' if taken_ms <= goal_ms else f'above {goal_ms:g} ms'}")
    began_at = time.perf_counter()
    tenth = days * 0.9
    purged = await store.purge(Retention(requests_days=tenth, minutes_days=tenth, hours_days=tenth))
    print(f"  deleted the oldest tenth in {time.perf_counter() - began_at:.1f} s: {purged}")
    await database.close()
    return fine


async def main() -> int:
    """Measure one or both; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default=tempfile.gettempdir())
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--postgres", metavar="URL", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as place:
        databases = [open_database("", Path(place), patient=True)]
        if arguments.postgres:
            databases.append(open_database(arguments.postgres, Path(place), patient=True))
        fine = [await measure(each, arguments.rows, arguments.days, arguments.runs) for each in databases]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
