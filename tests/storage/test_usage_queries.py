"""Sums as they are read, against sums over the records that were written; on both databases."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS, bucket
from keyrelay.core.records import RequestRecord
from keyrelay.core.stored_requests import came_ms
from keyrelay.core.usage_sums import Sums, SumsRow
from keyrelay.core.usage_views import (
    CALLER_GONE,
    Dimension,
    Group,
    Interval,
    Oldest,
    Span,
    UsageFilter,
    UsageQuery,
    cover,
)
from keyrelay.storage.database import Database
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.usage_queries import MOST_CELLS, UsageQueries
from tests.storage.usage_rows import CATEGORIES, CLIENTS, MODELS, PROVIDERS, a_record, keep

DAY = 1_795_219_200
COUNT = 600
SPREAD_S = 3 * 86_400


@cache
def some_records() -> list[RequestRecord]:
    chance = random.Random(4)
    return [a_record(DAY * 1000 + chance.randrange(SPREAD_S * 1000), chance) for _ in range(COUNT)]


@pytest.fixture
async def filled(database: Database) -> Database:
    await keep(database, some_records())
    return database


@pytest.fixture
def queries(filled: Database) -> UsageQueries:
    return UsageQueries(PromptReader(filled))


def value_of(record: RequestRecord, dimension: Dimension) -> str:
    value: str = getattr(record, dimension)
    return value


def summed(records: Iterable[RequestRecord]) -> Sums:
    """What `Sums` means, said once more in another way."""
    counts: Counter[str] = Counter()
    latency, first_token = [0] * (len(LATENCY_MS) + 1), [0] * (len(FIRST_TOKEN_MS) + 1)
    for record in records:
        counts["requests"] += 1
        counts["failed"] += record.category not in {"", CALLER_GONE}
        counts["cancelled"] += record.category == CALLER_GONE
        counts["cached"] += bool(record.cached)
        counts["streams"] += record.stream
        counts["attempts"] += len(record.attempts)
        counts["retried"] += len(record.attempts) > 1
        if record.usage is not None:
            counts["input_tokens"] += record.usage.input_tokens
            counts["output_tokens"] += record.usage.output_tokens
            counts["estimated"] += record.usage.estimated
            counts["unpriced"] += bool(record.cost_usd is None and record.usage.total_tokens and not record.cached)
        counts["cost_nanos"] += round((record.cost_usd or 0) * 1e9)
        latency[bucket(LATENCY_MS, record.ms)] += 1
        if record.first_token_ms is not None:
            first_token[bucket(FIRST_TOKEN_MS, record.first_token_ms)] += 1
    return Sums(**counts, latency=tuple(latency), first_token=tuple(first_token))


def expected_rows(query: UsageQuery, span: Span, records: Iterable[RequestRecord]) -> list[SumsRow]:
    groups: defaultdict[tuple[int, Group], list[RequestRecord]] = defaultdict(list)
    for record in records:
        moment_s = came_ms(record.id) // 1000
        if not span.from_s <= moment_s < span.to_s:
            continue
        if any(value_of(record, dimension) != wanted for dimension, wanted in query.fields.wanted()):
            continue
        start_s = 0 if query.interval is None else moment_s // query.interval.seconds * query.interval.seconds
        group = Group()
        if query.group_by is not None:
            provider = record.provider if query.group_by is Dimension.KEY else ""
            group = Group(value_of(record, query.group_by), provider)
        groups[start_s, group].append(record)
    rows = [SumsRow(start_s, group, summed(found)) for (start_s, group), found in groups.items()]
    return sorted(rows, key=place)


def place(row: SumsRow) -> tuple[int, str, str]:
    """Where a row stands; databases may order names in their own way."""
    return row.start_s, row.group.name or "", row.group.provider


NAMES = {
    "provider": (*PROVIDERS, ""),
    "model": (*(model for models in MODELS.values() for model in models), ""),
    "key": ("work", "main", ""),
    "client": CLIENTS,
    "category": tuple(set(CATEGORIES)),
}
FILTERS = st.builds(
    UsageFilter, **{name: st.none() | st.none() | st.sampled_from(sorted(values)) for name, values in NAMES.items()}
)
MINUTES = st.integers(-120, SPREAD_S // 60 + 120)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=MINUTES,
    length=st.integers(1, SPREAD_S // 60),
    fields=FILTERS,
    group_by=st.none() | st.sampled_from(Dimension),
    interval=st.sampled_from([None, None, Interval.DAY, Interval.HOUR, Interval.MINUTE]),
    most_cells=st.sampled_from([0, MOST_CELLS]),
)
async def test_sums_are_those_of_the_records(
    filled: Database,
    most_cells: int,
    start: int,
    length: int,
    fields: UsageFilter,
    group_by: Dimension | None,
    interval: Interval | None,
) -> None:
    queries = UsageQueries(PromptReader(filled), most_cells=most_cells)
    span = Span(DAY + 60 * start, DAY + 60 * (start + length))
    pieces = cover(span, interval or Interval.DAY)
    query = UsageQuery(pieces=pieces, fields=fields, group_by=group_by, interval=interval)
    expected = expected_rows(query, span, some_records())
    found = await queries.page(query, None, 100_000)
    assert sorted(found, key=place) == expected
    assert [row.start_s for row in found] == [row.start_s for row in expected]
    totals = summed(
        record
        for record in some_records()
        if span.from_s <= came_ms(record.id) // 1000 < span.to_s
        and all(value_of(record, dimension) == wanted for dimension, wanted in fields.wanted())
    )
    report = await queries.report(query, 3)
    assert report.totals == (totals if expected else Sums())
    if group_by is not None:
        by_group = expected_rows(UsageQuery(pieces=pieces, fields=fields, group_by=group_by), span, some_records())
        assert report.groups_total == len(by_group)
        largest = sorted(by_group, key=lambda row: -row.sums.requests)
        assert all(row in by_group for row in report.groups)
        assert [row.sums.requests for row in report.groups] == [row.sums.requests for row in largest[:3]]
        if interval is not None:
            kept = {row.group for row in report.groups}
            assert sorted(report.group_series, key=place) == [row for row in expected if row.group in kept]
    if interval is not None:
        without = UsageQuery(pieces=pieces, fields=fields, interval=interval)
        assert list(report.series) == expected_rows(without, span, some_records())


async def test_pages_are_the_whole_in_pieces(queries: UsageQueries) -> None:
    span = Span(DAY, DAY + SPREAD_S)
    query = UsageQuery(pieces=cover(span, Interval.HOUR), group_by=Dimension.KEY, interval=Interval.HOUR)
    whole = await queries.page(query, None, 100_000)
    found: list[SumsRow] = []
    while rows := await queries.page(query, found[-1] if found else None, 7):
        found += rows
    assert tuple(found) == whole
    assert len(whole) > 100


async def test_the_oldest_sums_are_told(database: Database, queries: UsageQueries) -> None:
    first_s = min(came_ms(record.id) for record in some_records()) // 1000
    assert await queries.oldest() == Oldest(
        minute_s=first_s // 60 * 60, hour_s=first_s // 3600 * 3600, day_s=first_s // 86_400 * 86_400
    )
    assert repr(queries) == f"<UsageQueries of <PromptReader of {database!r}>>"


async def test_of_an_empty_store_there_is_nothing(database: Database) -> None:
    queries = UsageQueries(PromptReader(database))
    assert await queries.oldest() == Oldest(minute_s=None, hour_s=None, day_s=None)
    pieces = cover(Span(DAY, DAY + 86_460), Interval.HOUR)
    query = UsageQuery(pieces=pieces, group_by=Dimension.CLIENT, interval=Interval.HOUR)
    report = await queries.report(query, 5)
    assert (report.totals, report.groups, report.groups_total, report.series) == (Sums(), (), 0, ())
