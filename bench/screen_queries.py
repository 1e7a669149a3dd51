"""How long the screens wait: every list and chart of kept usage, on 1,000,000 requests.

Run: `python bench/screen_queries.py [--rows N] [--days N] [--runs N] [--only TEXT] [--postgres URL] [--keep]
[directory]`. The store is filled as in `store_queries.py`, or with `--keep` found as an earlier run left it. Shown are
the median and the 95th percentile of some runs, and the CPU time that this process spent on one; fails when a screen
takes longer than it may.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from keyrelay.core.error_groups import FailureFilter, grouped
from keyrelay.core.stored_requests import RequestFilter, StoredRequest
from keyrelay.core.usage_sums import totals_of
from keyrelay.core.usage_views import (
    Dimension,
    Interval,
    UsageFilter,
    UsageQuery,
    cover,
    fitting_interval,
    kept_of,
    widened,
)
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.error_queries import ErrorQueries
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.usage_queries import UsageQueries
from store_queries import DAY_S, NOW_S, fill
from store_rows import CLIENTS, MODELS, RARE_CLIENT

GOAL_MS = 300.0
PAGE_ROWS = 51
GROUPS = 20

Screen = Callable[[], Awaitable[object]]


class Taken(msgspec.Struct, frozen=True):
    """Milliseconds that a screen took."""

    name: str
    median: float
    p95: float
    cpu: float


class Chart(msgspec.Struct, frozen=True):
    """A report over the last hours; `interval` may be the one that fits."""

    hours: float
    group_by: Dimension | None = None
    interval: Interval | Literal["auto"] | None = None
    fields: UsageFilter = UsageFilter()

    async def show(self, queries: UsageQueries, days: float) -> None:
        """Do all that the view does."""
        kept = kept_of(await queries.oldest(), NOW_S - days * DAY_S, NOW_S - 400 * DAY_S)
        span = widened(NOW_S - self.hours * 3600 + 17.5, NOW_S, kept)
        interval = fitting_interval(span, kept) if self.interval == "auto" else self.interval
        pieces = cover(span, interval or Interval.DAY)
        query = UsageQuery(pieces=pieces, fields=self.fields, group_by=self.group_by, interval=interval)
        sums = await queries.report(query, GROUPS)
        msgspec.json.encode([totals_of(row.sums) for row in (*sums.series, *sums.groups, *sums.group_series)])


def charts(queries: UsageQueries, days: float) -> Iterator[tuple[str, Screen]]:
    """Reports over several ranges, by each dimension, as totals and as series."""
    for hours, name in ((1, "1 hour"), (24, "24 hours"), (24 * 7, "7 days"), (24 * days, "all days")):
        for each in (None, *Dimension):
            by = f", by {each}" if each else ""
            yield f"usage, {name}{by}", partial(Chart(hours, each).show, queries, days)
            yield f"usage, {name}{by}, series", partial(Chart(hours, each, "auto").show, queries, days)
    yield "usage, 24 hours, series of minutes", partial(Chart(24, None, Interval.MINUTE).show, queries, days)
    rare = Chart(24 * days, Dimension.MODEL, "auto", UsageFilter(client=RARE_CLIENT))
    yield "usage, all days, one client", partial(rare.show, queries, days)


def lists(queries: RequestQueries, deep: str) -> Iterator[tuple[str, Screen]]:
    """First and deep pages, without and with each filter."""
    provider, models = next(iter(MODELS.items()))
    filters = {
        "none": RequestFilter(),
        "client": RequestFilter(fields=UsageFilter(client=CLIENTS[0])),
        "small client": RequestFilter(fields=UsageFilter(client=CLIENTS[-1])),
        "rare client": RequestFilter(fields=UsageFilter(client=RARE_CLIENT)),
        "unknown client": RequestFilter(fields=UsageFilter(client="nobody")),
        "provider": RequestFilter(fields=UsageFilter(provider=provider)),
        "model": RequestFilter(fields=UsageFilter(model=models[0])),
        "key": RequestFilter(fields=UsageFilter(key=f"{provider}-1")),
        "category": RequestFilter(fields=UsageFilter(category="rate")),
        "answered": RequestFilter(fields=UsageFilter(category="")),
        "failed": RequestFilter(failed=True),
        "failed of a rare client": RequestFilter(fields=UsageFilter(client=RARE_CLIENT), failed=True),
        "failed of a client": RequestFilter(fields=UsageFilter(client=CLIENTS[0]), failed=True),
        "status 429": RequestFilter(statuses=(429, 429)),
        "status 5xx": RequestFilter(statuses=(500, 599)),
        "at least 10 s": RequestFilter(min_ms=10_000.0),
        "at least 100 s": RequestFilter(min_ms=100_000.0),
        "one day": RequestFilter(from_s=NOW_S - 4 * DAY_S, to_s=NOW_S - 3 * DAY_S),
        "all together": RequestFilter(
            fields=UsageFilter(client=CLIENTS[2], provider=provider, model=models[0]),
            failed=True,
            from_s=NOW_S - 20 * DAY_S,
            min_ms=500.0,
        ),
    }
    for name, wanted in filters.items():
        yield f"list, {name}", partial(queries.page, wanted, None, PAGE_ROWS, attempts=False)
        yield f"list, {name}, deep", partial(queries.page, wanted, deep, PAGE_ROWS, attempts=False)
    yield "list, 500 with calls", partial(queries.page, RequestFilter(), None, 501, attempts=True)
    yield "list, 500 of a rare client", partial(queries.page, filters["rare client"], None, 501, attempts=True)
    yield "one request", partial(queries.find, deep)


def errors(queries: ErrorQueries, days: float) -> Iterator[tuple[str, Screen]]:
    """What fails, over several ranges, of everybody and of clients with many and few requests."""

    async def show(wanted: FailureFilter) -> None:
        grouped((await queries.failures(wanted)).counts)

    whole = FailureFilter(from_s=NOW_S - days * DAY_S, to_s=NOW_S)
    for hours in (1, 24, 24 * 7):
        yield f"errors, {hours} hours", partial(show, FailureFilter(from_s=NOW_S - hours * 3600, to_s=NOW_S))
    yield "errors, all days", partial(show, whole)
    for name, client in (
        ("a", CLIENTS[0]),
        ("a small", CLIENTS[-1]),
        ("a rare", RARE_CLIENT),
        ("an unknown", "nobody"),
    ):
        yield f"errors, all days, {name} client", partial(show, msgspec.structs.replace(whole, client=client))
    for name, value in (("kind", "timeout"), ("provider", "groq"), ("key", "groq-1"), ("model", "nothing")):
        yield f"errors, all days, one {name}", partial(show, msgspec.structs.replace(whole, **{name: value}))


async def taken(name: str, screen: Screen, runs: int) -> Taken:
    """How long a screen takes, after one run that does not count."""
    await screen()
    times = []
    cpu_at = time.process_time()
    for _ in range(runs):
        began_at = time.perf_counter()
        await screen()
        times.append((time.perf_counter() - began_at) * 1000)
    cpu = (time.process_time() - cpu_at) * 1000 / runs
    return Taken(name, statistics.median(times), sorted(times)[max(0, -(-runs * 95 // 100) - 1)], cpu)


async def deep_in(queries: RequestQueries, days: float) -> str:
    """The id of a request in the oldest third."""
    rows: tuple[StoredRequest, ...] = await queries.page(
        RequestFilter(to_s=NOW_S - 0.7 * days * DAY_S), None, 1, attempts=False
    )
    return rows[0].request_id


async def measure(database: Database, *, rows: int, days: float, runs: int, keep: bool, only: str) -> bool:
    """Fill, measure, print; whether all goals are met."""
    if not keep:
        took_s = await fill(database, rows, days)
        print(f"{database.name}: {rows:,} rows over {days:g} days, written in {took_s:.0f} s", flush=True)
    reader = PromptReader(database)
    request_queries = RequestQueries(reader)
    deep = await deep_in(request_queries, days)
    screens = [*charts(UsageQueries(reader), days), *lists(request_queries, deep), *errors(ErrorQueries(reader), days)]
    screens = [(name, screen) for name, screen in screens if only in name]
    fine = True
    for name, screen in screens:
        found = await taken(name, screen, runs)
        fine = fine and found.p95 <= GOAL_MS
        verdict = "ok" if found.p95 <= GOAL_MS else f"above {GOAL_MS:g} ms"
        print(
            f"  {name:42} median {found.median:7.1f} ms  p95 {found.p95:7.1f} ms  CPU {found.cpu:6.1f} ms  {verdict}",
            flush=True,
        )
    await reader.close()
    await database.close()
    return fine


async def main() -> int:
    """Measure one or both; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--postgres", metavar="URL", default="")
    parser.add_argument("--only", metavar="TEXT", default="", help="Screens whose names hold this.")
    parser.add_argument("--keep", action="store_true", help="The store in the directory has been filled already.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(arguments.directory or temporary)
        databases = [open_database("", place)]
        if arguments.postgres:
            databases.append(open_database(arguments.postgres, place))
        fine = [
            await measure(
                each,
                rows=arguments.rows,
                days=arguments.days,
                runs=arguments.runs,
                keep=arguments.keep,
                only=arguments.only,
            )
            for each in databases
        ]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
