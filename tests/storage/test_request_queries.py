"""Single requests as they are read, against the records that were written; on both databases."""

import random
from functools import cache, partial
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.stored_requests import RequestFilter, StoredAttempt, StoredRequest, came_ms
from keyrelay.core.usage import Usage
from keyrelay.core.usage_views import CALLER_GONE, UsageFilter
from keyrelay.storage.batches import MAX_TEXT
from keyrelay.storage.database import Database
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.retention import Retention
from keyrelay.storage.schema import ATTEMPTS, USAGE_HOURS, USAGE_MINUTES
from keyrelay.storage.usage_store import SqlUsageStore
from tests.storage.usage_rows import CATEGORIES, CLIENTS, MODELS, PROVIDERS, a_record, keep

DAY = 1_795_219_200
SPREAD_S = 4 * 86_400


@cache
def some_records() -> list[RequestRecord]:
    """The newest first."""
    chance = random.Random(9)
    moments = sorted((DAY * 1000 + chance.randrange(SPREAD_S * 1000) for _ in range(400)), reverse=True)
    return [a_record(moment_ms, chance) for moment_ms in moments]


def queries_of(database: Database) -> RequestQueries:
    return RequestQueries(PromptReader(database))


@pytest.fixture
async def queries(database: Database) -> RequestQueries:
    await keep(database, some_records())
    return queries_of(database)


def is_wanted(record: RequestRecord, wanted: RequestFilter) -> bool:
    moment_s = came_ms(record.id) / 1000
    return (
        all(getattr(record, dimension) == value for dimension, value in wanted.fields.wanted())
        and (wanted.from_s is None or moment_s >= wanted.from_s)
        and (wanted.to_s is None or moment_s < wanted.to_s)
        and (wanted.statuses is None or wanted.statuses[0] <= record.status <= wanted.statuses[1])
        and (not wanted.failed or record.category not in {"", CALLER_GONE})
        and (wanted.min_ms is None or record.ms >= wanted.min_ms)
    )


def ids(rows: tuple[StoredRequest, ...] | list[StoredRequest]) -> list[str]:
    return [row.request_id for row in rows]


