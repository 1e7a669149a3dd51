"""Workers of several hosts ask and tell each other over an exchange, here one that is a list of ends in memory."""

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest

from keyrelay.api import hosts as module
from keyrelay.api.event_relay import MAX_ELSEWHERE, EventRelay
from keyrelay.api.hosts import Hosts
from keyrelay.api.siblings import Siblings
from keyrelay.engine.events import EVERYTHING, Events, Topic
from tests.e2e.harness import until
from tests.engine.rig import FakeClock


class End:
    """One end of an exchange: a message reaches the others in the next turn of the event loop."""

    def __init__(self, ends: list["End"]) -> None:
        self.address = f"end{len(ends)}"
        self.joined = True
        self.problem = ""
        self.sent: list[bytes] = []
        self.most_bytes = 10_000
        self._ends = ends
        self._receive: Callable[[str, bytes], None] | None = None
        self._changed: Callable[[str], None] | None = None
        self.hello = b""
        ends.append(self)

    def start(self, hello: bytes, receive: Callable[[str, bytes], None], changed: Callable[[str], None]) -> None:
        self.hello, self._receive, self._changed = hello, receive, changed
        self.send(hello)

    def send(self, message: bytes, to: str = "") -> bool:
        if not self.joined or len(message) > self.most_bytes:
            return False
        self.sent.append(message)
        for end in self._ends:
            if end is not self and end.joined and end._receive is not None and to in {"", end.address}:
                asyncio.get_running_loop().call_soon(end._receive, self.address, message)
        return True

    def change(self, problem: str) -> None:
        self.joined, self.problem = not problem, problem
        assert self._changed is not None
        self._changed(problem)
        if not problem:
            self.send(self.hello)

    async def aclose(self, last_word: bytes = b"") -> None:
        self.send(last_word)


class Net:
    """Workers of the instances that are named, and what each of them answers: its own number."""

    def __init__(self, *instances: str) -> None:
        self.ends: list[End] = []
        self.hosts = [Hosts(End(self.ends), name) for name in instances]
        self.siblings = [Siblings() for _ in instances]
        for number, (siblings, hosts) in enumerate(zip(self.siblings, self.hosts, strict=True)):
            siblings.reach(hosts)
            siblings.answer("who", self.answering(number))
            hosts.start()

    def answering(self, number: int) -> Callable[[bytes], "asyncio.Future[bytes | None]"]:
        async def answer(payload: bytes) -> bytes | None:
            return None if payload == b"%d" % number else b"%d" % number

        return lambda payload: asyncio.ensure_future(answer(payload))

    async def known(self) -> None:
        await until(lambda: all(len(hosts._peers) == len(self.ends) - 1 for hosts in self.hosts), "all know all")


async def asked(siblings: Siblings, payload: bytes = b"", name: str = "who") -> list[bytes]:
    return sorted(await siblings.ask(name, payload))


async def test_all_workers_of_other_instances_are_asked_and_answer_at_once() -> None:
    net = Net("a", "b", "b", "c")
    await net.known()
    began_at = time.monotonic()
    assert await asked(net.siblings[0]) == [b"1", b"2", b"3"]
    assert await asked(net.siblings[0], b"2") == [b"1", b"3"]
    assert await asked(net.siblings[1]) == [b"0", b"3"], "those of one instance ask each other over their supervisor"
    assert await asked(net.siblings[0], name="nobody knows") == []
    assert time.monotonic() - began_at < module.ASK_TIMEOUT_S / 2
    await net.hosts[3].stop()
    await until(lambda: net.hosts[0].others() == ["end1", "end2"], "it has left")
    assert await asked(net.siblings[0]) == [b"1", b"2"]


async def test_who_hangs_or_is_gone_delays_for_a_moment_and_is_then_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net("a", "b", "c")
    await net.known()
    net.ends[2]._receive = None
    began_at = time.monotonic()
    assert await asked(net.siblings[0]) == [b"1"]
    assert module.ASK_TIMEOUT_S <= time.monotonic() - began_at < module.ASK_TIMEOUT_S + 0.2
    monkeypatch.setattr(module, "GONE_AFTER_S", 0.05)
    await asyncio.sleep(0.06)
    net.ends[1].send(net.ends[1].hello)
    await asyncio.sleep(0)
    began_at = time.monotonic()
    assert await asked(net.siblings[0]) == [b"1"]
    assert time.monotonic() - began_at < 0.05


async def test_while_others_cannot_be_reached_nobody_waits_and_who_asked_is_let_go() -> None:
    net = Net("a", "b")
    await net.known()
    net.ends[1]._receive = None
    changes: list[str] = []
    net.siblings[0].watch_hosts(changes.append)
    asking = asyncio.ensure_future(asked(net.siblings[0]))
    await asyncio.sleep(0)
    began_at = time.monotonic()
    net.ends[0].change("Redis is away")
    assert await asking == []
    assert await asked(net.siblings[0]) == []
    await net.siblings[0].tell("who", b"")
    assert time.monotonic() - began_at < 0.05
    assert (changes, net.hosts[0].problem) == (["Redis is away"], "Redis is away")


