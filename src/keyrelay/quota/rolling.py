"""A rolling window that is exact in every sliding window of the provider's, and bounded in memory.

A call is counted until its arrival bound (see `quota.windows`) is `length_s` old. That is enough: a new call sent at
s arrives at s or later, so every old call that can share a window with it arrived after s - length_s, and has a bound
after s - length_s.

Calls are kept in slots, in order of time. A slot holds what came within one span (a 10,000th of the window) and
takes the latest bound among it, so that a count never holds more than MAX_SLOTS however busy it is, and gives
something back at most two spans late, never early. In flight are first the slots in `_pending`, by time of sending;
an answer moves a call's amount over to the last slot of `_log`, and a slot whose bound has passed follows as a whole
if a call in it is still unanswered. The log is ordered by bound, since nothing is answered out of a slot, nor out of
one sent after it, once its bound has passed. Reservations keep the slot that counts them, so correcting an amount needs
no search.

An amount may hold those of all units (see `quota.packed`): it is only added and subtracted, except where a method asks
for the `place` of the unit that it is about.

Every method costs O(1) amortised, apart from `free_at`, `reset_at` and `step_back`, which walk.
"""

import math
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

from keyrelay.quota.packed import amount_at, written

TRANSIT_SKEW_S: Final = 1.0
"""Longest time that a call is believed to take from our `reserve` to its arrival at the provider."""

SPANS: Final = 10_000
"""A slot of a rolling window holds what came within one of so many equal parts of it."""

MAX_SLOTS: Final = 3 * SPANS + 3
"""Upper bound of slots in one rolling window: in flight, answered, and not answered in time, SPANS of each.

It holds for windows no shorter than the transit skew.
"""

_GONE: Final = -math.inf


class Slot:
    """What was sent, or arrived, within one span. `unanswered` counts the calls in it that may still move on."""

    __slots__ = ("amount", "bound_s", "first_s", "unanswered")

    def __init__(self, first_s: float, bound_s: float, amount: int, unanswered: int) -> None:
        self.first_s = first_s
        self.bound_s = bound_s
        self.amount = amount
        self.unanswered = unanswered


class Counted:
    """What all windows have: `used` of all units, which includes `reserved`, what is not settled yet.

    Nothing changes by itself before `due_s`.
    """

    __slots__ = ("due_s", "reserved", "used")

    def __init__(self, due_s: float = math.inf) -> None:
        self.used = 0
        self.reserved = 0
        self.due_s = due_s

    def used_at(self, place: int) -> int:
        """What is used of one unit, as of the latest `advance`."""
        return amount_at(self.used, place)

    def amount_in_force(self, amount: int) -> int:
        """What a limit of `amount` allows in this window, as of the latest `advance`."""
        return amount


