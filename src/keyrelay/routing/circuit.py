"""A circuit: takes a failing provider or key out of the rotation, and lets one request find out when it is back.

It opens after some failures in a row, or when at least half of a fair number of recent requests failed. It
stays open longer each time it opens again, within a bound, and the end is jittered so that several processes do
not come back at once. When it is half open exactly one probe passes.

`changed` is called when it opens or closes and when a probe begins or ends without a result, never for an answer that
changes nothing. What another worker found goes in by `take_over`, of which `changed` is not told.
"""

import math
from collections.abc import Callable

import msgspec

_COUNT_WINDOW_S = 10.0
_FAIR_NUMBER = 20
_JITTER = 0.2
_PROBE_LEASE_S = 120.0
_SUSPECT_AFTER = 2


class CircuitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`failures` in a row open it, for `open_s` times the number of openings, at most `open_max_s`."""

    failures: int = 5
    open_s: float = 30.0
    open_max_s: float = 300.0


class CircuitState(msgspec.Struct, frozen=True, kw_only=True):
    """What others need to know of an open circuit: for how long it lets nothing pass, and whether a probe is out."""

    openings: int
    open_for_s: float
    reason: str
    probing: bool = False


class Circuit:
    """State of one circuit. Times are epoch seconds."""

    __slots__ = (
        "_counted_since_s",
        "_good",
        "_in_a_row",
        "_openings",
        "_probe_since_s",
        "_settings",
        "bad",
        "changed",
        "name",
        "open_until_s",
        "reason",
    )

    def __init__(
        self, name: str, settings: CircuitSettings, changed: "Callable[[Circuit], None] | None" = None
    ) -> None:
        self.name = name
        self.changed = changed
        self._settings = settings
        self._in_a_row = 0
        self._good = 0
        self.bad = 0
        self._counted_since_s = 0.0
        self._openings = 0
        self._probe_since_s = -math.inf
        self.open_until_s = 0.0
        self.reason = ""

    @property
    def closed(self) -> bool:
        """Whether requests pass freely."""
        return not self._openings

    @property
    def suspect(self) -> bool:
        """Whether the last requests failed: trying again here may add to an outage."""
        return self._in_a_row >= _SUSPECT_AFTER or bool(self._openings)

    def admits(self, now_s: float) -> bool:
        """Whether one more request may pass now."""
        if not self._openings:
            return True
        return now_s >= self.open_until_s and now_s >= self._probe_since_s + _PROBE_LEASE_S

    def begin(self, now_s: float) -> None:
        """Note that a request passes: when half open it is the probe."""
        if self._openings:
            self._probe_since_s = now_s
            self._tell()

    def release(self) -> None:
        """Note that a request ended without saying anything about the provider (the caller left)."""
        if self._probe_since_s > -math.inf:
            self._probe_since_s = -math.inf
            self._tell()

    def succeeded(self) -> None:
        """Note an answer, whatever it said: the provider is there. Nothing changes while none has been `bad`."""
        self._in_a_row = 0
        self._good += 1
        if self._openings:
            self._close()
            self._tell()

    def failed(self, now_s: float, reason: str, random: Callable[[], float]) -> None:
        """Note a failure of the provider; `random` returns a number in [0, 1)."""
        self._roll(now_s)
        self._in_a_row += 1
        self.bad += 1
        half_bad = self.bad + self._good >= _FAIR_NUMBER and self.bad >= self._good
        if self._openings or self._in_a_row >= self._settings.failures or half_bad:
            self._open(now_s, reason, random())

    def _open(self, now_s: float, reason: str, random: float) -> None:
        if self._openings and now_s < self.open_until_s:
            return  # a request that had been sent before it opened
        self._openings += 1
        base_s = min(self._settings.open_s * self._openings, self._settings.open_max_s)
        self.open_until_s = now_s + base_s * (1 + _JITTER * (2 * random - 1))
        self._probe_since_s = -math.inf
        self.reason = reason
        self._tell()

    def state(self, now_s: float) -> CircuitState | None:
        """What others need to know of it; None while it is closed."""
        if not self._openings:
            return None
        return CircuitState(
            openings=self._openings,
            open_for_s=max(0.0, self.open_until_s - now_s),
            reason=self.reason,
            probing=self._probe_since_s > -math.inf,
        )

    def take_over(self, state: CircuitState | None, at_s: float) -> None:
        """Be as another worker found it at `at_s`."""
        if state is None:
            self._in_a_row = 0
            self._close()
            return
        self._openings = state.openings
        self.open_until_s = at_s + state.open_for_s
        self._probe_since_s = at_s if state.probing else -math.inf
        self.reason = state.reason
        self.bad = max(self.bad, 1)  # so that the next success is noted

    def _close(self) -> None:
        self._openings = 0
        self._probe_since_s = -math.inf
        self.bad = self._good = 0
        self.reason = ""

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed(self)

    def _roll(self, now_s: float) -> None:
        """Begin to count anew, at a failure, when the last count is old."""
        if not 0 <= now_s - self._counted_since_s < _COUNT_WINDOW_S:
            self._counted_since_s = now_s
            self._good = self.bad = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"open until {self.open_until_s:.1f} (opening {self._openings})"
        return f"<Circuit {self.name} {state}>"
