"""One suite for both databases."""

import asyncio
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import store_rows
from keyrelay.core.errors import StoreError
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.histograms import LATENCY_MS, percentile
from keyrelay.core.ids import request_id
from keyrelay.core.records import OF_CLIENTS, Attempt, RequestRecord
from keyrelay.core.usage import Usage
from keyrelay.storage.batches import MAX_COUNT, MAX_MESSAGE, MAX_TEXT, LineError
from keyrelay.storage.database import Database
from keyrelay.storage.postgres_database import PostgresDatabase
from keyrelay.storage.retention import Purged, Retention
from keyrelay.storage.schema import (
    ATTEMPTS,
    KEYS_SEEN,
    LATENCY_COLUMNS,
    METADATA,
    REQUESTS,
    USAGE_DAYS,
    USAGE_HOURS,
    USAGE_KEY,
    USAGE_MINUTES,
    USAGE_SUMS,
    USED_MINUTES,
    USED_QUARTERS,
    USED_SECONDS,
    USED_SUMS,
    id_floor,
)
from keyrelay.storage.sqlite_database import SqliteDatabase
from keyrelay.storage.usage_store import SeenKey, SqlUsageStore
from tests.storage.usage_rows import CALLS

NOW_S = 1_800_003_600.0
DAY_S = 86_400


@pytest.fixture
def store(database: Database) -> SqlUsageStore:
    return SqlUsageStore(database, lambda: NOW_S)


def line(record: RequestRecord) -> bytes:
    return msgspec.json.encode(record)


def some_lines(count: int, *, from_s: float = NOW_S - 600, to_s: float = NOW_S, seed: int = 0) -> list[bytes]:
    return list(store_rows.lines(count, from_s=from_s, to_s=to_s, seed=seed))


async def rows(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    statement = sa.select(table).order_by(*table.primary_key.columns)
    found = await database.read(lambda connection: connection.execute(statement).mappings().all())
    return [dict(row) for row in found]


async def calls(database: Database) -> int:
    return int(await database.read(lambda connection: connection.execute(CALLS).scalar_one()))


async def dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    return {table.name: await rows(database, table) for table in METADATA.sorted_tables}


async def test_a_request_is_kept_as_it_was_written_down(store: SqlUsageStore, database: Database) -> None:
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.ACCOUNT, message="slow down", status=429)
    record = RequestRecord(
        id=request_id(1_800_000_000_123, 77),
        time="2027-01-15T08:00:02.123Z",
        client="app",
        operation="chat",
        model_asked="fast",
        provider="gemini",
        key="g-2",
        model="gemini-2.5-flash",
        status=200,
        stream=True,
        ms=2000.5,
        upstream_ms=1900.25,
        waited_ms=50.5,
        first_token_ms=300.75,
        usage=Usage(1000, 200, estimated=True),
        cost_usd=0.000123456,
        price_version="2026-11-01",
        attempts=[
            Attempt("groq", "q-1", "llama", ms=12.5, failure=failure, sent_s=1_800_000_000.2, requests=1),
            Attempt(
                "gemini",
                "g-2",
                "gemini-2.5-flash",
                ms=1800.5,
                sent_s=1_800_000_000.25,
                requests=1,
                input_tokens=1000,
                output_tokens=200,
                usd_micros=123,
                units=7,
            ),
        ],
    )
    await store.write([line(record)])
    assert await rows(database, REQUESTS) == [
        {
            "id": record.id,
            "started_ms": 1_800_000_000_123,
            "ended_ms": 1_800_000_002_123,
            "client": "app",
            "operation": "chat",
            "model_asked": "fast",
            "provider": "gemini",
            "key": "g-2",
            "model": "gemini-2.5-flash",
            "status": 200,
            "category": "",
            "stream": True,
            "cached": "",
            "ms": 2000.5,
            "upstream_ms": 1900.25,
            "waited_ms": 50.5,
            "first_token_ms": 300.75,
            "attempts": 2,
            "input_tokens": 1000,
            "output_tokens": 200,
            "estimated": True,
            "cost_nanos": 123_456,
            "price_version": "2026-11-01",
            "sent_ms": None,
            "usd_micros": None,
        }
    ]
    first, second = await rows(database, ATTEMPTS)
    assert (first["request_id"], first["ordinal"], second["ordinal"]) == (record.id, 0, 1)
    assert (first["kind"], first["scope"], first["http_status"], first["message"]) == (
        "rate",
        "account",
        429,
        "slow down",
    )
    assert (second["kind"], second["sent_ms"], second["ms"], second["units"]) == ("", 1_800_000_000_250, 1800.5, 7)


