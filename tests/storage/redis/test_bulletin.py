import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from keyrelay.storage.redis import bulletin as module
from keyrelay.storage.redis.bulletin import RedisBulletin
from tests.servers.fault_proxy import FaultProxy
from tests.servers.redis_server import RedisServer
from tests.storage.redis.waiting import eventually


class Said(msgspec.Struct, frozen=True):
    subject: str
    value: bytes
    lasts_s: float = 3600.0


class Worker:
    """One end: what it knows of each subject, and what it was told."""

    def __init__(self, bulletin: RedisBulletin) -> None:
        self.bulletin = bulletin
        self.known: dict[str, bytes] = {}
        self.heard: list[tuple[str, bytes]] = []
        self.ages_s: list[float] = []
        self.reports: list[str] = []
        bulletin.subscribe(self.receive, self.present)

    def receive(self, subject: str, value: bytes, age_s: float) -> None:
        self.known[subject] = value
        self.heard.append((subject, value))
        self.ages_s.append(age_s)

    def present(self) -> Iterator[Said]:
        return (Said(subject, value) for subject, value in self.known.items())

    def say(self, subject: str, value: bytes, lasts_s: float = 3600.0) -> None:
        self.known[subject] = value
        self.bulletin.publish(Said(subject, value, lasts_s))