def maybe(values: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.none() | st.sampled_from(sorted(values))


MODEL_NAMES = {model for models in MODELS.values() for model in models}
FIELDS = st.builds(
    UsageFilter,
    provider=maybe([*PROVIDERS, ""]),
    model=maybe([*MODEL_NAMES, "", "unknown"]),
    key=maybe(["work", "home", ""]),
    client=maybe([*CLIENTS, "nobody"]),
    category=maybe({*CATEGORIES, "auth"}),
)
MOMENTS = st.none() | st.integers(-1000, SPREAD_S * 1000 + 1000).map(lambda offset_ms: DAY + offset_ms / 1000)
FILTERS = st.builds(
    RequestFilter,
    fields=FIELDS,
    from_s=MOMENTS,
    to_s=MOMENTS,
    statuses=st.sampled_from([None, None, None, (429, 429), (400, 599), (200, 299), (100, 599), (201, 299)]),
    failed=st.booleans(),
    min_ms=st.sampled_from([None, None, 0.0, 25.0, 5_000.0, 90_000.0, 1e8]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=FILTERS, most=st.sampled_from([1, 7, 50, 1000]))
async def test_pages_hold_what_is_wanted_the_newest_first(
    queries: RequestQueries, wanted: RequestFilter, most: int
) -> None:
    expected = [record.id for record in some_records() if is_wanted(record, wanted)][: 3 * most]
    found: list[str] = []
    while len(found) < 3 * most:
        rows = await queries.page(wanted, found[-1] if found else None, most, attempts=False)
        assert len(rows) <= most
        found += ids(rows)
        if not rows:
            break
    assert found == expected


SAME = (
    "client", "operation", "model_asked", "provider", "key", "model", "status", "category", "stream", "cached", "ms",
    "upstream_ms", "waited_ms", "first_token_ms", "cost_usd", "price_version",
)  # fmt: skip
"""Fields that records and rows have alike."""


async def test_a_row_says_all_that_was_written(database: Database) -> None:
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message="Too many", status=429)
    attempts = [
        Attempt("groq", "home", "gpt-oss", ms=3.25, failure=failure, sent_s=DAY + 0.5),
        Attempt(
            "groq", "work", "gpt-oss", ms=8.5, sent_s=DAY + 0.75, requests=1, input_tokens=2, usd_micros=7, units=4
        ),
    ]
    record = a_record(DAY * 1000 + 250, random.Random(0), category="", attempts=attempts, cost_usd=0.25, ms=1500.0)
    await keep(database, [record])
    (row,) = await queries_of(database).page(RequestFilter(), None, 5, attempts=True)
    assert (row.request_id, row.time, row.ended) == (record.id, "2026-11-21T00:00:00.250Z", "2026-11-21T00:00:01.750Z")
    for name in SAME:
        assert getattr(row, name) == getattr(record, name), name
    assert record.usage is not None
    assert (row.input_tokens, row.output_tokens) == (record.usage.input_tokens, record.usage.output_tokens)
    assert (row.estimated, row.attempts) == (record.usage.estimated, 2)
    assert isinstance(row.calls, tuple)
    first, second = row.calls
    assert (first.kind, first.scope, first.status, first.message) == ("rate", "pair", 429, "Too many")
    assert (first.key, first.sent, first.ms) == ("home", "2026-11-21T00:00:00.500Z", 3.25)
    assert (second.kind, second.requests, second.input_tokens, second.usd_micros, second.units) == ("", 1, 2, 7, 4)
    assert await queries_of(database).find(record.id) == row
    assert await queries_of(database).find("req_" + "0" * 32) is None


ANSWERED = Attempt("groq", "work", "gpt-oss", ms=8.5, sent_s=DAY + 0.75, requests=1, input_tokens=20, output_tokens=5)
CALL: dict[str, Any] = {
    "provider": "groq", "key": "work", "model": "gpt-oss", "upstream_ms": 8.5, "ms": 9.0, "usage": Usage(20, 5),
    "category": "", "cached": "", "status": 200,
}  # fmt: skip
"""What a request has whose row says everything about its only call."""


CASES: list[tuple[bool, dict[str, Any], dict[str, Any]]] = [
    (False, {}, {}),
    (False, {"status": 502, "category": "caller_gone", "waited_ms": 3.0, "stream": True}, {}),
    (False, {"usage": None}, {"input_tokens": 0, "output_tokens": 0}),
    (False, {"usage": Usage(20, 5, estimated=True), "cost_usd": 0.5}, {}),
    (False, {"status": 500}, {}),
    (False, {}, {"usd_micros": 3}),
    (False, {"stream": True, "cost_usd": 0.5}, {"usd_micros": 500_000}),
    (False, {"cached": "shared"}, {}),
    (True, {}, {"failure": Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message="No", status=429)}),
    (True, {}, {"units": 3}),
    (True, {}, {"requests": 0}),
    (True, {}, {"requests": 2}),
    (True, {}, {"input_tokens": 21}),
    (True, {}, {"output_tokens": 6}),
    (True, {"usage": None}, {}),
    (True, {}, {"ms": 8.25}),
    (True, {"upstream_ms": 0.0}, {"ms": 0.0}),
    (True, {}, {"provider": "other"}),
    (True, {}, {"key": "other"}),
    (True, {}, {"model": "other"}),
    (True, {"model": "m" * (MAX_TEXT + 1)}, {"model": "m" * (MAX_TEXT + 1)}),
]
"""Whether the call has a row of its own, and how request and call differ from those that have none."""


def told_of(call: Attempt) -> StoredAttempt:
    failure = call.failure
    return StoredAttempt(
        provider=call.provider,
        key=call.key,
        model=call.model[:MAX_TEXT],
        sent="2026-11-21T00:00:00.750Z",
        ms=call.ms,
        kind=failure.kind if failure else "",
        scope=failure.scope if failure else "",
        status=failure.status if failure else 0,
        message=failure.message if failure else "",
        requests=call.requests,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        usd_micros=call.usd_micros,
        units=call.units,
    )


