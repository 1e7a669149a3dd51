"""One window of limits as a worker sees it that shares it through Redis.

Lists of six hold amounts in the order of `UNIT_ORDER`, as the scripts have them. Times are microseconds by Redis's
clock. `key` is the window's key in Redis, less the epoch that all keys of the partition begin with.
"""

import hashlib
import math
from collections import deque

from keyrelay.core.limits import CALENDAR_KINDS, Limit, ScopePart, Unit, WindowKind
from keyrelay.quota.calendars import expiry_s, period_bounds
from keyrelay.quota.ledger import WindowKey
from keyrelay.quota.packed import INPUT_TOKEN, OUTPUT_TOKEN, PLACES, UNIT, USD_MICRO, amount_at
from keyrelay.quota.values import Amounts, LimitKey
from keyrelay.storage.redis.own_use import OwnUse

UNIT_ORDER = (
    Unit.REQUESTS,
    Unit.INPUT_TOKENS,
    Unit.OUTPUT_TOKENS,
    Unit.TOKENS,
    Unit.USD_MICROS,
    Unit.UNITS,
)
UNIT_INDEX = {unit: index for index, unit in enumerate(UNIT_ORDER)}

ROLLING, CALENDAR, ONCE, CONCURRENT = 1, 2, 3, 4
"""Kinds of windows as the scripts number them."""

SPANS = 1000
"""A slot of a rolling window holds what came within one of so many equal parts of it."""

LEASE_S = 30.0
"""How long a lease counts in Redis after it was last renewed."""

MICROS = 1_000_000
NO_LIMIT = -1
_CALENDAR_SPAN_US = MICROS


class WindowHold:
    """A window: what it is, what the worker has set aside of it, what it used by itself, and what all have used."""

    __slots__ = (
        "end_us",
        "ended_samples",
        "expires_us",
        "flying",
        "flying_own",
        "identity",
        "key",
        "kind",
        "length_us",
        "limits",
        "listed_at",
        "next_end_us",
        "own",
        "released",
        "set_aside",
        "shared",
        "shared_at",
        "span_us",
        "start_us",
        "touched_at",
    )

    def __init__(self, identity: WindowKey) -> None:
        window = identity[0]
        self.identity = identity
        self.key = _digest(identity)
        self.kind = _kind(window.kind)
        self.length_us = math.ceil(window.length_s * MICROS)
        self.span_us = max(1, self.length_us // SPANS) if self.kind == ROLLING else _CALENDAR_SPAN_US
        expires_s = expiry_s(window) if self.kind == ONCE else math.inf
        self.expires_us = 0 if math.isinf(expires_s) else int(expires_s * MICROS)
        self.start_us = self.end_us = self.next_end_us = 0
        self.limits = [NO_LIMIT] * 6
        self.set_aside = [0] * 6
        self.own = OwnUse(self.span_us)
        self.flying = self.flying_own = 0
        """Leases under way, and those of them that the worker has taken on its own word."""
        self.shared = [0] * 6
        self.shared_at = -math.inf
        """When Redis last said what is used (`shared`), by the event loop's clock; the next two are such readings."""
        self.touched_at = -math.inf
        self.listed_at = -math.inf
        self.released: str | None = None
        """The key of the period before, in which something may still be set aside."""
        self.ended_samples: deque[tuple[float, int]] = deque(maxlen=8)

    def __repr__(self) -> str:
        window, _, bound = self.identity
        return f"<WindowHold {window} {'/'.join(bound)} set_aside={self.set_aside} shared={self.shared} {self.own!r}>"

    def turn(self, now_us: int) -> bool:
        """Enter the calendar period that holds `now_us`; return whether it is another one than before."""
        if self.kind != CALENDAR or self.start_us <= now_us < self.end_us:
            return False
        self.released = self.name if any(self.set_aside) else None
        window = self.identity[0]
        start_s, end_s = period_bounds(now_us / MICROS, window)
        _, next_end_s = period_bounds(end_s, window)
        self.start_us, self.end_us, self.next_end_us = (int(at_s * MICROS) for at_s in (start_s, end_s, next_end_s))
        self.set_aside = [0] * 6
        self.shared_at = -math.inf
        self.ended_samples.clear()
        return True

    @property
    def name(self) -> str:
        """Its key without the epoch; that of a calendar window ends with its period."""
        return self._named(self.start_us)

    def parameters(self) -> tuple[int, int]:
        """What the scripts call first and second."""
        if self.kind == ROLLING:
            return self.length_us, self.span_us
        if self.kind == CALENDAR:
            return self.start_us, self.end_us
        if self.kind == ONCE:
            return self.expires_us, 0
        return int(LEASE_S * MICROS), 0

    def described(self, base: str, limits: list[int]) -> list[object]:
        """As the scripts `admit` and `settle` are told of it; `base` is what all keys of the epoch begin with."""
        following = base + self._named(self.end_us) if self.kind == CALENDAR else ""
        return [base + self.name, self.kind, *self.parameters(), following, self.next_end_us, limits]

    def since_us(self, now_us: int) -> int:
        """What arrived by then counts no more."""
        if self.kind == ROLLING:
            return now_us - self.length_us
        return self.start_us - 1 if self.kind == CALENDAR else -1

    def _named(self, start_us: int) -> str:
        return f"w:{self.key}:{start_us // MICROS}" if self.kind == CALENDAR else f"w:{self.key}"


def window_identity(key: LimitKey) -> WindowKey:
    """What a limit's window counts, as the ledger's arithmetic has it."""
    limit: Limit = key.limit
    return limit.window, () if ScopePart.MODEL in limit.scope else limit.models, key.bound


def packed(amounts: Amounts) -> int:
    """Amounts of all units in one integer."""
    return (
        amounts.requests
        + amounts.input_tokens * INPUT_TOKEN
        + amounts.output_tokens * OUTPUT_TOKEN
        + amounts.usd_micros * USD_MICRO
        + amounts.units * UNIT
    )


def six(amount: int) -> list[int]:
    """Packed amounts as the scripts have them."""
    return [amount_at(amount, PLACES[unit]) for unit in UNIT_ORDER]


def _kind(kind: WindowKind) -> int:
    if kind is WindowKind.ROLLING:
        return ROLLING
    if kind in CALENDAR_KINDS:
        return CALENDAR
    return ONCE if kind is WindowKind.ONCE else CONCURRENT


def _digest(identity: WindowKey) -> str:
    window, group, bound = identity
    text = "\n".join((str(window), *group, "", *bound))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