async def test_a_request_that_ended_unseen_has_the_time_at_which_that_was_found_out(
    store: SqlUsageStore, database: Database
) -> None:
    name = request_id(1_800_000_000_000, 1)
    await store.write([line(RequestRecord(id=name, time="2027-01-15T08:05:00.500Z", category="unknown"))])
    (row,) = await rows(database, REQUESTS)
    assert (row["started_ms"], row["ended_ms"]) == (1_800_000_000_000, 1_800_000_300_500)
    assert row["cost_nanos"] is None
    assert row["first_token_ms"] is None


async def test_sums_are_those_of_the_rows(store: SqlUsageStore, database: Database) -> None:
    written = list(store_rows.records(3000, from_s=NOW_S - 3 * 3600, to_s=NOW_S + 30, seed=4))
    for start in range(0, len(written), 700):
        await store.write([line(record) for record in written[start : start + 700]])
    requests = await rows(database, REQUESTS)
    assert len(requests) == len(written)
    for table, length_s in ((USAGE_MINUTES, 60), (USAGE_HOURS, 3600), (USAGE_DAYS, DAY_S)):
        expected: dict[tuple[Any, ...], Counter[str]] = {}
        for row in requests:
            start_s = row["started_ms"] // 1000 // length_s * length_s
            key = (start_s, *(row[name] for name in USAGE_KEY[1:]))
            expected.setdefault(key, Counter()).update(sums_of_row(row))
        found = {tuple(row[name] for name in USAGE_KEY): row for row in await rows(database, table)}
        assert found.keys() == expected.keys()
        for key, sums in expected.items():
            assert {name: found[key][name] for name in USAGE_SUMS} == {name: sums[name] for name in USAGE_SUMS}
    counts = [sum(row[column] for row in await rows(database, USAGE_DAYS)) for column in LATENCY_COLUMNS]
    ordered = sorted(row["ms"] for row in requests)
    for percent in (50, 90, 99):
        exact = ordered[int(len(ordered) * percent / 100) - 1]
        assert percentile(LATENCY_MS, counts, percent) == pytest.approx(exact, rel=0.12)


def sums_of_row(row: dict[str, Any]) -> dict[str, int]:
    tokens = row["input_tokens"] + row["output_tokens"]
    return {
        "requests": 1,
        "failed": bool(row["category"]),
        "cached": bool(row["cached"]),
        "estimated": row["estimated"],
        "unpriced": bool(tokens) and row["cost_nanos"] is None,
        "streams": row["stream"],
        "attempts": row["attempts"],
        "retried": row["attempts"] > 1,
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cost_nanos": row["cost_nanos"] or 0,
        "ms_sum": int(row["ms"]),
        "first_token_ms_sum": int(row["first_token_ms"] or 0),
        "first_tokens": row["first_token_ms"] is not None,
    }


async def test_what_was_used_is_the_sum_of_what_calls_used(store: SqlUsageStore, database: Database) -> None:
    written = list(store_rows.records(2000, from_s=NOW_S - 60, to_s=NOW_S, seed=5))
    for start in range(0, len(written), 900):
        await store.write([line(record) for record in written[start : start + 900]])
    expected: dict[tuple[str, ...], list[float]] = {}
    for call in (call for record in written for call in record.attempts):
        sums = expected.setdefault((call.provider, call.key, call.model), [0.0] * (1 + len(USED_SUMS)))
        sums[0] = max(sums[0], (int(call.sent_s * 1000) + int(call.ms) + 1) / 1000)
        for place, name in enumerate(USED_SUMS, 1):
            sums[place] += getattr(call, name)
    found = {
        (used.provider, used.key, used.model): list(msgspec.structs.astuple(used)[3:])
        for used in await store.used_ever()
    }
    assert found == expected
    for table in (USED_SECONDS, USED_MINUTES, USED_QUARTERS):
        for name in USED_SUMS:
            assert sum(row[name] for row in await rows(database, table)) == sum(
                getattr(call, name) for record in written for call in record.attempts
            )


