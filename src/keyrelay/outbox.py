"""Small writes of one turn of the event loop, made one right behind the other.

uvloop calls `write(2)` at once, and whoever that wakes has dealt with it and sleeps again before the next one comes: so
each write is a wake-up, which costs the writer as much as all the rest of it. Right behind one another they find the
reader awake. Nothing waits long: for a few others, or for the end of the turn, which at little load is now.

What has to be kept before something is sent can so be written for all of them at once, too.
"""

import asyncio
from collections.abc import Callable
from typing import Final

MAX_WAITING: Final = 64
"""So many writes are made without waiting for the end of the turn: more together hardly cost less, but come later."""


MOST_BYTES: Final = 16_384
"""What is larger goes out at once, behind what waits: later it would have to be fetched from memory again."""


class Outbox:
    """Takes small writes to any transports, for one event loop at a time; calls `prepare` before each few of them."""

    __slots__ = ("_prepare", "_waiting")

    def __init__(self, prepare: Callable[[], None] | None = None) -> None:
        self._prepare = prepare
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write before anything that is scheduled from now on; not at all if the transport is closing by then."""
        if len(data) > MOST_BYTES:
            self.flush()
            if not transport.is_closing():
                transport.write(data)
            return
        waiting = self._waiting
        if not waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        waiting.append((transport, data))
        if len(waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits now: before a transport is closed, or written to in another way."""
        if self._prepare is not None:
            self._prepare()
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)

    def __repr__(self) -> str:
        return f"<Outbox {len(self._waiting)} waiting>"