class RollingWindow(Counted):
    """The last `length_s` seconds, wherever one looks. `used` includes `reserved`, what is not settled yet."""

    __slots__ = ("_length_s", "_log", "_pending", "_skew_s", "_span_s")

    def __init__(self, length_s: float, transit_skew_s: float = TRANSIT_SKEW_S) -> None:
        super().__init__()
        self._length_s = length_s
        self._skew_s = transit_skew_s
        self._span_s = length_s / SPANS
        self._pending: deque[Slot] = deque()
        self._log: deque[Slot] = deque()

    def __repr__(self) -> str:
        slots = len(self._pending) + len(self._log)
        standing = f"used={written(self.used)} reserved={written(self.reserved)}"
        return f"<RollingWindow {self._length_s:g}s {standing} slots={slots}>"

    def advance(self, now_s: float) -> None:
        """Let go of what has left the window by now; nothing more will leave before `due_s`."""
        pending, log, length_s = self._pending, self._log, self._length_s
        while pending and pending[0].bound_s <= now_s and pending[0].first_s + self._span_s <= now_s:
            slot = pending.popleft()
            if slot.unanswered:
                slot.first_s = slot.bound_s
                log.append(slot)
        while log and log[0].bound_s + length_s <= now_s:
            slot = log.popleft()
            self.used -= slot.amount
            slot.bound_s = _GONE
        self.due_s = self._next_change()

    def take(self, amount: int, now_s: float) -> Slot:
        """Count `amount` as sent now; return the slot that counts it."""
        self.used += amount
        self.reserved += amount
        pending = self._pending
        bound_s = now_s + self._skew_s
        if pending:
            slot = pending[-1]
            if now_s - slot.first_s < self._span_s:
                slot.bound_s = bound_s
                slot.amount += amount
                slot.unanswered += 1
                return slot
        elif bound_s < self.due_s:
            self.due_s = bound_s
        slot = Slot(now_s, bound_s, amount, 1)
        pending.append(slot)
        return slot

    def answered(self, slot: Slot, taken: int, now_s: float, change: int = 0) -> Slot:
        """Count what was `taken`, corrected by `change`, as arrived by now at the latest; return its new slot."""
        if self.due_s <= now_s:
            self.advance(now_s)
        bound_s = slot.bound_s
        if bound_s > now_s:
            self.used += change
            slot.amount -= taken
            slot.unanswered -= 1
            log = self._log
            if log:
                last = log[-1]
                if now_s - last.first_s < self._span_s:
                    last.bound_s = now_s
                    last.amount += taken + change
                    return last
            elif now_s + self._length_s < self.due_s:
                self.due_s = now_s + self._length_s
            slot = Slot(now_s, now_s, taken + change, 0)
            log.append(slot)
        elif bound_s != _GONE:
            slot.amount += change
            self.used += change
        return slot

    def settle(self, slot: Slot, taken: int, amount: int) -> None:
        """Make `amount` of what was `taken`, unless it has left the window."""
        self.reserved -= taken
        if amount != taken and slot.bound_s != _GONE:
            slot.amount += amount - taken
            self.used += amount - taken

    def add(self, amount: int, now_s: float) -> None:
        """Count `amount` as arrived now, of a call that somebody else has made."""
        self.advance(now_s)
        self.answered(self.take(amount, now_s), amount, now_s)
        self.reserved -= amount

    def free_at(self, amount: int, limit: int, now_s: float, place: int = 0) -> float | None:
        """When `amount` more fits below `limit`, as far as is known: answers may make it earlier. None: never."""
        if amount > limit:
            return None
        self.advance(now_s)
        excess = amount_at(self.used, place) + amount - limit
        free_s = now_s
        slots = chain(self._log, self._pending)
        while excess > 0:
            slot = next(slots)
            excess -= amount_at(slot.amount, place)
            free_s = slot.bound_s + self._length_s
        return free_s

    def slots(self) -> Iterator[Slot]:
        """The slots that count something, as of the latest `advance`."""
        return chain(self._log, self._pending)

    def reset_at(self, now_s: float, place: int = 0) -> float | None:
        """When something comes back at the latest; None when nothing is used."""
        self.advance(now_s)
        slots = chain(self._log, self._pending)
        return next((slot.bound_s + self._length_s for slot in slots if amount_at(slot.amount, place)), None)

    def idle(self, now_s: float) -> bool:
        """Whether nothing is counted here, nor can be by settling what was reserved."""
        self.advance(now_s)
        return not self._log and not self._pending

    def step_back(self, by_s: float, now_s: float) -> None:
        """Follow a clock that was set back by `by_s` and says `now_s`: what is counted keeps its age."""
        for slot in chain(self._log, self._pending):
            slot.first_s -= by_s
            slot.bound_s -= by_s
        self.advance(now_s)

    def _next_change(self) -> float:
        closing = self._pending[0].bound_s if self._pending else math.inf
        leaving = self._log[0].bound_s + self._length_s if self._log else math.inf
        return min(closing, leaving)