async def test_writing_again_changes_nothing(store: SqlUsageStore, database: Database) -> None:
    lines = some_lines(300)
    await store.write(lines)
    before = await dump(database)
    await store.write(lines)
    await store.write(lines[100:200] + lines[:50])
    assert await dump(database) == before


async def test_old_and_new_rows_may_come_together_and_twice(store: SqlUsageStore, database: Database) -> None:
    lines = some_lines(300)
    await store.write(lines[:120])
    mixed = lines[60:] + lines[200:]
    random.Random(1).shuffle(mixed)
    await store.write(mixed)
    assert sum(row["requests"] for row in await rows(database, USAGE_DAYS)) == 300
    once = await dump(database)
    assert len(once["requests"]) == 300
    plain = sum(row["sent_ms"] is not None for row in once["requests"])
    assert plain > 30
    assert len(once["attempts"]) == sum(row["attempts"] for row in once["requests"]) - plain
    assert sum(row["requests"] for row in once["used_totals"]) == await calls(database)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b'{"event":"message"}',
        b'{"event":"request","request_id":"req_1"}',
        b'{"event":"request","request_id":"req_%s"}' % (b"x" * 32),
        line(RequestRecord(id=request_id(1, 1), time="yesterday")),
    ],
)
async def test_a_line_that_is_no_request_is_named_and_nothing_is_written(
    store: SqlUsageStore, database: Database, bad: bytes
) -> None:
    lines = some_lines(200)
    with pytest.raises(LineError) as caught:
        await store.write([*lines[:130], bad, *lines[130:]])
    assert (caught.value.place, caught.value.lasting) == (130, True)
    assert all(not found for found in (await dump(database)).values())
    await store.write(lines)
    assert len(await rows(database, REQUESTS)) == 200


async def test_a_number_that_no_column_holds_is_a_line_to_look_for(store: SqlUsageStore, database: Database) -> None:
    with pytest.raises(LineError) as caught:
        await store.write([*some_lines(3), line(RequestRecord(id=request_id(1, 1), status=2**70 % 10**19 + 2**63))])
    assert caught.value.lasting
    assert caught.value.place is None
    assert await rows(database, REQUESTS) == []