async def test_a_call_is_told_as_it_was_whether_it_has_a_row_or_not(database: Database) -> None:
    records = [
        a_record(
            DAY * 1000 + number,
            random.Random(number),
            attempts=[msgspec.structs.replace(ANSWERED, **call_fields)],
            **CALL | request_fields,
        )
        for number, (_, request_fields, call_fields) in enumerate(CASES)
    ]
    await keep(database, records)
    statement = sa.select(ATTEMPTS.c.request_id)
    with_row = await database.read(lambda connection: set(connection.execute(statement).scalars()))
    assert [record.id in with_row for record in records] == [has_row for has_row, _, _ in CASES]
    page = await queries_of(database).page(RequestFilter(), None, len(records), attempts=True)
    assert [row.calls for row in reversed(page)] == [tuple(map(told_of, record.attempts)) for record in records]
    for record, row in zip(records, reversed(page), strict=True):
        assert await queries_of(database).find(record.id) == row
        assert (row.status, row.category, row.cached) == (record.status, record.category, record.cached)
        assert (row.waited_ms, row.attempts, row.stream) == (record.waited_ms, 1, record.stream)
        assert row.estimated == (record.usage is not None and record.usage.estimated)


async def test_pages_neither_skip_nor_repeat_while_rows_come_in(database: Database, queries: RequestQueries) -> None:
    chance = random.Random(3)
    wanted = RequestFilter(fields=UsageFilter(client="tests"))
    there = {record.id for record in some_records() if is_wanted(record, wanted)}
    found: list[str] = []
    while rows := await queries.page(wanted, found[-1] if found else None, 10, attempts=False):
        found += ids(rows)
        below_ms = max(came_ms(found[-1]) - 60_000, DAY * 1000)
        moments = (below_ms, (DAY + SPREAD_S) * 1000) if below_ms > DAY * 1000 else ()
        await keep(database, [a_record(moment_ms, chance, client="tests") for moment_ms in moments])
    assert len(found) == len(set(found))
    assert found == sorted(found, reverse=True)
    assert there <= set(found)


def forget(connection: sa.Connection, *, table: sa.Table, before_s: int) -> None:
    connection.execute(table.delete().where(table.c.start_s < before_s))


@pytest.mark.parametrize("table", [USAGE_MINUTES, USAGE_HOURS], ids=lambda table: table.name)
async def test_what_old_sums_no_longer_tell_is_looked_through(database: Database, table: sa.Table) -> None:
    await keep(database, some_records())
    half_way_s = DAY + SPREAD_S // 2 + 1800
    gone = [USAGE_MINUTES] if table is USAGE_MINUTES else [USAGE_MINUTES, USAGE_HOURS]
    for each in gone:
        await database.change(partial(forget, table=each, before_s=half_way_s))
    wanted = RequestFilter(fields=UsageFilter(provider="gemini", key="alice"), failed=False)
    expected = [record.id for record in some_records() if is_wanted(record, wanted)]
    assert ids(list(await queries_of(database).page(wanted, None, 1000, attempts=False))) == expected


async def test_what_has_been_purged_is_gone_and_the_rest_is_there(database: Database) -> None:
    await keep(database, some_records())
    now_s = DAY + SPREAD_S + 86_400
    store = SqlUsageStore(database, lambda: now_s)
    await store.purge(Retention(requests_days=3, minutes_days=2, hours_days=2))
    wanted = RequestFilter(fields=UsageFilter(client="tests"))
    expected = [
        record.id
        for record in some_records()
        if is_wanted(record, wanted) and came_ms(record.id) >= (now_s - 3 * 86_400) * 1000
    ]
    assert ids(list(await queries_of(database).page(wanted, None, 1000, attempts=False))) == expected
    assert expected
