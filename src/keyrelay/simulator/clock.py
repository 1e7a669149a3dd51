"""The clock on which the simulator counts its limits. Delays on the wire are always real time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the simulated providers what time it is."""

    def now(self) -> float:
        """Epoch seconds; never goes back."""
        ...


class RealClock:
    """The wall clock as it was at the start, moved on by the monotonic clock times `scale`."""

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._wall = time.time()
        self._monotonic = time.monotonic()

    def now(self) -> float:
        """Epoch seconds."""
        return self._wall + (time.monotonic() - self._monotonic) * self._scale


class VirtualClock:
    """Stands still at `start` (epoch seconds) until somebody advances it."""

    def __init__(self, start: float) -> None:
        self._now = start

    def now(self) -> float:
        """Epoch seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move on by `seconds` and return the new time; a clock does not go back."""
        if seconds < 0:
            raise ValueError("a virtual clock only moves forward")
        self._now += seconds
        return self._now
