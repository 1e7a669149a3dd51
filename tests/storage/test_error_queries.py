"""Failures as they are read, against the records that were written; on both databases."""

import random
from collections import Counter
from collections.abc import Iterable
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyrelay.core.error_groups import FailureCounts, FailureFilter
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.records import RequestRecord
from keyrelay.core.stored_requests import came_ms
from keyrelay.core.usage_views import CALLER_GONE
from keyrelay.storage.database import Database
from keyrelay.storage.error_queries import REFUSED, Bounds, ErrorQueries
from keyrelay.storage.reading import PromptReader
from tests.storage.usage_rows import CLIENTS, a_record, keep

DAY = 1_795_219_200
SPREAD_S = 3 * 86_400
MESSAGES = ("Too many", "Slow down", "It is down")
ALL = FailureFilter(from_s=DAY - 10, to_s=DAY + SPREAD_S + 10)

Counted = Counter[tuple[str, ...]]


@cache
def some_records() -> list[RequestRecord]:
    chance = random.Random(4)
    records = []
    for _ in range(400):
        record = a_record(DAY * 1000 + chance.randrange(SPREAD_S * 1000), chance)
        for attempt in record.attempts:
            if attempt.failure is not None:
                kind = chance.choice((FailureKind.RATE, FailureKind.SERVICE))
                message = chance.choice(MESSAGES)
                attempt.failure = Failure(kind=kind, scope=FailureScope.KEY, message=message, status=429)
        if record.category in {"rate", "timeout"} and chance.random() < 0.5:
            record.attempts, record.upstream_ms = [], 0.0  # it was refused
        records.append(record)
    return records


@pytest.fixture
async def queries(database: Database) -> ErrorQueries:
    await keep(database, some_records())
    return ErrorQueries(PromptReader(database))


def is_wanted(record: RequestRecord, wanted: FailureFilter) -> bool:
    return wanted.from_s <= came_ms(record.id) / 1000 < wanted.to_s and wanted.client in {None, record.client}


def expected(records: Iterable[RequestRecord], wanted: FailureFilter) -> Counted:
    """How often what failed with whom, and in the last place whether the request was answered."""
    counted = Counted()
    for record in records:
        if not is_wanted(record, wanted):
            continue
        for call in record.attempts:
            failure = call.failure
            if (
                failure is not None
                and wanted.kind in {None, failure.kind}
                and wanted.provider in {None, call.provider}
                and wanted.key in {None, call.key}
                and wanted.model in {None, call.model}
            ):
                same = failure.kind, failure.message, call.provider, call.key, call.model, record.client
                counted[*same, "answered" if not record.category else ""] += 1
        bad = record.category not in {"", CALLER_GONE} and wanted.kind in {None, record.category}
        if bad and not record.attempts and not any((wanted.provider, wanted.key, wanted.model)):
            counted[record.category, REFUSED, "", "", record.model_asked, record.client, ""] += 1
    return counted


def found(counts: FailureCounts) -> Counted:
    counted = Counted()
    for row in counts.counts:
        same = row.kind, row.message, row.provider, row.key, row.model, row.client
        counted[*same, "answered"] += row.recovered
        counted[*same, ""] += row.count - row.recovered
    return +counted


MOMENTS = st.integers(-10, SPREAD_S + 10).map(lambda offset_s: float(DAY + offset_s))
FILTERS = st.builds(
    lambda first, second, **fields: FailureFilter(from_s=min(first, second), to_s=max(first, second), **fields),
    MOMENTS,
    MOMENTS,
    kind=st.sampled_from([None, None, "rate", "service", "timeout", "auth"]),
    provider=st.sampled_from([None, None, "groq", "nobody"]),
    key=st.sampled_from([None, None, "work"]),
    model=st.sampled_from([None, None, "gpt-oss"]),
    client=st.sampled_from([None, *CLIENTS, "nobody"]),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=FILTERS)
async def test_failures_are_counted_as_they_were_written(queries: ErrorQueries, wanted: FailureFilter) -> None:
    counts = await queries.failures(wanted)
    assert found(counts) == expected(some_records(), wanted)
    assert (counts.since_ms, counts.left_out) == (None, 0)


async def test_failed_calls_are_counted_by_key_whoever_answered_in_the_end(queries: ErrorQueries) -> None:
    from_s = float(DAY + 86_400)
    expected_calls = Counter(
        (call.provider, call.key)
        for record in some_records()
        for call in record.attempts
        if call.failure is not None and came_ms(record.id) >= from_s * 1000
    )
    assert await queries.failed_calls(from_s) == expected_calls
    assert await queries.failed_calls(float(DAY + 2 * SPREAD_S)) == {}


async def test_no_more_calls_are_read_for_that_than_may_be(database: Database) -> None:
    await keep(database, some_records())
    calls = [
        each for record in some_records() if len(record.attempts) > 1 or record.category for each in record.attempts
    ]
    found = await ErrorQueries(PromptReader(database), Bounds(calls=50)).failed_calls(0.0)
    assert 0 < sum(found.values()) <= 50 < sum(call.failure is not None for call in calls)


async def test_first_and_last_are_those_of_the_calls(queries: ErrorQueries) -> None:
    counts = await queries.failures(ALL)
    sent = {
        int(call.sent_s * 1000)
        for record in some_records()
        for call in record.attempts
        if call.failure is not None and call.failure.message == "Slow down"
    }
    rows = [row for row in counts.counts if row.message == "Slow down"]
    assert (min(row.first_ms for row in rows), max(row.last_ms for row in rows)) == (min(sent), max(sent))


async def test_only_the_latest_are_looked_at_and_it_is_said_since_when(database: Database) -> None:
    await keep(database, some_records())
    counts = await ErrorQueries(PromptReader(database), Bounds(failures=20, refused=5)).failures(ALL)
    failed = [row for row in counts.counts if row.provider]
    assert sum(row.count for row in failed) == 20
    newest = sorted(some_records(), key=lambda each: each.id, reverse=True)
    assert counts.since_ms is not None
    complete = [each for each in newest if came_ms(each.id) > counts.since_ms]
    everything = expected(complete, ALL)
    assert all(found(counts)[same] >= count for same, count in everything.items())
    assert complete


async def test_a_client_that_fails_all_the_time_is_looked_for_everywhere(database: Database) -> None:
    chance = random.Random(5)
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.KEY, message="Too many", status=429)
    records = []
    for minute in range(600):
        record = a_record((DAY + 60 * minute) * 1000, chance, client="busy", category="rate", status=429)
        record.attempts = record.attempts[:1]
        for call in record.attempts:
            call.failure = failure
        records.append(record)
    await keep(database, records)
    counts = await ErrorQueries(PromptReader(database)).failures(
        FailureFilter(from_s=float(DAY), to_s=float(DAY + 36_000), client="busy")
    )
    assert sum(row.count for row in counts.counts if row.provider) == sum(len(each.attempts) for each in records)
