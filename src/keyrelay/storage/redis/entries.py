"""Requests under way as the shared ledger sees them, and what their limits look like to the scripts."""

import asyncio
from enum import Enum, auto
from typing import Protocol

import msgspec

from keyrelay.quota.ledger import Count, Path
from keyrelay.quota.values import Amounts, LimitKey
from keyrelay.storage.redis.connection import Call
from keyrelay.storage.redis.scripts import Script, bulk
from keyrelay.storage.redis.window_hold import (
    CALENDAR,
    CONCURRENT,
    NO_LIMIT,
    ROLLING,
    UNIT_INDEX,
    WindowHold,
    window_identity,
)

NO_LEASE = b"-"
LONG_US = 60_000_000
"""Where no rolling window is shorter, when a stream arrived is told with its end: mostly that is soon enough."""


class Origin(Enum):
    """On whose word a request was admitted."""

    UNASKED = auto()
    REDIS = auto()
    OWN = auto()


class PathPlan:
    """A path of limits, with heads of the commands that concern it, packed. It holds for one epoch and period."""

    __slots__ = (
        "admit_head",
        "counts",
        "epoch",
        "holds",
        "leased",
        "limits",
        "resolved",
        "settle_head",
        "tells_at_end",
        "until_us",
    )

    def __init__(self, resolved: Path, holds: tuple[WindowHold, ...]) -> None:
        self.resolved = resolved
        self.holds = holds
        self.epoch = ""
        self.admit_head = self.settle_head = b""
        index = {hold.identity: place for place, hold in enumerate(holds)}
        self.limits = [[NO_LIMIT] * 6 for _ in holds]
        self.counts: dict[tuple[int, int], Count] = {}
        for count in resolved.counts:
            place, unit = index[window_identity(count.key)], UNIT_INDEX[count.key.limit.unit]
            if (place, unit) not in self.counts or count.amount < self.limits[place][unit]:
                self.counts[place, unit] = count
                self.limits[place][unit] = count.amount
        for hold, limits in zip(holds, self.limits, strict=True):
            hold.limits = [new if new >= 0 else old for new, old in zip(limits, hold.limits, strict=True)]
        self.leased = tuple(hold for hold in holds if hold.kind == CONCURRENT)
        self.until_us = min((hold.end_us for hold in holds if hold.kind == CALENDAR), default=1 << 62)
        rolling = [hold.length_us for hold in holds if hold.kind == ROLLING]
        self.tells_at_end = all(length_us >= LONG_US for length_us in rolling)

    def __repr__(self) -> str:
        return f"<PathPlan windows={len(self.holds)} epoch={self.epoch or 'none'}>"

    def pack(self, scripts: dict[str, Script], state_key: str, member: str, epoch: str, skew_us: int) -> None:
        """Make the heads for an epoch."""
        base = state_key.removesuffix("state") + epoch + ":"
        windows = [hold.described(base, limits) for hold, limits in zip(self.holds, self.limits, strict=True)]
        words = bulk(state_key.encode(), member.encode(), epoch.encode(), msgspec.msgpack.encode([skew_us, *windows]))
        self.admit_head = scripts["admit"].head(4) + words
        self.settle_head = scripts["settle"].head(4) + words
        self.epoch = epoch

    def probes(self, probed: tuple[Count, ...]) -> bytes:
        """The limits that a probe may exceed, as the scripts write them."""
        places = [place for place, count in self.counts.items() if count in probed]
        return b"".join(b"w%d.%d," % (window + 1, unit + 1) for window, unit in places)


class Home(Protocol):
    """The partition that a request belongs to: it is told what becomes of it, in the step in which that is known."""

    def ask_replied(self, ask: "Ask", reply: object) -> None:
        """Redis has answered."""
        ...

    def ask_lost(self, ask: "Ask") -> None:
        """No answer will come: it may have been carried out or not."""
        ...

    def arrived(self, entry: "Entry") -> None:
        """A request that goes on has arrived by now."""
        ...

    def ended(self, entry: "Entry", amounts: Amounts, *, arrived: bool) -> None:
        """A request has ended and has really used `amounts`."""
        ...


class Entry:
    """One reservation. `bound_us` is when it has arrived at the latest, `amounts` what it takes.

    `arrived_us` is a better bound that Redis has not been told, 0 for none.
    """

    __slots__ = ("amounts", "answered", "arrived_us", "bound_us", "home", "lease", "origin", "path", "plan", "probes")

    home: Home
    plan: PathPlan

    def __init__(self, path: tuple[LimitKey, ...], amounts: Amounts) -> None:
        self.path = path
        self.amounts = amounts
        self.origin = Origin.UNASKED
        self.bound_us = self.arrived_us = 0
        self.answered = False
        self.lease = NO_LEASE
        self.probes = b""

    def __repr__(self) -> str:
        return f"<Entry {self.origin.name.lower()} bound_us={self.bound_us} {self.amounts}>"


class Ask(Call):
    """An admission asked of Redis. The answer is None, the script's refusal, or the entry itself: no answer."""

    __slots__ = ("_home", "again", "answer", "entry")

    def __init__(self, home: Home, entry: Entry, loop: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self.entry = entry
        self.answer: asyncio.Future[list[int] | Entry | None] = loop.create_future()
        self.again = False

    def replied(self, reply: object) -> None:
        """Redis has answered."""
        self._home.ask_replied(self, reply)

    def lost(self) -> None:
        """No answer will come."""
        self._home.ask_lost(self)

    def tell(self, outcome: list[int] | Entry | None) -> bool:
        """Wake the caller; False when it has gone away."""
        if self.answer.done():
            return False
        self.answer.set_result(outcome)
        return True
