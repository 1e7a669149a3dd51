"""Messages between all processes that share a Redis: told as they come (publish and subscribe), and kept nowhere.

Each process hears what is said to all and what is said to it alone. Again and again it says who it is, and that it
hears itself say so is the proof that both ways work. When it does not for a while, or a call fails, it is apart:
what waits is let go of, nothing more is taken, and a connection is tried again and again. Nobody ever waits for Redis.

In a cluster a message reaches all nodes whichever it is given to, so neither slots nor their moving matter. Only
processes of the same version hear each other: the channels have it in their names.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio.client import PubSub

from keyrelay import __version__
from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.client import REDIS_ERRORS, end, open_client, passing_cancellation, store_error

HELLO_EVERY_S = 2.0
"""How often each process says who it is."""

SILENT_S = 5.0
"""After so long without hearing itself a process is apart."""

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Bytes of messages that wait to be sent; what is beyond them is not sent."""

RETRY_S = (0.1, 2.0)
"""Between these, at random and doubling, are the waits before trying again."""

_ADDRESS_BYTES = 8
_SLACK_S = 1.0  # nobody waits for these calls, so they may take longer than those of requests
_CLOSE_S = 0.5

T = TypeVar("T")


class RedisExchange:
    """Implements `api.hosts.Exchange`. `prefix` begins the names of its channels.

    `random` returns a number in [0, 1); `report` gets a sentence when it is apart and when it is joined again.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        timeout_s: float,
        random: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._client = open_client(url, timeout_s=timeout_s + _SLACK_S, max_connections=2)
        self._timeout_s = timeout_s + _SLACK_S
        self._random = random
        self._report = report
        self._channel = f"{prefix}:hosts:{__version__}"
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._woken, self._said = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hello = b""
        self._receive: Callable[[str, bytes], None] | None = None
        self._changed: Callable[[str], None] | None = None
        self.address = secrets.token_hex(_ADDRESS_BYTES)
        """This process, new at each start."""
        self.joined = False
        """Whether the others can be reached."""
        self.problem = ""
        """Why they cannot, in words; empty before that is known."""

    def __repr__(self) -> str:
        return f"<RedisExchange {'joined' if self.joined else 'apart'}, {len(self._waiting)} waiting>"

    def start(self, hello: bytes, receive: Callable[[str, bytes], None], changed: Callable[[str], None]) -> None:
        """Begin; Redis need not be there yet.

        `hello` is said again and again; `receive` gets what others say, with their addresses. `changed` is told the
        problem when the others cannot be reached any more, and the empty text when they can again. None may raise.
        """
        self._hello, self._receive, self._changed = hello, receive, changed
        self._begin(0.0)

    def send(self, message: bytes, to: str = "") -> bool:
        """Say something to all, or to one address; False when it will not be said. Neither waits nor raises."""
        size = len(message)
        if not self.joined or size > MAX_MESSAGE_BYTES or self._waiting_bytes + size > MAX_WAITING_BYTES:
            return False
        self._put(message, to)
        return True

    async def aclose(self, last_word: bytes = b"") -> None:
        """Say a last word, if Redis takes it at once, and leave."""
        task, self._task = self._task, None
        if task is not None:
            if self.joined and last_word:
                self._put(last_word, "")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_S):
                        await self._said.wait()
            await end((task,))
        await self._client.aclose()

    def _put(self, message: bytes, to: str) -> None:
        channel = f"{self._channel}:{to}" if to else self._channel
        self._waiting.append((channel, self.address.encode() + message))
        self._waiting_bytes += len(message)
        self._woken.set()
        self._said.clear()

    def _begin(self, after_s: float) -> None:
        task = self._task = asyncio.create_task(self._keep(after_s), name="exchange")

        def ended(_: asyncio.Task[None]) -> None:
            """Should an error of ours end it, it is said, and the work goes on."""
            if not task.cancelled() and self._task is task:
                self._lose(f"it failed with {type(task.exception()).__name__}")
                self._begin(RETRY_S[1])

        task.add_done_callback(ended)

    async def _keep(self, after_s: float) -> None:
        """Listen and talk for ever: after an error wait, longer each time, and begin again."""
        await asyncio.sleep(after_s)
        wait_s, most_s = RETRY_S
        while True:
            try:
                await self._take_part()
            except StoreError as error:
                if self.joined:
                    wait_s = RETRY_S[0]
                self._lose(str(error))
            await asyncio.sleep(wait_s * (0.5 + self._random()))
            wait_s = min(2 * wait_s, most_s)

    async def _take_part(self) -> None:
        """Listen and talk until either fails. Raise StoreError."""
        await self._timed(self._client.initialize())  # a cluster finds its nodes by it
        channels = self._client.pubsub(ignore_subscribe_messages=True)
        talking: asyncio.Task[None] | None = None
        try:
            await self._timed(channels.subscribe(self._channel, f"{self._channel}:{self.address}"))
            talking = asyncio.create_task(self._talk(), name="exchange: talking")
            await self._listen(channels, talking)
        finally:
            if talking is not None:
                await end((talking,))
                if not talking.cancelled():
                    talking.exception()  # known by now, or of no matter beside the other one
            await channels.aclose()  # type: ignore[no-untyped-call]  # redis-py's

    async def _listen(self, channels: PubSub, talking: "asyncio.Task[None]") -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + SILENT_S
        while not talking.done():
            message = await self._heard(channels)
            data: bytes = b"" if message is None else message["data"]
            sender = data[: 2 * _ADDRESS_BYTES].decode("latin-1")
            if sender == self.address:
                give_up_at = loop.time() + SILENT_S
                self._find()
            elif loop.time() > give_up_at:  # others may be heard all the same: it goes one way only
                raise StoreError("Redis does not pass messages on")
            elif sender and self._receive is not None:
                self._receive(sender, data[2 * _ADDRESS_BYTES :])
        talking.result()

    async def _heard(self, channels: PubSub) -> Any:
        """The next message; None when there was none for a while."""
        try:
            return await passing_cancellation(channels.get_message(timeout=HELLO_EVERY_S / 2))
        except REDIS_ERRORS as error:
            raise store_error(error) from None

    async def _talk(self) -> None:
        """Say who this is, now and again, and what waits."""
        loop = asyncio.get_running_loop()
        hello_at = loop.time()
        while True:
            if loop.time() >= hello_at:
                hello_at = loop.time() + HELLO_EVERY_S
                self._put(self._hello, "")
            while self._waiting:
                channel, message = self._waiting[0]
                await self._timed(self._client.publish(channel, message))
                self._waiting.popleft()
                self._waiting_bytes -= len(message) - 2 * _ADDRESS_BYTES
            self._woken.clear()
            self._said.set()
            try:
                async with asyncio.timeout_at(hello_at):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _timed(self, command: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await passing_cancellation(command)
        except REDIS_ERRORS as error:
            raise store_error(error) from None

    def _lose(self, why: str) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        known, self.joined = bool(self.problem), False
        self.problem = why
        if not known:
            self._report(f"{why}; other hosts are not heard of for now")
            if self._changed is not None:
                self._changed(why)

    def _find(self) -> None:
        if self.joined:
            return
        self.joined = True
        known, self.problem = bool(self.problem), ""
        if known:
            self._report("other hosts are heard of again")
        if self._changed is not None:
            self._changed("")
