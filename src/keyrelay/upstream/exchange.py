"""One call and its answer, between the connection that fills it and the engine that reads it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from keyrelay.ports import Fault, UpstreamCall
from keyrelay.upstream.answer_heads import parse_fields

_END_WAIT_S: Final = 1.0


class Carrier(Protocol):
    """What an exchange needs of the connection that it runs on."""

    loop: asyncio.AbstractEventLoop
    reading_paused: bool

    def fail(self, fault: Fault) -> None:
        """End the exchange with a fault and drop the connection."""

    def resume_reading(self) -> None:
        """Take bytes again after the stream's buffer was full."""


class Exchange:
    """The transport's `UpstreamAnswer`.

    Underneath: `arrived` is resolved once, at the head of a stream or at the end of anything else. `pieces` hold
    `size` bytes of body that nobody has read yet. `connection` is None before and after. `stale` says that a
    connection that had been used before was lost before the first byte of this answer. `streams`: a 200 is a stream,
    whatever its type. What is the same at first stands in the class.
    """

    status = 0
    head = b""
    body = b""
    streaming = False
    streams = False
    fault: Fault | None = None
    tap: Callable[[bytes], bool] | None = None
    size = 0
    stale = False
    waiting: asyncio.Future[None] | None = None
    _fields: Mapping[str, str] | None = None

    def __init__(self, call: UpstreamCall, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline_at = call.first_byte_at
        self.total_at = call.total_at
        self.max_body_bytes = call.max_body_bytes
        if call.streams:
            self.streams = True
        self.pieces: list[bytes] = []
        self.arrived: asyncio.Future[None] = loop.create_future()
        self.connection: Carrier | None = None

    def __repr__(self) -> str:
        state = "failed" if self.fault is not None else "ended" if self.connection is None else "running"
        return f"<Exchange {self.status or 'no answer yet'} {state} buffered={self.size}>"

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields under lower-case names, read from the head when first asked for."""
        if self._fields is None:
            self._fields = parse_fields(self.head)
        return self._fields

    @headers.setter
    def headers(self, fields: Mapping[str, str]) -> None:
        """The port declares a plain attribute."""
        self._fields = fields

    async def read(self) -> bytes:
        """Return what has arrived, at least one byte; empty at the end, which was clean unless `fault` is set.

        For one reader at a time. Waiting ends with a `timeout` fault when `deadline_at` has passed.
        """
        pieces = self.pieces
        if not pieces:
            connection = self.connection
            if connection is None:
                return b""
            self.waiting = waiting = connection.loop.create_future()
            await waiting
            if not pieces:
                return b""
        data = self._take()
        if self.connection is not None and self.connection.reading_paused:
            self.connection.resume_reading()
        return data

    def release(self) -> None:
        """Let go of a stream whose last event has been read.

        The end of its body is often a packet of its own. Dropping the connection for that would cost the next call a
        handshake, so a moment is left for it to come; what else comes is not read.
        """
        if self.connection is not None:
            self.pieces.clear()
            self.size = 0
            self.total_at = min(self.total_at, self.connection.loop.time() + _END_WAIT_S)
            if self.connection.reading_paused:
                self.connection.resume_reading()

    def close(self) -> None:
        """Let go of the answer; drops the connection unless the answer has ended."""
        if self.connection is not None:
            self.connection.fail(Fault(kind="network", message="the answer was closed before its end"))

    def overdue(self, now: float) -> bool:
        """Whether a deadline has passed; that of a stream's next bytes counts only while somebody waits for them."""
        if now >= self.total_at:
            return True
        return now >= self.deadline_at and (not self.streaming or self.reading)

    @property
    def reading(self) -> bool:
        """Whether somebody waits in `read`."""
        return self.waiting is not None and not self.waiting.done()

    def hand_over(self) -> None:
        """Give what has arrived to the tap, or to the reader of a stream."""
        tap = self.tap
        if tap is None or not self.reading:
            self.wake()
            return
        data = self._take()
        if not tap(data):
            self.tap = None
            self.wake()

    def _take(self) -> bytes:
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.size = 0
        return data

    def wake(self) -> None:
        """Wake the reader of a stream."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    def finish(self) -> None:
        """The answer is complete."""
        self.connection = None
        if self.streaming:
            self.wake()
        else:
            if len(self.pieces) != 1:
                self.pieces = [b"".join(self.pieces)]
            self.body = self.pieces[0]
        if not self.arrived.done():
            self.arrived.set_result(None)

    def fail(self, fault: Fault) -> None:
        """The answer will not become complete; what a stream has buffered can still be read."""
        self.connection = None
        self.fault = fault
        self.wake()
        if not self.arrived.done():
            self.arrived.set_result(None)
