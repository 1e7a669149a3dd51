"""Shares of a limit that are worth a word when they are reached.

A threshold speaks once in a period. It speaks again after the period's reset, or when use has fallen 5 points of a
hundred below it in between, so that use which moves around a threshold does not repeat itself. Of several reached at
once only the highest speaks. Only counts above the lowest threshold are remembered.
"""

import math
from collections.abc import Hashable

import msgspec

THRESHOLDS = (0.75, 0.90, 0.95)

FALL = 0.05
"""How far below a threshold the used share must fall before that speaks again."""

MAX_COUNTS = 10_000
"""Counts remembered; beyond that, the one that has been silent longest is forgotten and may repeat itself."""


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold that was reached: `used` of `amount`, which is at least the share `threshold`.

    `reset_s` (epoch) is when the period ends, None when it has no end.
    """

    threshold: float
    used: int
    amount: int
    reset_s: float | None


class _Said:
    """How many of the thresholds have spoken, and when that is forgotten."""

    __slots__ = ("level", "reset_s")

    def __init__(self, level: int, reset_s: float) -> None:
        self.level = level
        self.reset_s = reset_s


class Thresholds:
    """Which thresholds have spoken for which count. The shares are above 0 and at most 1, else ValueError."""

    __slots__ = ("_most", "_said", "_shares")

    def __init__(self, shares: tuple[float, ...] = THRESHOLDS, *, most: int = MAX_COUNTS) -> None:
        if not all(0 < share <= 1 for share in shares):
            raise ValueError(f"thresholds {shares} are not all above 0 and at most 1")
        self._shares = tuple(sorted(set(shares)))
        self._most = most
        self._said: dict[Hashable, _Said] = {}

    def check(self, key: Hashable, used: int, amount: int, *, reset_s: float | None, now_s: float) -> Crossing | None:
        """The highest threshold that `used` of `amount` has newly reached; None when there is none.

        `reset_s` is the end of a calendar period. Give None for rolling windows, which have no period: something comes
        back to them all the time. A limit of 0 has no shares.
        """
        said = self._said.get(key)
        if said is not None and said.reset_s <= now_s:
            del self._said[key]
            said = None
        level = self._reached(used, amount) if amount > 0 else 0
        if said is not None and level < said.level:
            said.level = max(level, self._reached(used + amount * FALL, amount))
            if not said.level:
                del self._said[key]
        if level <= (said.level if said is not None else 0):
            return None
        end_s = math.inf if reset_s is None else reset_s
        self._remember(key, _Said(level, end_s if said is None else said.reset_s))
        return Crossing(threshold=self._shares[level - 1], used=used, amount=amount, reset_s=reset_s)

    def _reached(self, used: float, amount: int) -> int:
        return sum(used >= share * amount for share in self._shares)

    def _remember(self, key: Hashable, said: _Said) -> None:
        self._said.pop(key, None)
        if len(self._said) >= self._most:
            del self._said[next(iter(self._said))]
        self._said[key] = said

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:.0%}" for share in self._shares)
        return f"<Thresholds {shares}: {len(self._said)} counts above>"
