"""Events of one worker reach who listens to another one, over the questions that workers ask each other."""

import asyncio

import pytest

from keyrelay.api import event_relay as module
from keyrelay.api.event_relay import EventRelay
from keyrelay.api.siblings import Siblings
from keyrelay.api.worker_channel import Answer, Answers, AnyMessage, Ask
from keyrelay.engine.events import EVERYTHING, WISHED_S, Events, Topic
from tests.e2e.harness import until
from tests.engine.rig import FakeClock


class Supervised:
    """Two workers, and what a supervisor passes on between them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.siblings = [
            Siblings(lambda message: self.pass_on(0, message)),
            Siblings(lambda message: self.pass_on(1, message)),
        ]
        self.events = [Events(self.clock, tag) for tag in (0, 1)]
        self.relays = [EventRelay(*pair, self.clock) for pair in zip(self.events, self.siblings, strict=True)]
        self.asked: list[str] = []

    def pass_on(self, worker: int, message: AnyMessage) -> None:
        if isinstance(message, Ask):
            self.asked.append(message.name)
            self.siblings[1 - worker].receive(message)
        elif isinstance(message, Answer):
            payloads = () if message.payload is None else (message.payload,)
            self.siblings[1 - worker].receive(Answers(message.id, payloads))


async def test_who_listens_to_one_hears_of_both() -> None:
    workers = Supervised()
    here, there = workers.events
    there.publish(Topic.REQUESTS, b"0")
    listener = here.subscribe(EVERYTHING)
    await workers.relays[0].look()
    await until(lambda: there.wants(Topic.REQUESTS), "the wish has come")
    there.publish(Topic.REQUESTS, b"1", client="app")
    there.publish(Topic.REQUESTS, b"2")
    there.publish(Topic.HEALTH, b"3")  # each finds that out by itself
    here.publish(Topic.REQUESTS, b"4")
    taken = await listener.take(1.0)
    while len(taken) < 3:
        taken += await listener.take(2.0)
    assert [event.data for event in taken] == [b"4", b"1", b"2"]
    assert [(event.client, event.id[-4:]) for event in taken] == [("", "0000"), ("app", "0001"), ("", "0001")]
    assert workers.asked.count("events") == 2, "each tells of its own, many at a time"
    await workers.relays[1].stop()


async def test_wishes_are_renewed_and_nothing_is_said_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Supervised()
    await workers.relays[0].look()
    assert workers.asked == []
    listener = workers.events[0].subscribe([Topic.ALERTS])
    for _ in range(3):
        await workers.relays[0].look()
    assert workers.asked == ["event wishes"]
    monkeypatch.setattr(module, "_RENEW_S", 0.0)
    await workers.relays[0].look()
    assert workers.asked == ["event wishes"] * 2
    assert WISHED_S > 3 * module.LOOK_EVERY_S
    listener.close()
    await workers.relays[0].look()
    assert len(workers.asked) == 2


async def test_one_alone_asks_nobody() -> None:
    clock = FakeClock()
    events = Events(clock)
    relay = EventRelay(events, Siblings(), clock)
    events.subscribe(EVERYTHING)
    await relay.look()
    events.publish(Topic.REQUESTS, b"1")
    assert events.relay is None
    await relay.stop()


async def test_what_cannot_be_sent_in_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    workers = Supervised()
    here, there = workers.events
    listener = here.subscribe([Topic.REQUESTS])
    await workers.relays[0].look()
    await until(lambda: there.wants(Topic.REQUESTS), "the wish has come")
    for number in range(9):
        there.publish(Topic.REQUESTS, b"%d" % number)
    assert [event.data for event in await listener.take(2.0)] == [b"0", b"1", b"2", b"3", b"4"]
    there.publish(Topic.REQUESTS, b"9")
    await workers.relays[1].stop()
    await asyncio.sleep(0)
