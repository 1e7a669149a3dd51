"""Who hears what, in which order, and what becomes of those who do not keep up."""

import asyncio

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.engine.events import (
    EVERYTHING,
    GRACE_S,
    MAX_KEPT,
    MAX_LISTENERS,
    MAX_QUEUED,
    WISHED_S,
    Event,
    Events,
    Topic,
)
from tests.engine.rig import FakeClock

REQUESTS, HEALTH = Topic.REQUESTS, Topic.HEALTH


class Moved(FakeClock):
    """A clock whose both readings a test moves on."""

    def monotonic_s(self) -> float:
        return 1000.0 + self.moved_s


def events_and_clock() -> tuple[Events, Moved]:
    clock = Moved()
    return Events(clock, tag=3), clock


def told(events: list[Event]) -> list[bytes]:
    return [event.data for event in events]


async def test_each_hears_its_topics_and_a_client_its_own() -> None:
    events, _ = events_and_clock()
    everything = events.subscribe(EVERYTHING)
    health = events.subscribe([HEALTH])
    own = events.subscribe([REQUESTS], client="app")
    events.publish(REQUESTS, b"1", client="app")
    events.publish(REQUESTS, b"2", client="other")
    events.publish(HEALTH, b"3")
    assert told(await everything.take(0.1)) == [b"1", b"2", b"3"]
    assert told(await health.take(0.1)) == [b"3"]
    assert told(await own.take(0.1)) == [b"1"]
    assert await own.take(0.01) == []


async def test_a_listener_wakes_when_something_happens_and_when_it_ends() -> None:
    events, _ = events_and_clock()
    listener = events.subscribe([HEALTH])
    asyncio.get_running_loop().call_later(0.02, events.publish, HEALTH, b"1")
    assert told(await listener.take(5.0)) == [b"1"]
    asyncio.get_running_loop().call_later(0.02, events.close)
    assert await listener.take(5.0) == []
    assert listener.closed
    assert await listener.take(5.0) == []
    listener.close()


async def test_who_does_not_keep_up_loses_the_oldest_and_is_told_how_many() -> None:
    events, _ = events_and_clock()
    listener = events.subscribe([REQUESTS])
    for number in range(MAX_QUEUED + 7):
        events.publish(REQUESTS, b"%d" % number)
    taken = await listener.take(0.1)
    assert (len(taken), taken[0].data, listener.taken_lost(), listener.taken_lost()) == (MAX_QUEUED, b"7", 7, 0)


async def test_who_comes_back_gets_what_it_has_missed() -> None:
    events, _ = events_and_clock()
    first = events.subscribe([REQUESTS, HEALTH])
    for number in range(5):
        events.publish(REQUESTS if number % 2 else HEALTH, b"%d" % number)
    seen = await first.take(0.1)
    first.close()
    again = events.subscribe([REQUESTS], after=seen[0].id)
    assert (told(await again.take(0.1)), again.taken_lost()) == ([b"1", b"3"], 0)
    nothing = events.subscribe([REQUESTS], after=seen[-1].id)
    assert (await nothing.take(0.01), nothing.taken_lost()) == ([], 0)
    stranger = events.subscribe([HEALTH], after="0" * 22)
    assert (told(await stranger.take(0.1)), stranger.taken_lost()) == ([b"0", b"2", b"4"], None)
    ids = [event.id for event in seen]
    assert ids == sorted(set(ids))
    assert all(each.endswith("0003") for each in ids)


async def test_what_has_been_kept_for_too_long_is_gone() -> None:
    events, _ = events_and_clock()
    listener = events.subscribe([HEALTH])
    events.publish(HEALTH, b"first")
    (first,) = await listener.take(0.1)
    for number in range(MAX_KEPT):
        events.publish(HEALTH, b"%d" % number)
    late = events.subscribe([HEALTH], after=first.id)
    assert len(await late.take(0.1)) == MAX_QUEUED
    assert late.taken_lost() is None


async def test_nothing_is_wanted_that_nobody_listens_to() -> None:
    events, clock = events_and_clock()
    assert not any(map(events.wants, Topic))
    listener, other = events.subscribe([HEALTH]), events.subscribe([HEALTH, REQUESTS])
    assert [topic for topic in Topic if events.wants(topic)] == [REQUESTS, HEALTH]
    listener.close()
    other.close()
    assert events.listened() == frozenset()
    clock.moved_s = GRACE_S - 1
    assert events.wants(HEALTH)
    clock.moved_s = GRACE_S
    assert not events.wants(HEALTH)
    assert not events.wants(HEALTH)


async def test_another_worker_gets_what_it_wishes_for() -> None:
    events, clock = events_and_clock()
    relayed: list[Event] = []
    events.relay = relayed.append
    events.publish(REQUESTS, b"1")
    events.wish([REQUESTS, HEALTH])
    assert events.wants(REQUESTS)
    events.publish(REQUESTS, b"2")
    events.publish(HEALTH, b"3")
    clock.moved_s = WISHED_S
    assert not events.wants(REQUESTS)
    events.publish(REQUESTS, b"4")
    assert told(relayed) == [b"2"]


async def test_there_is_an_end_to_listeners() -> None:
    events, _ = events_and_clock()
    listeners = [events.subscribe([HEALTH]) for _ in range(MAX_LISTENERS)]
    with pytest.raises(CallerError) as refused:
        events.subscribe([HEALTH])
    assert (refused.value.status, refused.value.code) == (503, "too_many_listeners")
    listeners[0].close()
    events.subscribe([HEALTH])
