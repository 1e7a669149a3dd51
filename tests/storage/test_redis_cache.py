import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import redis

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.client import Breaker, open_client
from keyrelay.storage.redis_cache import ENTRY_BYTES, MAX_WRITES, RedisCache
from keyrelay.vault.client_seal import ClientSeal
from keyrelay.vault.sealing import MAX_PLAINTEXT_BYTES
from tests.servers.fault_proxy import FaultProxy
from tests.servers.guarded import wait_until
from tests.servers.redis_server import RedisServer

NOW_S = 1_800_000_000.0
APP = "client:app"
KEY = b"k" * 32
DEADLINE_S = 0.1
LATE_S = 0.05
"""What a busy machine may add to a deadline."""


@contextlib.asynccontextmanager
async def opened(url: str, prefix: str = "keyrelay", *, most_bytes: int = 1 << 20) -> AsyncIterator[RedisCache]:
    client = open_client(url, timeout_s=DEADLINE_S)
    breaker = Breaker(client, timeout_s=DEADLINE_S, random=lambda: 0.5, report=lambda _: None)
    cache = RedisCache(client, breaker, prefix=prefix, most_bytes=most_bytes, seal_of=ClientSeal)
    yield cache
    await cache.aclose()
    await breaker.aclose()
    await client.aclose()


async def timed(cache: RedisCache) -> tuple[bytes | None, float]:
    began_at = time.monotonic()
    return await cache.get(KEY, APP, NOW_S), time.monotonic() - began_at


async def test_a_frozen_redis_is_a_miss_in_time_and_then_at_once(own_redis_server: RedisServer) -> None:
    async with opened(own_redis_server.url) as cache:
        cache.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=60)
        await cache.written()
        assert (await timed(cache))[0] == b"v"
        own_redis_server.freeze()
        value, took_s = await timed(cache)
        assert value is None
        assert took_s < DEADLINE_S + LATE_S
        assert not cache.waits
        value, took_s = await timed(cache)
        assert value is None
        assert took_s < 0.001
        assert not cache.put(KEY, APP, b"w", now_s=NOW_S, ttl_s=60)
        assert cache.skipped == 1
        with pytest.raises(StoreError):
            await cache.purge()
        own_redis_server.thaw()
        await asyncio.to_thread(wait_until, lambda: cache.waits, "the circuit has closed")
        assert (await timed(cache))[0] == b"v"
        assert repr(cache) == "<RedisCache awake, 0 writes under way, 2 failed>"


async def test_a_redis_that_is_gone_is_a_miss(own_redis_server: RedisServer) -> None:
    async with opened(own_redis_server.url) as cache:
        cache.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=60)
        await cache.written()
        own_redis_server.kill()
        value, took_s = await timed(cache)
        assert value is None
        assert took_s < DEADLINE_S + LATE_S
        cache.discard(KEY, APP)
        assert cache.skipped == 1


async def test_a_slow_redis_is_a_miss_in_time(redis_server: RedisServer, redis_prefix: str) -> None:
    async with FaultProxy(redis_server.port) as proxy, opened(proxy.url(redis_server.url), redis_prefix) as cache:
        cache.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=60)
        await cache.written()
        proxy.latency_s = 0.4
        value, took_s = await timed(cache)
        assert value is None
        assert took_s < DEADLINE_S + LATE_S


async def test_writes_that_fail_are_counted_and_harm_nobody(own_redis_server: RedisServer) -> None:
    async with opened(own_redis_server.url) as cache:
        own_redis_server.freeze()
        assert cache.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=60)
        cache.discard(KEY, APP)
        await cache.written()
        assert cache.failed == 2


async def test_what_is_too_much_at_a_time_is_not_written(redis_server: RedisServer, redis_prefix: str) -> None:
    async with opened(redis_server.url, redis_prefix) as cache:
        assert not cache.put(KEY, APP, b"x", now_s=NOW_S, ttl_s=0.0001)
        taken = [cache.put(b"%032d" % number, APP, b"v", now_s=NOW_S, ttl_s=60) for number in range(MAX_WRITES + 5)]
        assert sum(taken) == MAX_WRITES
        assert cache.skipped == 5
        await cache.written()
        assert cache.size() is None
        assert await cache.purge() == MAX_WRITES


