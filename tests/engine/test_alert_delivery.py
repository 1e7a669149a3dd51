import asyncio

import msgspec
import pytest

from keyrelay.core.alerts import Channel, ChannelSecret, Destination, Outcome, RuleName, Severity
from keyrelay.engine import alert_delivery
from keyrelay.engine.alert_delivery import MAX_UNDER_WAY
from tests.engine.alert_rig import Clock, Host, MemoryAlertStore, Receiver
from tests.notify.messages import message

LATER, NEVER = Outcome(problem="busy"), Outcome(problem="gone", lasting=True)


def host(store: MemoryAlertStore, receiver: Receiver, *channels: str) -> Host:
    return Host("a", store, receiver, Clock(), channels=channels or ("ops",))


@pytest.mark.parametrize(
    ("outcomes", "state", "attempts", "problem"),
    [
        ((), "sent", 1, ""),
        ((LATER,), "sent", 2, ""),
        ((LATER, LATER), "sent", 3, ""),
        ((LATER, LATER, LATER), "failed", 3, "busy"),
        ((NEVER,), "failed", 1, "gone"),
        ((LATER, NEVER), "failed", 2, "gone"),
    ],
)
async def test_a_delivery_ends_one_way_or_the_other(
    outcomes: tuple[Outcome, ...], state: str, attempts: int, problem: str
) -> None:
    store, receiver = MemoryAlertStore(), Receiver(*outcomes)
    at = host(store, receiver)
    at.deliveries.submit(at.deliveries.addressed(message()))
    await at.settle()
    delivery = store.records[message().id].deliveries[0]
    assert (delivery.state, delivery.attempts, delivery.problem) == (state, attempts, problem)
    assert receiver.calls == attempts


async def test_a_message_goes_to_those_that_want_it() -> None:
    at = host(MemoryAlertStore(), Receiver(), "a", "b", "c", "d")
    wishes = {
        "a": Channel(kind="slack"),
        "b": Channel(kind="slack", least=Severity.CRITICAL),
        "c": Channel(kind="slack", rules=(RuleName.STORE,)),
        "d": Channel(kind="slack", enabled=False),
    }
    at.channels = {name: Destination(channel, ChannelSecret()) for name, channel in wishes.items()}
    assert [each.channel for each in at.deliveries.addressed(message()).deliveries] == ["a"]


async def test_a_channel_that_hangs_delays_no_other() -> None:
    store, receiver = MemoryAlertStore(), Receiver()
    receiver.gate = asyncio.Event()
    at = host(store, receiver, "slow")
    for number in range(3):
        at.deliveries.submit(at.deliveries.addressed(msgspec.structs.replace(message(), id=f"req_{number:032x}")))
    await asyncio.sleep(0.01)
    assert receiver.calls == 1, "one at a time"
    receiver.gate.set()
    await at.settle()
    assert len(receiver.taken) == 3


async def test_there_are_never_more_than_so_many_under_way() -> None:
    store, receiver = MemoryAlertStore(), Receiver()
    receiver.gate = asyncio.Event()
    at = host(store, receiver, *(f"c{number}" for number in range(MAX_UNDER_WAY + 3)))
    at.deliveries.submit(at.deliveries.addressed(message()))
    assert at.deliveries.under_way == MAX_UNDER_WAY
    await at.deliveries.keep()
    states = [each.state for each in store.records[message().id].deliveries]
    assert states.count("failed") == 3
    receiver.gate.set()
    await at.settle()
    states = [each.state for each in store.records[message().id].deliveries]
    assert (states.count("sent"), states.count("failed")) == (MAX_UNDER_WAY, 3)


async def test_a_channel_that_is_gone_meanwhile_gets_nothing() -> None:
    store, receiver = MemoryAlertStore(), Receiver()
    at = host(store, receiver)
    record = at.deliveries.addressed(message())
    at.channels = {}
    at.deliveries.submit(record)
    await at.settle()
    assert store.records[message().id].deliveries[0].problem == "the channel is gone, or switched off"
    assert receiver.calls == 0
    assert (await at.deliveries.try_once("ops", message())).lasting


async def test_a_channel_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_delivery, "TRY_TIMEOUT_S", 0.01)
    store, receiver = MemoryAlertStore(), Receiver()
    receiver.gate = asyncio.Event()
    at = host(store, receiver)
    at.deliveries.submit(at.deliveries.addressed(message()))
    await at.settle()
    delivery = store.records[message().id].deliveries[0]
    assert (delivery.state, delivery.problem) == ("failed", "it did not answer in time")


async def test_what_became_of_it_is_written_down_when_the_store_is_back() -> None:
    store, receiver = MemoryAlertStore(), Receiver()
    store.away = True
    at = host(store, receiver)
    at.deliveries.submit(at.deliveries.addressed(message()))
    await at.settle()
    assert len(receiver.taken) == 1
    assert store.records == {}
    store.away = False
    await at.deliveries.keep()
    assert store.records[message().id].deliveries[0].state == "sent"


async def test_a_stop_lets_what_is_being_sent_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    store, receiver = MemoryAlertStore(), Receiver()
    receiver.gate = asyncio.Event()
    at = host(store, receiver)
    at.deliveries.submit(at.deliveries.addressed(message()))
    await asyncio.sleep(0.005)
    asyncio.get_running_loop().call_later(0.02, receiver.gate.set)
    await at.deliveries.stop()
    assert len(receiver.taken) == 1
    assert not store.records[message().id].open
