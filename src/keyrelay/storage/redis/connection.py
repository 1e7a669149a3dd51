"""One connection to Redis for the hot path: commands packed by the caller, answers in their order, nothing in between.

Every command sent in the same iteration of the event loop goes out in one write. Answers come in the order of the
commands, so each takes the oldest call that waits; a call whose caller has gone away stays in its place, and so its
answer can never go to another. One timer watches the oldest call: when that has waited for longer than its deadline,
or the connection breaks, all calls under way are lost at the same moment, in one step of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from hiredis import ProtocolError, Reader, ReplyError, pack_command

from keyrelay.core.errors import StoreError

MAX_CALLS = 100_000
"""Calls under way on one connection; one more, and the connection is given up."""

LAST_LOOK_S = 0.01
"""After the deadline the socket is read once more: the loop itself may have been late."""


class Call:
    """What becomes of a command under way. For each, either `replied` or `lost` is called, once; neither may raise."""

    __slots__ = ()

    def replied(self, reply: object) -> None:
        """Redis has answered: an int, bytes, None, a list of these, or a `ReplyError` as a value."""
        raise NotImplementedError

    def lost(self) -> None:
        """No answer will come; the command may or may not have been carried out."""
        raise NotImplementedError


class Awaited(Call):
    """A call that somebody waits for; StoreError when it is lost or refused."""

    __slots__ = ("answer",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[object] = loop.create_future()

    def replied(self, reply: object) -> None:
        """Wake whoever waits."""
        if self.answer.done():
            return
        if isinstance(reply, ReplyError):
            self.answer.set_exception(StoreError(f"Redis refuses a command: {error_code(reply)}"))
        else:
            self.answer.set_result(reply)

    def lost(self) -> None:
        """Wake whoever waits, with the bad news."""
        if not self.answer.done():
            self.answer.set_exception(StoreError("the connection to Redis was lost"))


class Connection(asyncio.Protocol):
    """An open connection. `on_lost` is told the reason before the calls under way are told."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, timeout_s: float, on_lost: Callable[["Connection", str], None]
    ) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._calls: deque[tuple[float, Call]] = deque()
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Connection {'closed' if self._closed else 'open'} calls={len(self._calls)}>"

    def send(self, data: bytes, call: Call) -> None:
        """Send a packed command at the end of this iteration of the loop."""
        if self._closed:
            call.lost()
            return
        if len(self._calls) >= MAX_CALLS:
            self.give_up("too many calls are under way")
            call.lost()
            return
        due_at = self._loop.time() + self._timeout_s
        self._calls.append((due_at, call))
        if self._timer is None:
            self._timer = self._loop.call_at(due_at, self._look)
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(data)

    async def call(self, *words: str | bytes | float) -> object:
        """Execute one command; StoreError when it fails."""
        call = Awaited(self._loop)
        self.send(pack_command(words), call)  # type: ignore[arg-type] # its stub names a tuple of one
        return await call.answer

    def give_up(self, reason: str) -> None:
        """Drop the connection; every call under way is lost."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        calls, self._calls = self._calls, deque()
        self._on_lost(self, reason)
        for _, call in calls:
            call.lost()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses

    def data_received(self, data: bytes) -> None:
        """Hand out answers."""
        reader, calls = self._reader, self._calls
        reader.feed(data)
        try:
            reply = reader.gets()
            while reply is not False:
                if not calls:
                    self.give_up("it answers what nobody asked")
                    return
                calls.popleft()[1].replied(reply)
                if self._closed:
                    return
                reply = reader.gets()
        except ProtocolError:
            self.give_up("its answer is not that of a Redis")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason is the same for its users
        """The other side is gone."""
        self.give_up("the connection was lost")

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self._closed and self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _look(self, *, last: bool = False) -> None:
        """See whether the oldest call is overdue."""
        self._timer = None
        if not self._calls:
            return
        due_at, now = self._calls[0][0], self._loop.time()
        if due_at > now:
            self._timer = self._loop.call_at(due_at, self._look)
        elif last:
            self.give_up("it does not answer in time")
        else:
            self._timer = self._loop.call_later(LAST_LOOK_S, lambda: self._look(last=True))


def error_code(error: ReplyError) -> str:
    """The first word of an error, such as NOSCRIPT; the rest may quote arguments."""
    return str(error).partition(" ")[0]
