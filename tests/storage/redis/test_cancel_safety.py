"""Calls that are given up at any moment: nobody gets another's answer, no cancellation is lost, no connection leaks."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.client import Breaker, Client, open_client
from tests.servers.fault_proxy import FaultProxy
from tests.servers.redis_server import RedisServer

CALLERS = 24
CALLS = 60
ONE_IN = 4
"""So many calls are given up."""


class Outcomes:
    """What became of the calls."""

    def __init__(self) -> None:
        self.right = 0
        self.wrong: list[tuple[str, object]] = []
        self.cancelled = 0
        self.not_cancelled = 0
        self.failed = 0


async def storm(
    call: Callable[[str], Awaitable[object]], outcomes: Outcomes, source: random.Random, longest_s: float
) -> None:
    """Read values of one's own, one after another, and give up now and then within so many seconds."""
    for _ in range(CALLS):
        name = f"canary:{source.randrange(1000)}"
        reading = asyncio.ensure_future(call(name))
        gives_up = source.randrange(ONE_IN) == 0
        if gives_up:
            await asyncio.sleep(source.random() * longest_s)
            gives_up = reading.cancel()
        try:
            value = await reading
        except asyncio.CancelledError:
            outcomes.cancelled += 1
        except StoreError:
            outcomes.failed += 1
        else:
            outcomes.not_cancelled += gives_up
            if value == name.encode():
                outcomes.right += 1
            else:
                outcomes.wrong.append((name, value))


@pytest.mark.parametrize("kind", ["server", "with password", "cluster"])
async def test_nobody_gets_what_another_asked_for(kind: str, request: pytest.FixtureRequest) -> None:
    server: RedisServer = request.getfixturevalue("redis_cluster" if kind == "cluster" else "own_redis_server")
    url = server.url
    if kind == "with password":
        server.command("config", "set", "requirepass", "sk-test-password")
        url = url.replace("redis://", "redis://:sk-test-password@")
    if kind == "cluster":
        url = url.replace("redis://", "redis+cluster://")
    client = open_client(url, timeout_s=1.0, max_connections=8 if kind != "cluster" else 64)
    breaker = Breaker(client, timeout_s=1.0, random=lambda: 0.5, report=lambda _: None)
    outcomes = Outcomes()
    try:
        for number in range(1000):
            await breaker.call(client.set, f"canary:{number}", f"canary:{number}")

        def read(name: str) -> Awaitable[object]:
            return breaker.call(client.get, name)

        sources = [random.Random(number) for number in range(CALLERS)]
        await asyncio.gather(*(storm(read, outcomes, source, 0.002) for source in sources))
        assert outcomes.wrong == []
        assert outcomes.not_cancelled == 0
        assert outcomes.cancelled > 0
        assert outcomes.right + outcomes.cancelled == CALLERS * CALLS
        assert await asyncio.gather(*(read(f"canary:{number}") for number in range(8))) == [
            f"canary:{number}".encode() for number in range(8)
        ]
    finally:
        await breaker.aclose()
        await client.aclose()


async def test_a_login_that_was_given_up_leaves_no_answer_to_the_next_call(own_redis_server: RedisServer) -> None:
    own_redis_server.command("config", "set", "requirepass", "sk-test-password")
    async with FaultProxy(own_redis_server.port) as proxy:
        url = proxy.url(own_redis_server.url).replace("redis://", "redis://:sk-test-password@")
        client = open_client(url, timeout_s=2.0, max_connections=1)
        proxy.latency_s = 0.05
        given_up = asyncio.create_task(read(client))
        await asyncio.sleep(0.03)
        given_up.cancel()
        await asyncio.wait((given_up,))
        assert await client.get("a") is None
        await client.aclose()


async def read(client: Client) -> object:
    return await client.get("b")
