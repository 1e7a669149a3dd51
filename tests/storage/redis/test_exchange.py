"""Messages between processes over a real Redis: to all and to one, while it is away, and when it comes back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from keyrelay.storage.redis import exchange as module
from keyrelay.storage.redis.exchange import RedisExchange
from tests.servers.fault_proxy import FaultProxy
from tests.servers.redis_server import RedisServer
from tests.storage.redis.waiting import eventually


class Process:
    """One end, and what it was told."""

    def __init__(self, exchange: RedisExchange, name: str) -> None:
        self.exchange = exchange
        self.name = name
        self.heard: list[tuple[str, bytes]] = []
        self.changes: list[str] = []
        self.reports: list[str] = []

    def hear(self, sender: str, message: bytes) -> None:
        self.heard.append((sender, message))

    def said(self) -> list[bytes]:
        """What it has heard but greetings."""
        return [message for _, message in self.heard if not message.startswith(b"hello ")]


@asynccontextmanager
async def joined(prefix: str, *urls: str) -> AsyncIterator[list[Process]]:
    """Processes that all hear each other."""
    async with AsyncExitStack() as stack:
        processes = []
        for number, url in enumerate(urls):
            reports: list[str] = []
            exchange = RedisExchange(url, prefix=prefix, timeout_s=0.1, random=lambda: 0.5, report=reports.append)
            process = Process(exchange, f"hello {number}")
            process.reports = reports
            stack.push_async_callback(exchange.aclose, b"bye %d" % number)
            exchange.start(process.name.encode(), process.hear, process.changes.append)
            processes.append(process)
        await eventually(lambda: all(each.exchange.joined for each in processes), "all are joined")
        yield processes


async def test_each_hears_what_is_said_to_all_and_to_it_alone(url: str, redis_prefix: str) -> None:
    async with joined(redis_prefix, url, url, url) as (one, two, three):
        began_at = time.monotonic()
        assert one.exchange.send(b"\x00all\xff")
        assert one.exchange.send(b"alone", to=two.exchange.address)
        await eventually(lambda: len(two.said()) == 2 and three.said(), "they hear it")
        assert time.monotonic() - began_at < 0.5
        assert two.said() == [b"\x00all\xff", b"alone"]
        assert three.said() == [b"\x00all\xff"]
        assert one.said() == []
        assert {sender for sender, message in two.heard if not message.startswith(b"hello")} == {one.exchange.address}
        assert one.changes == [""]
        assert one.reports == []
        await three.exchange.aclose(b"bye")
        await eventually(lambda: one.said() == two.said()[2:] == [b"bye"], "it says that it leaves")


async def test_what_is_too_large_or_too_much_is_not_taken(redis_url: str, redis_prefix: str) -> None:
    async with joined(redis_prefix, redis_url) as (one,):
        most = module.MAX_MESSAGE_BYTES
        assert not one.exchange.send(b"x" * (most + 1))
        assert [one.exchange.send(b"x" * most) for _ in range(5)] == [True] * 4 + [False]
        await eventually(lambda: one.exchange.send(b"x" * most), "there is room again")


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
async def test_while_redis_is_away_nobody_waits_and_afterwards_all_are_joined(
    own_redis_server: RedisServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELLO_EVERY_S", 0.1)
    monkeypatch.setattr(module, "SILENT_S", 0.4)
    monkeypatch.setattr(module, "_SLACK_S", 0.1)
    async with FaultProxy(int(own_redis_server.url.rpartition(":")[2].partition("/")[0])) as proxy:
        url = own_redis_server.url
        async with joined("test", proxy.url(url), url) as (one, two):
            await proxy.set("refuse" if fault == "refuse" else "blackhole")
            if fault == "refuse":
                proxy.cut()
            await eventually(lambda: not one.exchange.joined, "it is noticed", 2.0)
            began_at = time.monotonic()
            assert not one.exchange.send(b"lost")
            assert time.monotonic() - began_at < 0.01
            await asyncio.sleep(0.3)
            assert [bool(text) for text in one.changes] == [False, True]
            assert two.changes == [""]
            assert one.exchange.problem == one.changes[1]
            await proxy.set("pass")
            await eventually(lambda: one.exchange.joined, "it is joined again")
            assert two.exchange.send(b"once more")
            await eventually(lambda: one.said() == [b"once more"], "it hears again")
            assert one.changes[2:] == [""]
            assert [text.rpartition("; ")[2] for text in one.reports] == [
                "other hosts are not heard of for now",
                "other hosts are heard of again",
            ]
            assert b"lost" not in two.said()


async def test_a_redis_that_keeps_subscribers_out_is_said_and_fails_nothing(own_redis_server: RedisServer) -> None:
    own_redis_server.command("acl", "setuser", "app", "on", ">sk-test-word", "~*", "+@all", "resetchannels")
    url = own_redis_server.url.replace("redis://", "redis://app:sk-test-word@")
    reports: list[str] = []
    exchange = RedisExchange(url, prefix="test", timeout_s=0.1, random=lambda: 0.5, report=reports.append)
    exchange.start(b"hello", lambda *_: None, lambda _: None)
    try:
        await eventually(lambda: reports, "it is said")
        assert "does not permit" in exchange.problem
        assert not exchange.send(b"anything")
    finally:
        await exchange.aclose(b"bye")
