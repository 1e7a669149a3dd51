import asyncio
from collections.abc import AsyncIterator

import pytest

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.connection import Connection
from keyrelay.storage.redis.link import Address, Link, parse_address
from keyrelay.storage.redis.scripts import read_scripts
from tests.servers.guarded import free_port
from tests.servers.redis_server import RedisServer


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", Address("localhost", 6379)),
        ("redis://:p%40ss@h:1/3", Address("h", 1, 3, "", "p@ss")),
        ("rediss://user:sk-test@h/0", Address("h", 6379, 0, "user", "sk-test", tls=True)),
        ("redis+cluster://[::1]:7000", Address("::1", 7000)),
    ],
)
def test_addresses_are_read(url: str, address: Address) -> None:
    assert parse_address(url) == address
    assert "sk-test" not in repr(parse_address(url))


@pytest.mark.parametrize("url", ["http://h", "h:6379", "redis://h/x", "redis://h:99999"])
def test_what_is_no_address_is_said_without_quoting_it(url: str) -> None:
    with pytest.raises(StoreError, match=r"^redis_url is no URL of a Redis$") as caught:
        parse_address(url)
    assert caught.value.lasting


def test_another_node_is_reached_with_the_same_password() -> None:
    address = Address("h", 1, 0, "user", "sk-test", tls=True)
    assert address.elsewhere("", 2) == Address("h", 2, 0, "user", "sk-test", tls=True)
    assert address.elsewhere("i", 2).host == "i"


class Watched:
    """A link, and what it says."""

    def __init__(self, url: str) -> None:
        self.said: list[str] = []
        self.up = asyncio.Event()
        self.link = Link(parse_address(url), read_scripts(), timeout_s=0.1, random=lambda: 0.0, report=self.said.append)
        self.link.listeners.append(self._changed)

    def _changed(self, connection: Connection | None) -> None:
        if connection is None:
            self.up.clear()
        else:
            self.up.set()


@pytest.fixture
async def opened() -> AsyncIterator[list[Watched]]:
    watched: list[Watched] = []
    yield watched
    for one in watched:
        await one.link.stop()


def watch(url: str, opened: list[Watched]) -> Watched:
    watched = Watched(url)
    opened.append(watched)
    watched.link.start()
    return watched


async def test_it_logs_in_and_knows_run_and_time(own_redis_server: RedisServer, opened: list[Watched]) -> None:
    own_redis_server.command("config", "set", "requirepass", "sk-test-password")
    watched = watch(own_redis_server.url.replace("redis://", "redis://:sk-test-password@"), opened)
    async with asyncio.timeout(2):
        await watched.up.wait()
    assert len(watched.link.run) == 40
    assert watched.link.connection is not None
    time = await watched.link.connection.call("TIME")
    assert isinstance(time, list)
    told_s = int(time[0]) + int(time[1]) / 1e6
    now_at = asyncio.get_running_loop().time()
    assert told_s - 0.05 < now_at + watched.link.ahead_s <= now_at + watched.link.ahead_most_s < told_s + 0.05
    assert "sk-test" not in repr(watched.link)
    assert watched.said == []


async def test_it_comes_back(own_redis_server: RedisServer, opened: list[Watched]) -> None:
    watched = watch(own_redis_server.url, opened)
    async with asyncio.timeout(5):
        await watched.up.wait()
        own_redis_server.kill()
        while watched.up.is_set():  # noqa: ASYNC110 - Redis ends outside of this loop
            await asyncio.sleep(0.01)
        own_redis_server.start()
        await watched.up.wait()
    assert watched.said == [
        "Redis is lost: the connection was lost; going on without it",
        "Redis answers again",
    ]
    assert watched.link.openings == 1


async def test_it_says_once_that_nothing_is_there(opened: list[Watched]) -> None:
    watched = watch(f"redis://127.0.0.1:{free_port()}", opened)
    await asyncio.sleep(1.0)
    assert watched.said == ["Redis cannot be reached (ConnectionRefusedError); going on without it"]


async def test_a_clock_that_was_set_is_believed_at_once() -> None:
    link = Watched("redis://h").link
    link.told_time(100_000_000, 10.0, 10.2)
    assert (link.ahead_most_s, round(link.ahead_s, 6)) == (90.0, 89.9)
    link.told_time(100_950_000, 11.0, 11.01)
    assert (round(link.ahead_most_s, 6), round(link.ahead_s, 6)) == (89.95, 89.945)
    link.told_time(50_000_000, 12.0, 12.02)
    assert (link.ahead_most_s, round(link.ahead_s, 6)) == (38.0, 37.99)
