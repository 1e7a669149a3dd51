"""Virtual time: an event loop that skips the waiting.

When nothing is ready, the loop of asyncio asks its selector to wait until the next timer is due. Here the selector
moves the clock on by that time instead and returns at once. Everything that waits by the loop (`asyncio.sleep`,
`call_later`, `asyncio.timeout`, `asyncio.wait`) works unchanged, and a day passes in seconds.
"""

import asyncio
import math
import selectors

BEGINNING_S = 1000.0
"""What the loop's clock shows at first: not 0, which in a record means that it has been written down."""

_ROUNDING_ULPS = 4


class JumpingSelector(selectors.DefaultSelector):
    """Moves its clock `now_s` on instead of waiting. What other threads or signals send is still seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = BEGINNING_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once. Raise RuntimeError when there is nothing to wait for: then the wait would be for ever."""
        if timeout is not None and timeout <= 0:
            return []
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits and no timer is set: on a virtual clock this never ends")
            self.now_s += timeout
            # A little beyond, so that rounding never leaves the clock just before the timer that it was moved to.
            self.now_s += _ROUNDING_ULPS * math.ulp(self.now_s)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own, which begins at BEGINNING_S and jumps to the next timer."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self._jumping.now_s

    def __repr__(self) -> str:
        return f"<VirtualLoop at {self.time() - BEGINNING_S:.3f} s>"


class VirtualClock:
    """Implements `ports.Clock`, and the simulator's clock, on a virtual loop; `start_s` is its beginning (epoch)."""

    __slots__ = ("_loop", "_offset_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, start_s: float) -> None:
        self._loop = loop
        self._offset_s = start_s - BEGINNING_S

    def monotonic_s(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def epoch_s(self) -> float:
        """Seconds since 1970 in UTC."""
        return self._offset_s + self._loop.time()

    def now(self) -> float:
        """The same under the name that the simulator's keys and limits know."""
        return self.epoch_s()

    def __repr__(self) -> str:
        return f"<VirtualClock {self.epoch_s():.3f}>"
