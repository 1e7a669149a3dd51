"""One suite for both databases: sealed texts of requests."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from keyrelay.core.ids import request_id
from keyrelay.ports import SealedTexts
from keyrelay.storage.database import Database
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.retention import TEXTS_AT_A_TIME, Purged, Retention, purge
from keyrelay.storage.schema import REQUESTS, TEXTS
from keyrelay.storage.text_store import SqlTextStore
from keyrelay.storage.usage_store import SqlUsageStore
from tests.storage.usage_rows import a_record, keep

NOW_S = 1_800_003_600.0
DAY_S = 86_400
KEPT = Retention(requests_days=90, minutes_days=14, hours_days=400, texts_days=7)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlTextStore]:
    reader = PromptReader(database)
    yield SqlTextStore(database, reader)
    await reader.close()


def row(number: int = 1, *, days_ago: float = 0, size: int = 40) -> SealedTexts:
    identity = request_id(int((NOW_S - days_ago * DAY_S) * 1000), number)
    data = bytes(range(256)) * (size // 256 + 1)
    return SealedTexts(request_id=identity, request=data[:size], answer=data[:size][::-1])


async def count(database: Database, table: sa.Table = TEXTS) -> int:
    statement = sa.select(sa.func.count()).select_from(table)
    return int(await database.read(lambda connection: connection.execute(statement).scalar_one()))


async def test_texts_come_back_as_they_were_written(store: SqlTextStore) -> None:
    rows = [
        row(1),
        row(2, size=1_000_000),
        SealedTexts(request_id=row(3).request_id, request=b"\x00", answer=None),
        SealedTexts(request_id=row(4).request_id, request=None, answer=b""),
    ]
    await store.write_texts(rows)
    await store.write_texts([])
    assert [await store.read_texts(each.request_id) for each in rows] == rows
    assert await store.read_texts(row(5).request_id) is None
    assert repr(store).startswith("<SqlTextStore in <")


async def test_a_row_that_is_there_stays_as_it_is(store: SqlTextStore, database: Database) -> None:
    await store.write_texts([row(1)])
    other = SealedTexts(request_id=row(1).request_id, request=b"other", answer=b"other")
    await store.write_texts([other, row(2)])
    assert await store.read_texts(row(1).request_id) == row(1)
    assert await count(database) == 2


async def test_many_are_written_in_one_go(store: SqlTextStore, database: Database) -> None:
    await store.write_texts([row(number, size=2_000) for number in range(300)])
    assert await count(database) == 300


async def test_texts_are_deleted_by_their_own_days_and_a_little_at_a_time(
    store: SqlTextStore, database: Database
) -> None:
    old, new = 2 * TEXTS_AT_A_TIME + 5, 3
    await store.write_texts([row(number, days_ago=7.01) for number in range(old)])
    await store.write_texts([row(number, days_ago=6.99) for number in range(new)])
    assert await purge(database, KEPT, NOW_S) == Purged(texts=old)
    assert await count(database) == new
    assert await purge(database, KEPT, NOW_S) == Purged()


async def test_no_text_outlives_its_request(store: SqlTextStore, database: Database) -> None:
    records = [a_record(int((NOW_S - days * DAY_S) * 1000), random.Random(days)) for days in (5, 1)]
    await keep(database, records)
    await store.write_texts([SealedTexts(request_id=each.id, request=b"sealed", answer=None) for each in records])
    retention = Retention(requests_days=3, minutes_days=14, hours_days=400, texts_days=7)
    purged = await SqlUsageStore(database, lambda: NOW_S).purge(retention)
    assert (purged.texts, purged.requests) == (1, 1)
    assert (await count(database), await count(database, REQUESTS)) == (1, 1)


async def test_without_days_of_their_own_texts_stay_as_long_as_requests(
    store: SqlTextStore, database: Database
) -> None:
    await store.write_texts([row(1, days_ago=89), row(2, days_ago=91)])
    assert (await purge(database, Retention(requests_days=90, minutes_days=1, hours_days=1), NOW_S)).texts == 1


async def test_two_who_write_the_same_at_once_do_not_hinder_each_other(store: SqlTextStore, database: Database) -> None:
    rows = [row(number) for number in range(50)]
    await asyncio.gather(store.write_texts(rows), store.write_texts(rows[::-1]), store.write_texts(rows[:20]))
    assert await count(database) == 50
