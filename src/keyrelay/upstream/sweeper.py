"""One timer for all deadlines of a transport.

A timer per request would cost more than the request's bookkeeping; deadlines need no better precision than one tick.
"""

import asyncio
from collections.abc import Callable


class Sweeper:
    """Calls `sweep(now)` every `interval_s` while it is asked to be quick, else when `sweep` asked to be called.

    `sweep` returns the loop's time at which there is something to do again, or None to be left alone.
    """

    __slots__ = ("_handle", "_interval_s", "_loop", "_sweep", "ticking")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval_s: float, sweep: Callable[[float], float | None]
    ) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self.ticking = False

    def __repr__(self) -> str:
        state = "ticking" if self.ticking else "dormant" if self._handle is not None else "stopped"
        return f"<Sweeper {state}>"

    def start(self) -> None:
        """Tick from now on, until a sweep finds nothing in flight."""
        self.stop()
        self.ticking = True
        self._handle = self._loop.call_later(self._interval_s, self._tick)

    def stop(self) -> None:
        """Cancel the timer."""
        self.ticking = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        now = self._loop.time()
        again_at = self._sweep(now)
        self.ticking = again_at is not None and again_at <= now + self._interval_s
        self._handle = None if again_at is None else self._loop.call_at(again_at, self._tick)
