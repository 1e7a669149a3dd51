import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.client import Breaker, Client, open_client
from tests.servers.fault_proxy import FaultProxy, Mode
from tests.servers.redis_server import RedisServer
from tests.storage.redis.waiting import eventually

TIMEOUT_S = 0.1
PROBE_EVERY_S = 0.2
BUSY_S = 0.15
"""How late a busy machine may make a timeout."""


@asynccontextmanager
async def opened(url: str, said: list[str] | None = None) -> AsyncIterator[tuple[Client, Breaker]]:
    client = open_client(url, timeout_s=TIMEOUT_S)
    report = [] if said is None else said
    breaker = Breaker(
        client, timeout_s=TIMEOUT_S, random=lambda: 0.5, report=report.append, probe_every_s=PROBE_EVERY_S
    )
    try:
        yield client, breaker
    finally:
        await breaker.aclose()
        await client.aclose()


async def until_closed(breaker: Breaker) -> None:
    await eventually(lambda: not breaker.is_open, "the circuit is closed")


async def test_a_call_returns_what_redis_answers(every_redis_server: RedisServer, redis_prefix: str) -> None:
    async with opened(every_redis_server.url) as (client, breaker):
        await breaker.call(client.set, f"{redis_prefix}a", b"\xff", px=60_000)
        assert await breaker.call(client.get, f"{redis_prefix}a") == b"\xff"
        assert repr(breaker) == "<Breaker closed after 0 openings>"


async def test_a_cluster_is_named_by_the_scheme(redis_cluster: RedisServer, redis_prefix: str) -> None:
    async with opened(redis_cluster.url.replace("redis://", "redis+cluster://")) as (client, breaker):
        async with asyncio.timeout(2):
            await client.initialize()
        for number in range(20):  # in many slots
            await breaker.call(client.set, f"{redis_prefix}{number}", str(number))
            assert await breaker.call(client.get, f"{redis_prefix}{number}") == str(number).encode()
        assert not breaker.is_open


@pytest.mark.parametrize("url", ["http://a", "redis://a:b", "postgresql://a/b", "nonsense", "redis+cluster://a:1/2"])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="redis_url is no URL of a Redis") as caught:
        open_client(url, timeout_s=TIMEOUT_S)
    assert caught.value.lasting


@pytest.mark.parametrize(("mode", "reason"), [("refuse", "cannot be reached"), ("blackhole", "not answer in time")])
async def test_the_first_failure_opens_the_circuit_and_then_nobody_waits(
    redis_server: RedisServer, mode: Mode, reason: str
) -> None:
    said: list[str] = []
    async with FaultProxy(redis_server.port) as proxy, opened(proxy.url(redis_server.url), said) as (client, breaker):
        await proxy.set(mode)
        began_at = time.monotonic()
        with pytest.raises(StoreError, match=reason):
            await breaker.call(client.get, "a")
        assert time.monotonic() - began_at < TIMEOUT_S + BUSY_S
        assert breaker.is_open
        began_at = time.monotonic()
        for _ in range(1000):
            with pytest.raises(StoreError, match="left alone"):
                await breaker.call(client.get, "a")
        assert time.monotonic() - began_at < 0.1
        assert len(said) == 1
        await proxy.set("pass")
        await until_closed(breaker)
        assert await breaker.call(client.get, "a") is None
        assert said[1:] == ["Redis answers again"]
        assert repr(breaker) == "<Breaker closed after 1 openings>"


async def test_a_frozen_redis_delays_those_under_way_once_and_is_found_again(own_redis_server: RedisServer) -> None:
    async with opened(own_redis_server.url) as (client, breaker):
        await breaker.call(client.set, "a", "1")
        own_redis_server.freeze()
        began_at = time.monotonic()
        outcomes = await asyncio.gather(*(breaker.call(client.get, "a") for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began_at < TIMEOUT_S + BUSY_S
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
        await asyncio.sleep(PROBE_EVERY_S * 2)
        assert breaker.is_open
        own_redis_server.thaw()
        await until_closed(breaker)
        assert await breaker.call(client.get, "a") == b"1"
        assert breaker.openings == 1


@pytest.mark.parametrize(
    ("break_it", "mend"),
    [(RedisServer.kill, RedisServer.start), (RedisServer.restart, lambda _: None)],
    ids=["killed", "restarted"],
)
async def test_a_redis_that_was_gone_is_found_again(
    own_redis_server: RedisServer, break_it: Callable[[RedisServer], None], mend: Callable[[RedisServer], None]
) -> None:
    async with opened(own_redis_server.url) as (client, breaker):
        await breaker.call(client.set, "a", "1")
        await asyncio.to_thread(break_it, own_redis_server)
        await asyncio.gather(*(breaker.call(client.get, "a") for _ in range(3)), return_exceptions=True)
        mend(own_redis_server)
        await until_closed(breaker)
        assert await breaker.call(client.get, "a") is None


async def test_a_wrong_password_is_for_a_person_and_shown_to_nobody(own_redis_server: RedisServer) -> None:
    own_redis_server.command("config", "set", "requirepass", "hunter2hunter2")
    said: list[str] = []
    url = own_redis_server.url.replace("redis://", "redis://:wrongwrongwrong@")
    async with opened(url, said) as (client, breaker):
        with pytest.raises(StoreError, match="refuses the password") as caught:
            await breaker.call(client.get, "a")
        assert caught.value.lasting
        assert breaker.is_open
        assert "wrongwrongwrong" not in f"{said}{caught.value!r}{caught.value.__context__!r}{breaker!r}"


async def test_a_refused_command_leaves_the_circuit_closed_and_its_arguments_unsaid(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with opened(redis_server.url) as (client, breaker):
        with pytest.raises(StoreError, match=r"^Redis refuses the command \(ResponseError\)$"):
            await breaker.call(client.execute_command, "NOSUCH", "a prompt")
        assert not breaker.is_open


async def test_one_server_of_a_cluster_says_so(redis_cluster: RedisServer) -> None:
    async with opened(redis_cluster.url) as (client, breaker):
        with pytest.raises(StoreError, match=r"redis\+cluster"):
            await breaker.call(client.mget, "a", "b")
        assert not breaker.is_open


async def test_a_breaker_that_is_closed_while_open_asks_no_more() -> None:
    async with opened("redis://127.0.0.1:1") as (client, breaker):
        with pytest.raises(StoreError, match="cannot be reached"):
            await breaker.call(client.get, "a")
        assert breaker.is_open
    assert not breaker.is_open
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "Redis probe"]