async def test_a_process_has_no_more_than_its_share_of_bytes_there(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with opened(redis_server.url, redis_prefix, most_bytes=3 * (ENTRY_BYTES + 100)) as cache:

        async def put(name: str, now_s: float, ttl_s: float, size: int = 100) -> bool:
            taken = cache.put(name.encode(), APP, b"x" * size, now_s=now_s, ttl_s=ttl_s)
            await cache.written()
            return taken

        assert not await put("a", NOW_S, 60, size=100_000)
        assert [await put(name, NOW_S, ttl_s) for name, ttl_s in zip("abcd", (60, 60, 600, 60), strict=True)] == [
            True,
            True,
            True,
            False,
        ]
        assert not await put("e", NOW_S + 30, 60)
        assert [await put(name, NOW_S + 180, 60) for name in "fgh"] == [True, True, False]
        assert await cache.purge() == 5
        assert await put("i", NOW_S + 181, 60)


async def test_a_purge_that_fails_says_so(own_redis_server: RedisServer) -> None:
    async with opened(own_redis_server.url) as cache:
        own_redis_server.freeze()
        with pytest.raises(StoreError, match="does not answer"):
            await cache.purge()


async def test_the_keys_of_others_are_not_purged(redis_server: RedisServer, redis_prefix: str) -> None:
    odd = f"{redis_prefix}[a-z]*?\\"
    async with opened(redis_server.url, odd) as cache, opened(redis_server.url, f"{redis_prefix}bcd") as other:
        for each in (cache, other):
            each.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=60)
            await each.written()
        assert await cache.purge() == 1
        assert (await timed(other))[0] == b"v"


async def test_a_cancelled_read_leaves_nothing_for_the_next(redis_server: RedisServer, redis_prefix: str) -> None:
    """Canaries: each key holds its own name, and reads are given up at every moment of their course."""
    readers, rounds = 40, 25
    wrong: list[tuple[bytes, bytes]] = []
    right = 0

    async def read(cache: RedisCache, number: int) -> None:
        nonlocal right
        key = b"%032d" % number
        value = await cache.get(key, APP, NOW_S)
        if value not in {None, key}:
            wrong.append((key, value or b""))
        right += value == key

    async with FaultProxy(redis_server.port) as proxy, opened(proxy.url(redis_server.url), redis_prefix) as cache:
        for number in range(readers):
            cache.put(b"%032d" % number, APP, b"%032d" % number, now_s=NOW_S, ttl_s=60)
            await cache.written()
        proxy.latency_s = 0.004
        for turn in range(rounds):
            tasks = [asyncio.create_task(read(cache, number)) for number in range(readers)]
            await asyncio.sleep(turn * 0.0005)
            for task in tasks[turn % 2 :: 2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert not wrong
    assert right > readers * rounds / 10


async def test_redis_sees_neither_what_is_kept_nor_for_which_key(redis_server: RedisServer, redis_prefix: str) -> None:
    async with opened(redis_server.url, redis_prefix) as cache:
        assert cache.put(KEY, APP, b"the weather is fine", now_s=NOW_S, ttl_s=60)
        await cache.written()
        (name,) = redis_server.command("keys", f"{redis_prefix}:cache:*")
        with redis.Redis(port=redis_server.port) as client:
            value = client.get(name)
            assert b"weather" not in value
            assert KEY.hex() not in name
            assert await cache.get(KEY, APP, NOW_S) == b"the weather is fine"
            client.set(name, b"the weather is fine")
            assert await cache.get(KEY, APP, NOW_S) == b"", "it is damaged"


async def test_what_is_too_large_to_be_sealed_is_not_kept(redis_server: RedisServer, redis_prefix: str) -> None:
    async with opened(redis_server.url, redis_prefix, most_bytes=1 << 30) as cache:
        assert not cache.put(KEY, APP, bytes(MAX_PLAINTEXT_BYTES + 1), now_s=NOW_S, ttl_s=60)
