import asyncio

import pytest

from keyrelay.core.alerts import Outcome
from keyrelay.core.errors import StoreError
from keyrelay.engine.alerts import PURGE_EVERY_S, ROUNDS_LED, Known, firing_of, read_known
from keyrelay.ports import StoredAlerts
from tests.engine.alert_rig import EVERY_S, Clock, Host, MemoryAlertStore, Receiver


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryAlertStore:
    return MemoryAlertStore()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def titles(receiver: Receiver) -> list[str]:
    return [message.title for message in receiver.taken]


async def test_of_several_hosts_one_alone_tells(store: MemoryAlertStore, receiver: Receiver, clock: Clock) -> None:
    hosts = [Host(name, store, receiver, clock) for name in ("a", "b", "c")]
    for host in hosts:
        host.bad = {"groq/work"}
    for _ in range(20):
        await asyncio.gather(*(host.round() for host in hosts))
        clock.now_s += EVERY_S
    assert titles(receiver) == ["Warning: Key not accepted: groq/work"]
    assert sum(host.alerts.leading for host in hosts) == 1
    assert [host.alerts.firing for host in hosts] == [1, 1, 1]
    assert sum(len(host.published) for host in hosts) == 1


async def test_another_one_takes_over_when_the_first_is_gone(
    store: MemoryAlertStore, receiver: Receiver, clock: Clock
) -> None:
    first, second = Host("a", store, receiver, clock), Host("b", store, receiver, clock)
    first.bad = second.bad = {"groq/work"}
    await first.round()
    for _ in range(ROUNDS_LED - 1):
        clock.now_s += EVERY_S
        await second.round()
        assert not second.alerts.leading
    clock.now_s += 2 * EVERY_S
    await second.round()
    assert second.alerts.leading
    await first.round()
    assert not first.alerts.leading
    assert len(receiver.taken) == 1, "what was told is not told again"


async def test_who_stops_lets_the_next_one_begin_at_once(
    store: MemoryAlertStore, receiver: Receiver, clock: Clock
) -> None:
    first, second = Host("a", store, receiver, clock), Host("b", store, receiver, clock)
    await first.round()
    await first.alerts.stop()
    second.bad = {"groq/work"}
    await second.round()
    assert second.alerts.leading
    assert len(receiver.taken) == 1
    await first.alerts.stop()
    store.away = True
    await second.alerts.stop()


async def test_what_was_written_but_not_sent_is_sent_by_the_next(store: MemoryAlertStore, clock: Clock) -> None:
    stuck, receiver = Receiver(), Receiver()
    stuck.gate = asyncio.Event()
    first = Host("a", store, stuck, clock)
    first.bad = {"groq/work"}
    await first.alerts.round()
    await asyncio.sleep(0)
    for task in list(first.deliveries._tasks):  # as if it had been killed
        task.cancel()
    second = Host("a", store, receiver, clock)
    second.bad = {"groq/work"}
    await second.round()
    assert len(receiver.taken) == 1
    assert [record.open for record in await store.history()] == [False]


async def test_that_the_store_is_away_is_told_without_it(
    store: MemoryAlertStore, receiver: Receiver, clock: Clock
) -> None:
    leader, other = Host("a", store, receiver, clock), Host("b", store, receiver, clock)
    await leader.round()
    await other.round()
    store.away = True
    leader.bad = other.bad = {"groq/work"}
    for _ in range(3):
        clock.now_s += EVERY_S
        for host in (leader, other):
            with pytest.raises(StoreError):
                await host.round()
    assert len(receiver.taken) == 1
    store.away = False
    clock.now_s += EVERY_S
    await leader.round()
    records = await store.history()
    assert [(record.message.title, record.deliveries[0].state) for record in records] == [
        ("Warning: Key not accepted: groq/work", "sent")
    ]
    assert read_known(await store.read()).book.alerts
    clock.now_s += EVERY_S
    await leader.round()
    assert len(receiver.taken) == 1


async def test_a_start_without_a_store_tells_all_the_same(
    store: MemoryAlertStore, receiver: Receiver, clock: Clock
) -> None:
    store.away = True
    host = Host("a", store, receiver, clock)
    host.bad = {"groq/work"}
    with pytest.raises(StoreError):
        await host.round()
    assert len(receiver.taken) == 1


async def test_who_comes_back_finds_another_one_leading_and_gives_way(
    store: MemoryAlertStore, receiver: Receiver, clock: Clock
) -> None:
    first, second = Host("a", store, receiver, clock), Host("b", store, receiver, clock)
    await first.round()
    store.away = True
    first.bad = {"groq/work"}
    with pytest.raises(StoreError):
        await first.round()
    store.away = False
    clock.now_s += 2 * ROUNDS_LED * EVERY_S
    await second.round()
    await first.round()
    assert (first.alerts.leading, second.alerts.leading) == (False, True)
    assert first.alerts.firing == 0


async def test_where_nothing_changes_little_is_written(
    store: MemoryAlertStore, receiver: Receiver, clock: Clock
) -> None:
    host = Host("a", store, receiver, clock)
    for _ in range(12):
        await host.round()
        clock.now_s += EVERY_S
    assert store.commits <= 6


async def test_old_messages_are_deleted(store: MemoryAlertStore, receiver: Receiver, clock: Clock) -> None:
    host = Host("a", store, receiver, clock)
    host.bad = {"groq/work"}
    await host.round()
    clock.now_s += 86_400.0 + PURGE_EVERY_S
    await host.round()
    assert [record.message.kind for record in await store.history()] == ["reminder"]


@pytest.mark.parametrize("value", [b"", b"{", b'{"book": 7}', b"\xff"])
def test_what_cannot_be_read_begins_anew(value: bytes) -> None:
    assert read_known(StoredAlerts(3, value)) == Known()
    assert firing_of(Known()) == []


async def test_a_failed_delivery_does_not_stop_a_round(store: MemoryAlertStore, clock: Clock) -> None:
    receiver = Receiver(*[Outcome(problem="no")] * 3)
    host = Host("a", store, receiver, clock)
    host.bad = {"groq/work"}
    await host.round()
    assert [record.deliveries[0].state for record in await store.history()] == ["failed"]
