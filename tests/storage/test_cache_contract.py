"""What every place for kept answers has to do, in this process or in Redis, one server or a cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from keyrelay.storage.memory_cache import MemoryCache
from keyrelay.storage.redis.client import Breaker, open_client
from keyrelay.storage.redis_cache import RedisCache
from keyrelay.vault.client_seal import ClientSeal
from tests.servers.redis_server import RedisServer, redis_flavours

NOW_S = 1_800_000_000.0
APP, OTHER = "client:app", "client:other"
KEY, SECOND = b"k" * 32, b"\x00\xff" * 16


class Kept(Protocol):
    async def get(self, key: bytes, scope: str, now_s: float) -> bytes | None: ...
    def get_now(self, key: bytes, scope: str, now_s: float) -> bytes | None: ...
    def put(self, key: bytes, scope: str, value: bytes, *, now_s: float, ttl_s: float) -> bool: ...
    def discard(self, key: bytes, scope: str) -> None: ...
    async def purge(self, scope: str | None = None) -> int: ...


async def settled(cache: Kept) -> None:
    if isinstance(cache, RedisCache):
        await cache.written()


@contextlib.asynccontextmanager
async def in_redis(url: str, prefix: str) -> AsyncIterator[RedisCache]:
    client = open_client(url, timeout_s=2.0)
    breaker = Breaker(client, timeout_s=2.0, random=lambda: 0.5, report=lambda _: None)
    cache = RedisCache(client, breaker, prefix=prefix, most_bytes=1 << 20, seal_of=ClientSeal)
    yield cache
    await cache.aclose()
    await breaker.aclose()
    await client.aclose()


@pytest.fixture(params=["memory", "cluster", *redis_flavours()])
async def cache(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[Kept]:
    if request.param == "memory":
        yield MemoryCache(1 << 20)
    elif request.param == "cluster":
        async with in_redis(request.getfixturevalue("redis_cluster").url, redis_prefix) as made:
            yield made
    else:
        async with RedisServer(request.param) as server, in_redis(server.url, redis_prefix) as made:
            yield made


async def test_what_is_put_away_comes_back(cache: Kept) -> None:
    value = bytes(range(256)) * 100
    assert await cache.get(KEY, APP, NOW_S) is None
    assert cache.put(KEY, APP, value, now_s=NOW_S, ttl_s=60)
    await settled(cache)
    assert await cache.get(KEY, APP, NOW_S) == value
    assert await cache.get(SECOND, APP, NOW_S) is None
    assert cache.get_now(KEY, APP, NOW_S) in {None, value}


async def test_the_later_value_counts(cache: Kept) -> None:
    cache.put(KEY, APP, b"one", now_s=NOW_S, ttl_s=60)
    await settled(cache)
    cache.put(KEY, APP, b"two", now_s=NOW_S, ttl_s=60)
    await settled(cache)
    assert await cache.get(KEY, APP, NOW_S) == b"two"


async def test_a_scope_gets_nothing_of_another(cache: Kept) -> None:
    cache.put(KEY, APP, b"mine", now_s=NOW_S, ttl_s=60)
    await settled(cache)
    assert await cache.get(KEY, OTHER, NOW_S) is None
    cache.discard(KEY, OTHER)
    await settled(cache)
    assert await cache.get(KEY, APP, NOW_S) == b"mine"


async def test_a_value_expires(cache: Kept) -> None:
    cache.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=0.05)
    await settled(cache)
    await asyncio.sleep(0.1)
    assert await cache.get(KEY, APP, NOW_S + 0.1) is None


async def test_a_value_that_is_discarded_is_gone(cache: Kept) -> None:
    cache.put(KEY, APP, b"v", now_s=NOW_S, ttl_s=60)
    await settled(cache)
    cache.discard(KEY, APP)
    await settled(cache)
    assert await cache.get(KEY, APP, NOW_S) is None


async def test_purging_a_scope_leaves_the_others(cache: Kept) -> None:
    for number in range(450):
        cache.put(b"%032d" % number, APP if number % 3 else OTHER, b"v", now_s=NOW_S, ttl_s=60)
        await settled(cache)
    assert await cache.purge(APP) == 300
    assert await cache.purge(APP) == 0
    assert await cache.get(b"%032d" % 3, OTHER, NOW_S) == b"v"
    assert await cache.get(b"%032d" % 4, APP, NOW_S) is None
    assert await cache.purge() == 150
    assert await cache.get(b"%032d" % 3, OTHER, NOW_S) is None
