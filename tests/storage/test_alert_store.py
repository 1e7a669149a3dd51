"""One suite for both databases."""

import asyncio

import pytest

from keyrelay.core.alerts import AlertRecord, Delivery, DeliveryState
from keyrelay.core.ids import request_id
from keyrelay.ports import StoredAlerts
from keyrelay.storage.alert_store import SqlAlertStore
from keyrelay.storage.database import Database
from tests.notify.messages import NOW_S, message


@pytest.fixture
def store(database: Database) -> SqlAlertStore:
    return SqlAlertStore(database)


def record(number: int, state: DeliveryState = "waiting") -> AlertRecord:
    made = message()
    named = type(made)(
        **{name: getattr(made, name) for name in made.__struct_fields__}
        | {"id": request_id(int(NOW_S * 1000) + number, number)}
    )
    return AlertRecord(message=named, deliveries=(Delivery(channel="ops", state=state),))


async def test_what_is_known_and_its_messages_are_kept_together(store: SqlAlertStore) -> None:
    assert await store.read() == StoredAlerts(0, b"")
    assert await store.commit(0, b"one", [record(1)])
    assert await store.read() == StoredAlerts(1, b"one")
    assert not await store.commit(0, b"two", [record(2)])
    assert await store.read() == StoredAlerts(1, b"one")
    assert await store.history() == (record(1),)
    assert await store.commit(1, b"two")
    assert await store.read() == StoredAlerts(2, b"two")


async def test_of_many_at_once_one_alone_writes(store: SqlAlertStore) -> None:
    await store.commit(0, b"start")
    won = await asyncio.gather(*(store.commit(1, b"%d" % number, [record(number)]) for number in range(8)))
    assert sum(won) == 1
    assert len(await store.history()) == 1
    assert (await store.read()).generation == 2


async def test_what_was_delivered_meanwhile_is_not_waiting_again(store: SqlAlertStore) -> None:
    await store.put(record(1, "sent"))
    assert await store.commit(0, b"late", [record(1, "waiting"), record(2)])
    assert await store.history() == (record(2), record(1, "sent"))
    assert await store.waiting(10) == (record(2),)
    await store.put(record(2, "failed"))
    assert await store.waiting(10) == ()


async def test_the_newest_come_first_page_by_page_and_the_oldest_wait_first(store: SqlAlertStore) -> None:
    records = [record(number) for number in range(5)]
    await store.commit(0, b"", records)
    assert await store.history(limit=2) == (records[4], records[3])
    assert await store.history(before=records[3].message.id, limit=2) == (records[2], records[1])
    assert await store.waiting(2) == (records[0], records[1])


async def test_old_ones_and_too_many_are_deleted(store: SqlAlertStore) -> None:
    records = [record(number * 1_000) for number in range(6)]
    await store.commit(0, b"", records)
    assert await store.purge(NOW_S + 2.0, 100) == 2
    assert await store.purge(NOW_S, 3) == 1
    assert await store.history() == tuple(reversed(records[3:]))
    assert await store.purge(NOW_S, 3) == 0