async def test_an_answer_that_is_too_long_and_one_that_cannot_be_understood_are_none() -> None:
    net = Net("a", "b")
    await net.known()

    async def long(payload: bytes) -> bytes:
        return payload * 20_000

    async def broken(payload: bytes) -> bytes:
        return msgspec.msgpack.decode(payload, type=bytes)

    net.siblings[1].answer("long", long)
    net.siblings[1].answer("broken", broken)
    began_at = time.monotonic()
    assert await asked(net.siblings[0], b"x", "long") == []
    assert await asked(net.siblings[0], b"\xc1", "broken") == []
    net.ends[1]._receive("end0", b"\xc1 no message")  # type: ignore[misc]
    assert time.monotonic() - began_at < module.ASK_TIMEOUT_S / 2


class Listening(Net):
    """Hosts whose events are joined."""

    def __init__(self, *instances: str) -> None:
        super().__init__(*instances)
        self.clock = FakeClock()
        self.events = [Events(self.clock, number) for number in range(len(instances))]
        self.relays = [EventRelay(*pair, self.clock) for pair in zip(self.events, self.siblings, strict=True)]

    async def listened(self) -> None:
        """The first one's wishes have reached the second one."""
        await self.relays[0].look()
        await until(lambda: self.events[1].wants(Topic.REQUESTS), "the wish has come")


async def test_who_listens_at_one_host_hears_of_the_other_and_may_come_back_to_any() -> None:
    net = Listening("a", "b", "c")
    await net.known()
    here, there, third = net.events
    listener = here.subscribe(EVERYTHING)
    await net.listened()
    there.publish(Topic.REQUESTS, b"1", client="app")
    there.publish(Topic.HEALTH, b"2")  # each finds that out by itself
    third.publish(Topic.ALERTS, b"3")
    events = await listener.take(1.0)
    while len(events) < 2:
        events += await listener.take(1.0)
    assert sorted((event.data, event.client) for event in events) == [(b"1", "app"), (b"3", "")]
    assert listener.lost == 0
    listener.close()
    there.publish(Topic.REQUESTS, b"4")
    await until(lambda: any(event.data == b"4" for event in third._kept), "all keep it for a while")
    again = third.subscribe(EVERYTHING, after=min(event.id for event in events))
    assert b"4" in [event.data for event in await again.take(1.0)]
    assert again.lost == 0
    for relay in net.relays:
        await relay.stop()


async def test_what_did_not_come_is_said() -> None:
    net = Listening("a", "b")
    await net.known()
    listener = net.events[0].subscribe([Topic.REQUESTS])
    deaf = net.events[0].subscribe([Topic.KEYS])
    await net.listened()
    for number in range(MAX_ELSEWHERE + 5):
        net.events[1].publish(Topic.REQUESTS, b"%d" % number)
    assert len(await listener.take(2.0)) == MAX_ELSEWHERE
    assert listener.taken_lost() == 0
    net.events[1].publish(Topic.REQUESTS, b"next")
    assert [event.data for event in await listener.take(2.0)] == [b"next"]
    assert listener.taken_lost() is None
    assert deaf.taken_lost() == 0
    await net.relays[1].stop()


async def test_listeners_are_told_that_other_hosts_are_missing_and_that_they_are_back() -> None:
    net = Listening("a", "b")
    await net.known()
    listener = net.events[0].subscribe([Topic.REQUESTS])
    await net.listened()
    net.ends[0].change("Redis is away")
    assert await listener.take(1.0) == []
    assert listener.taken_apart() == "Redis is away"
    assert listener.taken_apart() is None
    late = net.events[0].subscribe([Topic.KEYS])
    assert late.taken_apart() == "Redis is away"
    net.events[0].publish(Topic.REQUESTS, b"goes on")
    assert [event.data for event in await listener.take(1.0)] == [b"goes on"]
    assert listener.taken_lost() == 0
    net.ends[0].change("")
    assert (listener.taken_apart(), listener.taken_lost()) == ("", None)
    assert net.events[0].subscribe([Topic.KEYS]).taken_apart() is None
    net.ends[1].send(net.ends[1].hello)  # as it does every two seconds
    await until(net.hosts[0].others, "they know each other again")
    await net.relays[0].look()
    net.events[1].publish(Topic.REQUESTS, b"is back")
    assert [event.data for event in await listener.take(2.0)] == [b"is back"]
    for relay in net.relays:
        await relay.stop()
