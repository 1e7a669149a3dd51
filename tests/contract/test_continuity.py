"""What every store of conversations has to do: that of one process, and that of several over one Redis.

Whoever is told something and whoever is asked are two processes where there are two; with one they are the same.
"""

import contextlib
from collections.abc import AsyncIterator

import pytest

from keyrelay.engine.continuity_store import SHARE, ContinuityStore, MemoryContinuityStore
from tests.contract.remembering import NOW_S, TTL_S, found, in_redis, over, settled
from tests.servers.redis_server import RedisServer, redis_flavours

MOST_BYTES = 1 << 20
Pair = tuple[ContinuityStore, ContinuityStore]


@pytest.fixture(params=["memory", "cluster", *redis_flavours()])
async def stores(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[Pair]:
    """One that is told and one that is asked."""
    if request.param == "memory":
        alone = MemoryContinuityStore(MOST_BYTES)
        yield alone, alone
        return
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "cluster":
            server: RedisServer = request.getfixturevalue("redis_cluster")
        else:
            server = await stack.enter_async_context(RedisServer(request.param))
        here, there = [await stack.enter_async_context(in_redis(server.url, redis_prefix)) for _ in range(2)]
        yield over(here, MOST_BYTES), over(there, MOST_BYTES)


async def keep(store: ContinuityStore, client: str, entry_id: str, value: bytes, now_s: float = NOW_S) -> None:
    assert store.put(client, entry_id, value, now_s=now_s, ttl_s=TTL_S)
    await settled(store, client)


async def test_what_is_kept_is_found_by_all(stores: Pair) -> None:
    here, there = stores
    value = bytes(range(256)) * 100
    assert await found(there, "app", "1") is None
    await keep(here, "app", "1", value)
    assert await found(there, "app", "1") == await found(here, "app", "1") == value
    assert await found(there, "app", "2") is None
    assert there.holds("app")


async def test_nobody_finds_what_was_kept_for_another_client(stores: Pair) -> None:
    here, there = stores
    await keep(here, "app", "1", b"mine")
    assert await found(there, "other", "1") is None
    assert not there.holds("other")


async def test_many_are_found_at_once(stores: Pair) -> None:
    here, there = stores
    ids = [f"{number}" for number in range(700)]
    for entry_id in ids:
        here.put("app", entry_id, entry_id.encode(), now_s=NOW_S, ttl_s=TTL_S)
    await settled(here, "app")
    await there.fetch("app", [*ids, "none"], NOW_S)
    assert [there.get("app", entry_id, NOW_S) for entry_id in ids] == [each.encode() for each in ids]


async def test_the_later_value_counts(stores: Pair) -> None:
    here, there = stores
    await keep(here, "app", "1", b"one")
    await keep(here, "app", "1", b"two")
    assert await found(there, "app", "1") == b"two"


async def test_what_was_deleted_is_found_by_nobody(stores: Pair) -> None:
    here, there = stores
    await keep(here, "app", "1", b"v")
    assert await found(there, "app", "1") == b"v"
    assert there.delete("app", "1", ttl_s=TTL_S)
    await settled(there, "app")
    assert await found(here, "app", "1") is None
    assert await found(there, "app", "1") is None
    assert not here.delete("app", "1", ttl_s=TTL_S)


async def test_a_value_has_its_time(stores: Pair) -> None:
    here, there = stores
    await keep(here, "app", "1", b"v")
    assert await found(there, "app", "1", NOW_S + TTL_S - 1) == b"v"
    assert await found(there, "app", "1", NOW_S + TTL_S) is None


async def test_nothing_is_kept_for_no_time_or_without_room(stores: Pair) -> None:
    here, there = stores
    assert not here.put("app", "1", b"v", now_s=NOW_S, ttl_s=0)
    assert not here.put("app", "2", b"v" * (MOST_BYTES // SHARE), now_s=NOW_S, ttl_s=TTL_S)
    await settled(here, "app")
    assert [await found(there, "app", entry_id) for entry_id in "12"] == [None, None]
