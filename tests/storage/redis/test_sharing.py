"""Workers that share what they find out through a real Redis, whatever happens to it."""

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from keyrelay.core.errors import CallerError
from keyrelay.ports import UpstreamCall
from keyrelay.storage.redis import bulletin as module
from keyrelay.storage.redis.bulletin import RedisBulletin
from tests.engine.rig import FakeAnswer, Script, error, providers
from tests.engine.sharing_ends import End
from tests.servers.redis_server import RedisServer
from tests.storage.redis.waiting import eventually

THREE_KEYS = providers("acme", keys=3)
LIMITED = "Rate limit reached for m in organization org-acme on requests per min (RPM): Limit 3, Used 3, Requested 1."


def facts(end: End) -> dict[str, int]:
    """The amounts of the limits that a worker has learned."""
    return {fact.id: fact.amount for fact in end.rig.learner.book.noted(0.0)}


class Office:
    """Workers over one Redis, which are closed at the end."""

    def __init__(self, url: str, prefix: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.prefix = prefix
        self.stack = stack
        self.workers: list[tuple[End, RedisBulletin]] = []

    async def worker(self, script: Script) -> End:
        """One more worker, connected."""
        bulletin = RedisBulletin(
            self.url,
            prefix=self.prefix,
            worker=f"w{len(self.workers)}",
            timeout_s=0.1,
            random=random.Random(len(self.workers)).random,
            report=lambda _: None,
        )
        end = End(bulletin, THREE_KEYS, script)
        self.workers.append((end, bulletin))
        self.stack.push_async_callback(bulletin.aclose)
        bulletin.start()
        await eventually(lambda: "connected," in repr(bulletin), "it is connected")
        return end


@asynccontextmanager
async def office(url: str, prefix: str = "test") -> AsyncIterator[Office]:
    async with AsyncExitStack() as stack:
        yield Office(url, prefix, stack)


def invalid_first(key: str, _: UpstreamCall) -> FakeAnswer:
    return error(401, "no", code="invalid_api_key") if key == "acme-00" else FakeAnswer()


def limited_but_one(key: str, _: UpstreamCall) -> FakeAnswer:
    return FakeAnswer() if key == "acme-02" else error(429, LIMITED, retry_after="20")


def resting(end: End) -> set[str]:
    return {cell.name for cell in end.health.cells() if cell.failure is not None}


async def test_what_one_worker_finds_out_all_know_within_a_second(redis_url: str, redis_prefix: str) -> None:
    async with office(redis_url, redis_prefix) as here:
        first, *others = [await here.worker(limited_but_one) for _ in range(4)]
        began_at = time.monotonic()
        for _ in range(3):
            await first.rig.ask()
        await eventually(lambda: all(end.rig.learner.organisations.merges() for end in others), "accounts are merged")
        await eventually(lambda: all(resting(end) == resting(first) for end in others), "keys rest")
        await eventually(lambda: all(facts(end) for end in others), "the limit is known")
        assert time.monotonic() - began_at < 1.0
        for other in others:
            for _ in range(3):
                await other.rig.ask()
            assert other.calls == ["acme-02"] * 3
        first.rig.learner.clear(first.clock.epoch_s())
        await eventually(lambda: not any(facts(end) for end in others), "cleared everywhere")


async def test_an_invalid_key_costs_one_call_among_all_workers_that_are_there(
    redis_url: str, redis_prefix: str
) -> None:
    async with office(redis_url, redis_prefix) as here:
        workers = [await here.worker(invalid_first) for _ in range(3)]
        for _ in range(3):
            await workers[0].rig.ask()
        await eventually(lambda: all("key:acme/k00" in resting(end) for end in workers), "it rests")
        for other in workers[1:]:
            for _ in range(6):
                await other.rig.ask()
        assert sum(worker.calls.count("acme-00") for worker in workers) == 1


async def test_a_newcomer_knows_what_the_others_know(redis_url: str, redis_prefix: str) -> None:
    async with office(redis_url, redis_prefix) as here:
        first = await here.worker(limited_but_one)
        for _ in range(3):
            await first.rig.ask()
        await eventually(lambda: not here.workers[0][1]._waiting and not here.workers[0][1]._sending, "it is told")
        newcomer = await here.worker(limited_but_one)
        assert resting(newcomer) == resting(first) != set()
        assert facts(newcomer) == facts(first) != {}
        await newcomer.rig.ask()
        assert newcomer.calls == ["acme-02"]


def gone(server: RedisServer) -> Callable[[], None]:
    server.kill()
    return server.start


def frozen(server: RedisServer) -> Callable[[], None]:
    server.freeze()
    return server.thaw


@pytest.mark.parametrize("lose", [gone, frozen])
async def test_while_redis_is_away_each_is_alone_and_nothing_fails_and_then_all_agree(
    own_redis_server: RedisServer,
    lose: Callable[[RedisServer], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BLOCK_S", 0.2)
    monkeypatch.setattr(module, "_SLACK_S", 0.1)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    async with office(own_redis_server.url) as here:
        first, second = await here.worker(limited_but_one), await here.worker(limited_but_one)
        come_back = lose(own_redis_server)
        for worker in (first, second):
            began_at = time.monotonic()
            for _ in range(4):
                await worker.rig.ask()
            assert time.monotonic() - began_at < 0.5
            assert worker.calls.count("acme-02") == 4
        await eventually(lambda: all("alone" in repr(bulletin) for _, bulletin in here.workers), "they notice")
        came_at = time.monotonic()
        come_back()
        third = await here.worker(limited_but_one)
        await eventually(lambda: resting(third) == resting(first) != set(), "the newcomer knows")
        assert time.monotonic() - came_at < 3.5
        for cell in tuple(first.health.cells()):
            if cell.failure is not None:
                cell.wake()
        await eventually(lambda: not resting(second) | resting(third), "a success wakes it everywhere")


async def test_a_worker_that_is_killed_and_comes_back_knows_it_all(redis_url: str, redis_prefix: str) -> None:
    async with office(redis_url, redis_prefix) as here:
        first = await here.worker(limited_but_one)
        for _ in range(3):
            await first.rig.ask()
        _, bulletin = here.workers[0]
        await eventually(lambda: not bulletin._waiting and not bulletin._sending, "it is told")
        for task in bulletin._tasks:
            task.cancel()  # as a kill would: nothing more is said
        again = await here.worker(limited_but_one)
        await again.rig.ask()
        assert again.calls == ["acme-02"]


async def test_requests_that_need_no_news_put_nothing_on_the_bulletin(redis_url: str, redis_prefix: str) -> None:
    async with office(redis_url, redis_prefix) as here:
        first = await here.worker(lambda *_: FakeAnswer())
        for _ in range(3):
            await first.rig.ask()
        _, bulletin = here.workers[0]
        await eventually(lambda: not bulletin._waiting and not bulletin._sending, "it is told")
        published = bulletin.published
        for _ in range(50):
            await first.rig.ask()
        with pytest.raises(CallerError):
            await first.rig.ask("unknown")
        assert (bulletin.published, bulletin._waiting) == (published, {})
