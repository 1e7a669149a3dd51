"""What the store costs per request, in microseconds of CPU time of the gateway's process.

Run: `python bench/store_cost.py [directory]`; the directory (by default the system's temporary one) decides the disk.
Rows are those of `store_rows`, 1,000 a second, in batches as a recorder makes them. "beside a busy loop" writes while
another thread computes without a pause, as an event loop under full load does; shown is what the batch adds, and how
long a row takes until it is written. `--postgres URL` measures a PostgreSQL too, whose tables have been made, without
what the server itself does.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from keyrelay.storage.batches import Batch
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.forms import Form, Rows
from keyrelay.storage.migrating import ensure_schema
from store_rows import lines

ROWS = 20_000
BATCHES = (100, 500, 2_000)
PORTION = 64
FORM = Form(bytearray.fromhex, yes=1, no=0, nothing=-1)
RUNS = 3
FROM_S = 1_790_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default=tempfile.gettempdir())
    parser.add_argument("--postgres", metavar="URL", default="")
    arguments = parser.parse_args()
    rows = [list(lines(ROWS, from_s=FROM_S + run * 60, to_s=FROM_S + run * 60 + 20, seed=run)) for run in range(RUNS)]
    print(f"{ROWS:,} rows of {sum(map(len, rows[0])) // ROWS} bytes; CPU µs per row, best of {RUNS}")
    print(f"  lines to rows and sums, 500         {_best(lambda run: _make(rows[run])):6.2f}")
    asyncio.run(_stores(arguments.directory, arguments.postgres, rows))


def _best(work: Callable[[int], None]) -> float:
    spent = []
    for run in range(RUNS):
        began = time.process_time()
        work(run)
        spent.append((time.process_time() - began) / ROWS * 1e6)
    return min(spent)


def _make(rows: list[bytes]) -> None:
    for start in range(0, ROWS, 500):
        batch = Batch(FORM)
        for portion in range(start, start + 500, PORTION):
            batch.add(rows[portion : min(portion + PORTION, start + 500)], Rows())
        for _ in batch.sums():
            pass


async def _stores(directory: str, postgres: str, rows: list[list[bytes]]) -> None:
    for size in BATCHES:
        figures = []
        for each in rows:
            with tempfile.TemporaryDirectory(dir=directory) as place:
                database = open_database("", Path(place))
                await ensure_schema(database)
                figures.append(await _write(database, each, size))
                await database.close()
        print(f"  SQLite, batches of {size:<5}            {min(figures):6.2f}")
    with tempfile.TemporaryDirectory(dir=directory) as place:
        database = open_database("", Path(place))
        await ensure_schema(database)
        with _Busy() as busy:
            alone = await busy.rate()
            began_at = time.perf_counter()
            counted = busy.count
            cpu = time.process_time()
            await _write(database, rows[0], 500)
            wall_s, done, cpu = time.perf_counter() - began_at, busy.count - counted, time.process_time() - cpu
        added_us, wall_us = (cpu - done / alone) / ROWS * 1e6, wall_s / ROWS * 1e6
        print(f"  SQLite, beside a busy loop          {added_us:6.2f}   ({wall_us:.1f} µs until written)")
        await database.close()
    if postgres:
        database = open_database(postgres, Path(directory))
        for size in BATCHES:
            figures = [await _write(database, list(lines(ROWS, from_s=time.time(), to_s=time.time() + 20)), size)]
            print(f"  PostgreSQL, batches of {size:<5}        {min(figures):6.2f}")
        await database.close()


async def _write(database: Database, rows: list[bytes], size: int) -> float:
    await database.write(rows[:size])
    began = time.process_time()
    for start in range(size, ROWS, size):
        await database.write(rows[start : start + size])
    return (time.process_time() - began) / (ROWS - size) * 1e6


class _Busy:
    """A thread that computes without a pause, in pieces of a few microseconds, and counts them."""

    def __init__(self) -> None:
        self.count = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            sum(range(100))
            self.count += 1

    async def rate(self) -> float:
        """Pieces per second of CPU time while nothing else runs."""
        counted, began = self.count, time.process_time()
        await asyncio.sleep(0.5)
        return (self.count - counted) / (time.process_time() - began)


if __name__ == "__main__":
    main()