class Office:
    """Workers that are closed at the end."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self.stack = AsyncExitStack()
        self.count = 0

    async def worker(self, *, url: str = "", connected: bool = True) -> Worker:
        self.count += 1
        reports: list[str] = []
        bulletin = RedisBulletin(
            url or self.url,
            prefix=self.prefix,
            worker=f"worker {self.count}",
            timeout_s=0.1,
            random=lambda: 0.5,
            report=reports.append,
        )
        worker = Worker(bulletin)
        worker.reports = reports
        self.stack.push_async_callback(bulletin.aclose)
        bulletin.start()
        if connected:
            await eventually(lambda: "connected," in repr(bulletin), "it is connected")
        return worker


@asynccontextmanager
async def office(url: str, prefix: str = "test") -> AsyncIterator[Office]:
    made = Office(url, prefix)
    async with made.stack:
        yield made


async def test_what_one_says_all_others_hear_once_and_soon(url: str, redis_prefix: str) -> None:
    async with office(url, redis_prefix) as here:
        first, second, third = [await here.worker() for _ in range(3)]
        began_at = time.monotonic()
        first.say("key:a", b"\x00 \xff")
        await eventually(lambda: second.heard and third.heard, "they hear it")
        assert time.monotonic() - began_at < 1.0
        assert second.heard == third.heard == [("key:a", b"\x00 \xff")]
        assert first.heard == []
        assert 0 <= second.ages_s[0] < 1.0
        assert first.bulletin.published == 1


async def test_who_comes_later_hears_what_is_so_by_then_and_how_old_it_is(url: str, redis_prefix: str) -> None:
    async with office(url, redis_prefix) as here:
        first = await here.worker()
        first.say("key:a", b"rests")
        first.say("key:b", b"rests")
        first.say("over soon", b"x", 0.2)
        first.say("for those who are there", b"y", 0.0)
        await eventually(lambda: first.bulletin.published == 4, "it is told")
        first.say("key:b", b"awake")
        await asyncio.sleep(0.3)
        second = await here.worker()
        assert sorted(second.heard) == [("key:a", b"rests"), ("key:b", b"awake")]
        assert max(second.ages_s) == pytest.approx(0.3, abs=0.25)
        second.say("key:a", b"awake")
        await eventually(lambda: first.known["key:a"] == b"awake", "it hears what comes later too")


async def test_what_is_said_anew_before_it_is_told_is_one_word() -> None:
    with RedisServer() as server:
        async with office(server.url) as here:
            first, second = await here.worker(), await here.worker()
            server.kill()
            for number in range(1000):
                first.say("key:a", b"%d" % number)
                first.say(f"key:{number}", b"x")
            assert len(first.bulletin._waiting) == 1001
            server.start()
            await eventually(lambda: len(second.known) == 1001, "it is told")
            assert second.known["key:a"] == b"999"
            assert len([value for subject, value in second.heard if subject == "key:a"]) < 5


def kill_and_start(server: RedisServer) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("lose", [kill_and_start, RedisServer.restart, RedisServer.flush])
async def test_when_redis_has_lost_everything_all_tell_again_what_they_know(
    own_redis_server: RedisServer, lose: Callable[[RedisServer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(module, "BLOCK_S", 0.2)
    async with office(own_redis_server.url) as here:
        first, second = await here.worker(), await here.worker()
        first.say("key:a", b"rests")
        second.say("key:b", b"rests")
        await eventually(lambda: first.known == second.known, "they agree")
        await asyncio.to_thread(lose, own_redis_server)
        key = second.bulletin.keys[1]
        await eventually(lambda: own_redis_server.command("hlen", key) == 4, "it is all there again")
        third = await here.worker()
        assert third.known == {"key:a": b"rests", "key:b": b"rests"}
        first.say("key:a", b"awake")
        await eventually(lambda: third.known["key:a"] == b"awake", "they hear each other")
        await eventually(lambda: second.known["key:a"] == b"awake", "they hear each other")


async def test_a_worker_that_was_cut_off_learns_what_it_has_missed(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_S", 0.2)
    monkeypatch.setattr(module, "_SLACK_S", 0.1)
    async with office(own_redis_server.url) as here, FaultProxy(own_redis_server.port) as proxy:
        first = await here.worker()
        second = await here.worker(url=proxy.url(own_redis_server.url))
        first.say("key:a", b"rests")
        await eventually(lambda: second.known, "it hears")
        await proxy.set("blackhole")
        await eventually(lambda: second.reports, "it notices")
        second.say("key:b", b"newer")
        first.say("key:a", b"awake")
        first.say("key:b", b"older")
        await eventually(lambda: first.bulletin.published == 3, "it is told")
        assert second.known["key:a"] == b"rests"
        proxy.reset()
        await proxy.set("pass")
        await eventually(lambda: second.known["key:a"] == b"awake", "it hears what it has missed")
        await eventually(lambda: first.known["key:b"] == b"newer", "and is heard")
        assert second.known["key:b"] == b"newer"
        await eventually(lambda: len(second.reports) == 2, "it says so")
        assert first.reports == []
        assert second.reports == [
            "Redis does not answer in time (TimeoutError); what workers find out is not shared for now",
            "what workers find out is shared again",
        ]


async def test_a_frozen_redis_holds_nobody_up(own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_S", 0.2)
    monkeypatch.setattr(module, "_SLACK_S", 0.1)
    async with office(own_redis_server.url) as here:
        first, second = await here.worker(), await here.worker()
        own_redis_server.freeze()
        first.say("key:a", b"rests", 0.5)
        first.say("key:b", b"rests")
        late = asyncio.get_running_loop().time()
        for _ in range(50):
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - late < 1.0
        own_redis_server.thaw()
        await eventually(lambda: "key:b" in second.known, "it is told at last")
        assert max(second.ages_s) > 0.25, "and said how late, less the time that its last try took"


async def test_redis_need_not_be_there_at_the_start(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    async with office(own_redis_server.url) as here:
        first = await here.worker(connected=False)
        first.say("key:a", b"rests")
        await eventually(lambda: first.reports, "it says so")
        assert repr(first.bulletin) == "<RedisBulletin alone, 0 published, 0 waiting>"
        own_redis_server.start()
        second = await here.worker()
        await eventually(lambda: second.known, "it is told")


async def test_stream_and_hash_are_bounded_and_go_when_nobody_is_left(
    redis_server: RedisServer, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 500)
    monkeypatch.setattr(module, "MOST_SUBJECTS", 100)
    async with office(redis_server.url, redis_prefix) as here:
        first, second = await here.worker(), await here.worker()
        for number in range(3000):
            first.say(f"key:{number}", b"x")
        await eventually(lambda: first.bulletin.published == 3000, "they are told")
        await eventually(lambda: len(second.known) >= 500, "it hears of some")
        stream, held = first.bulletin.keys
        assert redis_server.command("xlen", stream) < 1000
        assert redis_server.command("hlen", held) in {101, 102}
        first.say("key:0", b"y")
        await eventually(lambda: second.known["key:0"] == b"y", "it hears what comes later")
        assert all(0 < redis_server.command("pttl", key) <= module._IDLE_MS for key in (stream, held))


async def test_a_listener_that_was_overtaken_by_the_stream_reads_what_is_so_by_then(
    redis_server: RedisServer, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 100)
    async with office(redis_server.url, redis_prefix) as here:
        first, second = await here.worker(), await here.worker()
        for number in range(2000):
            first.say(f"key:{number}", b"x")
        await eventually(lambda: len(second.known) == 2000, "it knows all of them")
        assert len(second.heard) >= 2000
        assert second.reports == []


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    async with office("redis://127.0.0.1:1") as here:
        first = await here.worker(connected=False)
        for number in range(30):
            first.say(f"key:{number}", b"x")
        assert list(first.bulletin._waiting) == [f"key:{number}" for number in range(20, 30)]


async def test_an_error_of_the_listener_is_said_and_the_next_word_is_heard(
    redis_server: RedisServer, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", (0.01, 0.02))
    async with office(redis_server.url, redis_prefix) as here:
        first, second = await here.worker(), await here.worker()

        def fail(subject: str, value: bytes, age_s: float) -> None:
            second.bulletin.subscribe(second.receive, second.present)
            raise LookupError(subject)

        second.bulletin.subscribe(fail, second.present)
        first.say("key:a", b"rests")
        await eventually(lambda: second.known, "it goes on")
        assert second.reports[0] == "sharing failed with LookupError; what workers find out is not shared for now"


async def test_what_was_just_said_is_told_before_it_closes(redis_server: RedisServer, redis_prefix: str) -> None:
    async with office(redis_server.url, redis_prefix) as here:
        first, second = await here.worker(), await here.worker()
        first.say("key:a", b"rests")
        await first.bulletin.aclose()
        await eventually(lambda: second.known, "it is told")
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("bulletin") and task.done()]