async def test_what_strangers_wrote_is_bounded(store: SqlUsageStore, database: Database) -> None:
    failure = Failure(kind=FailureKind.SERVICE, scope=FailureScope.PROVIDER, message="no\0 " * 900, status=500)
    record = RequestRecord(
        id=request_id(int(NOW_S * 1000), 5),
        model_asked="m\0" * 400,
        model="x" * 1000,
        usage=Usage(10**30, -5),
        cost_usd=1e300,
        attempts=[Attempt("p", "k", "x" * 1000, failure=failure, requests=1, input_tokens=10**30)],
    )
    for number in range(3):
        await store.write([line(msgspec.structs.replace(record, id=request_id(int(NOW_S * 1000), number)))])
    row = (await rows(database, REQUESTS))[0]
    assert row["model_asked"] == "m\ufffd" * (MAX_TEXT // 2)
    assert len(row["model"]) == MAX_TEXT
    assert (row["input_tokens"], row["output_tokens"], row["cost_nanos"]) == (MAX_COUNT, 0, MAX_COUNT)
    attempt = (await rows(database, ATTEMPTS))[0]
    assert len(attempt["message"]) == MAX_MESSAGE
    assert attempt["message"].startswith("no\ufffd no")
    assert attempt["input_tokens"] == MAX_COUNT
    assert (await rows(database, USAGE_DAYS))[0]["input_tokens"] == 3 * MAX_COUNT


async def test_ids_sort_by_time_in_the_database(store: SqlUsageStore, database: Database) -> None:
    lines = some_lines(100)
    random.Random(2).shuffle(lines)
    await store.write(lines)
    middle = id_floor(int((NOW_S - 300) * 1000))
    newest_first = sa.select(REQUESTS.c.id).where(REQUESTS.c.id < middle).order_by(REQUESTS.c.id.desc())
    found = await database.read(lambda connection: connection.execute(newest_first).scalars().all())
    assert len(found) == 50
    assert list(found) == sorted(found, reverse=True)
    assert all(name < middle for name in found)


async def test_what_was_used_is_told_the_more_exactly_the_newer_it_is(store: SqlUsageStore) -> None:
    calls = [
        (-95_300.0, 50),
        (-94_600.0, 50),
        (-7480.5, 300),
        (-7465.75, 200),
        (-3600.0, 400),
        (-3599.5, 100),
        (-2.5, 0),
    ]
    records = [
        RequestRecord(
            id=request_id(int((NOW_S + at_s) * 1000), number),
            ms=ms,
            attempts=[
                Attempt("p", "k", "m", ms=ms, sent_s=NOW_S + at_s, requests=1, input_tokens=10, usd_micros=3, units=2)
            ],
        )
        for number, (at_s, ms) in enumerate(calls)
    ]
    await store.write([line(record) for record in records])
    told = await store.used_since(0)
    two, one = (2, 20, 0, 6, 4), (1, 10, 0, 3, 2)
    assert [round(used.at_s - NOW_S, 3) for used in told] == [-94_599.949, -7465.549, -3599.399, -1.5]
    assert [msgspec.structs.astuple(used)[4:] for used in told] == [two, two, two, one]
    assert [used.requests for used in await store.used_since(NOW_S - 3000)] == [1]
    assert [used.requests for used in await store.used_since(NOW_S - 7450)] == [2, 2, 1]
    (ever,) = await store.used_ever()
    assert (ever.provider, ever.key, ever.model, round(ever.at_s - NOW_S, 3)) == ("p", "k", "m", -1.5)
    assert (ever.requests, ever.input_tokens, ever.usd_micros, ever.units) == (7, 70, 21, 14)


async def test_an_attempt_that_used_nothing_is_not_told(store: SqlUsageStore) -> None:
    attempt = Attempt("p", "k", "m", ms=5, sent_s=NOW_S)
    await store.write([line(RequestRecord(id=request_id(int(NOW_S * 1000), 1), attempts=[attempt]))])
    assert await store.used_since(0) == []
    assert await store.used_ever() == []


async def test_what_clients_are_charged_with_is_told_apart_from_what_keys_used(store: SqlUsageStore) -> None:
    def charged(number: int, client: str, *amounts: int) -> bytes:
        moment_ms = int((NOW_S - 100) * 1000) + number
        attempt = Attempt("groq", "work", "small", ms=5.0, sent_s=NOW_S - 100, requests=1, input_tokens=9)
        return line(
            RequestRecord(
                id=request_id(moment_ms, number),
                client=client,
                ms=2_000.0,
                charged=amounts or None,  # type: ignore[arg-type]
                attempts=[attempt],
            )
        )

    await store.write([charged(1, "app", 1, 3, 2, 50), charged(2, "app", 1, 30, 20, 500), charged(3, "free")])
    await store.write([charged(1, "app", 1, 3, 2, 50), charged(4, "other", 0, 0, 0, 0), charged(5, "app", 1, 1, 1, 1)])
    told = [each for each in await store.used_since(NOW_S - 600) if each.provider == OF_CLIENTS]
    assert [
        (each.key, each.model, each.requests, each.input_tokens, each.output_tokens, each.usd_micros) for each in told
    ] == [("app", "", 3, 34, 23, 551)]
    assert told[0].at_s == pytest.approx(NOW_S - 98, abs=0.1)
    ever = {each.key: each.usd_micros for each in await store.used_ever() if each.provider == OF_CLIENTS}
    assert ever == {"app": 551}
    assert sum(each.requests for each in await store.used_since(NOW_S - 600) if each.provider == "groq") == 5


async def test_keys_are_remembered_with_when_they_were_seen(database: Database) -> None:
    times = iter((100.0, 200.0, 300.0))
    store = SqlUsageStore(database, lambda: next(times))
    first, second = SeenKey("groq", "a", "1234"), SeenKey("groq", "b", "5678")
    await store.note_keys([second, first, first])
    await store.note_keys([second])
    await store.note_keys([])
    found = [(row["label"], row["first_seen_s"], row["last_seen_s"]) for row in await rows(database, KEYS_SEEN)]
    assert found == [("a", 100, 100), ("b", 100, 200)]


async def test_a_state_is_written_whole(store: SqlUsageStore) -> None:
    assert await store.read_state("learned") is None
    for value in (b"\x00\xff" * 1000, b"", b"short"):
        await store.write_state("learned", value)
        assert await store.read_state("learned") == value
    assert await store.read_state("other") is None


async def test_sixteen_writers_neither_lose_nor_double_nor_deadlock(
    database: Database, request: pytest.FixtureRequest
) -> None:
    lines = some_lines(2400, from_s=NOW_S - 60)
    others = [other for _ in range(16) for other in [same_as(database, request)]]
    chance = random.Random(3)

    async def write(other: Database) -> None:
        portions = [lines[start : start + 100] for start in range(0, len(lines), 100)]
        chance.shuffle(portions)
        for portion in portions[:12]:
            chance.shuffle(portion)
            await SqlUsageStore(other, lambda: NOW_S).write(portion)

    await asyncio.gather(*map(write, others))
    await SqlUsageStore(database, lambda: NOW_S).write(lines)
    for other in others:
        await other.close()
    once = await dump(database)
    assert len(once["requests"]) == 2400
    for table in ("usage_minutes", "usage_hours", "usage_days"):
        assert sum(row["requests"] for row in once[table]) == 2400
    for table in ("used_seconds", "used_minutes", "used_quarters", "used_totals"):
        assert sum(row["requests"] for row in once[table]) == await calls(database)


def same_as(database: Database, request: pytest.FixtureRequest) -> Database:
    if database.file is not None:
        return SqliteDatabase(database.file)
    return PostgresDatabase(request.getfixturevalue("postgres_url"))


async def test_what_has_been_kept_long_enough_is_deleted_oldest_first(store: SqlUsageStore, database: Database) -> None:
    await store.write(some_lines(4500, from_s=NOW_S - 20 * DAY_S, to_s=NOW_S - 10 * DAY_S))
    await store.write(some_lines(500, from_s=NOW_S - DAY_S, to_s=NOW_S, seed=1))
    days_before = await rows(database, USAGE_DAYS)
    ever = await store.used_ever()
    retention = Retention(requests_days=5, minutes_days=0.5, hours_days=15)
    purged = await store.purge(retention)
    assert purged.requests == 4500
    assert purged.minutes > 4000
    assert purged.hours > 400
    left = await rows(database, REQUESTS)
    assert len(left) == 500
    assert {row["request_id"] for row in await rows(database, ATTEMPTS)} <= {row["id"] for row in left}
    assert min(row["start_s"] for row in await rows(database, USAGE_MINUTES)) >= NOW_S - 0.5 * DAY_S
    assert min(row["start_s"] for row in await rows(database, USAGE_HOURS)) >= NOW_S - 15 * DAY_S
    assert min(row["start_s"] for row in await rows(database, USED_SECONDS)) >= NOW_S - 3 * 3600
    assert min(row["start_s"] for row in await rows(database, USED_MINUTES)) >= NOW_S - 27 * 3600
    assert sum(row["requests"] for row in await rows(database, USED_QUARTERS)) == sum(used.requests for used in ever)
    assert await rows(database, USAGE_DAYS) == days_before
    assert await store.used_ever() == ever
    assert await store.purge(retention) == Purged()


async def test_two_who_delete_at_once_do_not_hinder_each_other(store: SqlUsageStore, database: Database) -> None:
    await store.write(some_lines(3000, from_s=NOW_S - 20 * DAY_S, to_s=NOW_S - 10 * DAY_S))
    retention = Retention(requests_days=5, minutes_days=5, hours_days=5)
    done = await asyncio.gather(*(store.purge(retention) for _ in range(3)))
    await store.purge(retention)
    assert await rows(database, REQUESTS) == []
    assert sum(purged.requests for purged in done) <= 3000


async def test_a_change_that_fails_leaves_nothing(database: Database) -> None:
    def change(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO states VALUES ('a', '', 1)"))
        raise StoreError("no further")

    with pytest.raises(StoreError, match="no further"):
        await database.change(change)
    assert await database.read(lambda connection: connection.execute(sa.text("SELECT * FROM states")).all()) == []


async def test_it_says_where_it_is_and_nothing_secret(database: Database) -> None:
    assert repr(database) == f"<{type(database).__name__} {database.place}>"
    assert "keyrelay@" not in repr(database)
    assert repr(SqlUsageStore(database, lambda: 0.0)) == f"<SqlUsageStore of {database!r}>"
