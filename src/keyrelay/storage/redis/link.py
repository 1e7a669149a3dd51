"""The way to one Redis server for the hot path: it dials, logs in, loads the scripts, and keeps a circuit of its own.

The circuit is closed while a connection is up. The first call that finds no answer opens it, with all calls under way
lost at the same moment; from then on nothing is sent, and nothing waits, until a new connection has answered. That is
tried once per second, give or take a fifth.

A link also knows the server's clock: each answer that tells it bounds the difference to the event loop's clock from
both sides, and the tightest bounds of the last answers hold.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.connection import Connection
from keyrelay.storage.redis.scripts import Script

PROBE_EVERY_S = 1.0
"""How often Redis is asked whether it is back, give or take a fifth."""

HANDSHAKE_S = 1.0
"""Longest time for connecting and loading the scripts; nobody waits for it."""

KEPT_SAMPLES = 20
DEFAULT_PORT = 6379

_PROBE_JITTER = 0.2
_RUN = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_SCHEMES = {"redis": False, "rediss": True, "redis+cluster": False, "rediss+cluster": True}


class Address(msgspec.Struct, frozen=True):
    """Where a Redis server is, and how to log in."""

    host: str
    port: int
    database: int = 0
    user: str = ""
    password: str = ""
    tls: bool = False

    def __repr__(self) -> str:
        return f"<Address {self.host}:{self.port}/{self.database}{' over TLS' if self.tls else ''}>"

    def elsewhere(self, host: str, port: int) -> "Address":
        """Another node of the same cluster; an empty host is this one."""
        return msgspec.structs.replace(self, host=host or self.host, port=port)


def parse_address(url: str) -> Address:
    """Read `redis[s]://[user:password@]host[:port][/database]`, with `+cluster` or without.

    A StoreError, lasting, when it is something else.
    """
    try:
        parts = urlsplit(url)
        tls = _SCHEMES[parts.scheme]
        database = int(parts.path.strip("/") or 0)
        port = parts.port or DEFAULT_PORT
    except (KeyError, ValueError):
        raise StoreError("redis_url is no URL of a Redis", lasting=True) from None
    return Address(
        parts.hostname or "127.0.0.1", port, database, unquote(parts.username or ""), unquote(parts.password or ""), tls
    )


class Link:
    """One server. `listeners` are told when it is up and when it is down, in the same step of the event loop."""

    def __init__(
        self,
        address: Address,
        scripts: dict[str, Script],
        *,
        timeout_s: float,
        random: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self.address = address
        self.connection: Connection | None = None
        self.run = ""
        """Identifies this run of the server: another one may have lost what this one counted."""
        self.openings = 0
        """How often the circuit has opened."""
        self.listeners: list[Callable[[Connection | None], None]] = []
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._random = random
        self._report = report
        self._samples: deque[tuple[float, float]] = deque(maxlen=KEPT_SAMPLES)
        self._down = asyncio.Event()
        self._hurry = False
        self._task: asyncio.Task[None] | None = None
        self.ahead_most_s = self.ahead_s = 0.0
        """How far the server's clock is ahead of the event loop's at most, and about."""

    def __repr__(self) -> str:
        return f"<Link {self.address!r} {'up' if self.connection else 'down'} openings={self.openings}>"

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run(), name="Redis link")

    async def stop(self) -> None:
        """Close the connection and stop trying."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.give_up("stopped")

    def told_time(self, server_us: float, sent_at: float, answered_at: float) -> None:
        """Note what the server's clock said between two readings of the event loop's."""
        server_s = server_us / 1e6
        self._samples.append((server_s - sent_at, server_s - answered_at))
        most = min(sample[0] for sample in self._samples)
        least = max(sample[1] for sample in self._samples)
        if least > most:  # one of the clocks was set: what was said before says nothing any more
            self._samples.clear()
            self._samples.append((server_s - sent_at, server_s - answered_at))
            most, least = self._samples[0]
        self.ahead_most_s, self.ahead_s = most, (most + least) / 2

    def drop(self, reason: str, *, hurry: bool = False) -> None:
        """Give up the connection; with `hurry` the next one is tried at once."""
        self._hurry = hurry
        if self.connection is not None:
            self.connection.give_up(reason)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    await self._dial()
            except (OSError, TimeoutError, StoreError) as error:
                if not self.openings:
                    self.openings = 1
                    self._report(f"Redis cannot be reached ({type(error).__name__}); going on without it")
            else:
                await self._down.wait()
            if not self._hurry:
                await asyncio.sleep(PROBE_EVERY_S * (1 + _PROBE_JITTER * (2 * self._random() - 1)))
            self._hurry = False

    async def _dial(self) -> None:
        """Connect, log in, load the scripts, ask for the time, and tell the listeners."""
        loop, address = asyncio.get_running_loop(), self.address
        self._down.clear()
        _, connection = await loop.create_connection(
            lambda: Connection(loop, timeout_s=self._timeout_s, on_lost=self._lost),
            address.host,
            address.port,
            ssl=ssl.create_default_context() if address.tls else None,
        )
        try:
            if address.password:
                await connection.call("AUTH", *filter(None, (address.user, address.password)))
            if address.database:
                await connection.call("SELECT", address.database)
            info = await connection.call("INFO", "server")
            found = _RUN.search(info) if isinstance(info, bytes) else None
            if found is None:
                raise StoreError("this is not a Redis: it does not know its run")  # noqa: TRY301 - told by `_run`
            await asyncio.gather(*(connection.call("SCRIPT", "LOAD", script.text) for script in self._scripts.values()))
            await self._ask_time(connection, loop)
        except BaseException:
            connection.give_up("the handshake failed")
            raise
        self.run = found[1].decode()
        self.connection = connection
        if self.openings:
            self._report("Redis answers again")
        for listener in tuple(self.listeners):
            listener(connection)

    async def _ask_time(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        sent_at = loop.time()
        answer = await connection.call("TIME")
        if not isinstance(answer, list):
            raise StoreError("this is not a Redis: it does not know the time")
        self._samples.clear()
        self.told_time(int(answer[0]) * 1e6 + int(answer[1]), sent_at, loop.time())

    def _lost(self, connection: Connection, reason: str) -> None:
        """The connection is gone: the circuit is open before anybody can ask again."""
        if connection is not self.connection:
            return
        self.connection = None
        self.openings += 1
        self._report(f"Redis is lost: {reason}; going on without it")
        for listener in tuple(self.listeners):
            listener(None)
        self._down.set()
