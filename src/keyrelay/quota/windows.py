"""What one count has used in its window, as the provider sees it.

The provider counts a call when it arrives, and we only know that this is somewhere between sending it and the
first byte of its answer. So each call carries the latest moment at which it can have arrived, its *arrival bound*:
the time of its answer, or `transit_skew_s` after it was sent, whichever comes first. A rolling window (see
`quota.rolling`) counts a call until its bound has left the window; a calendar window counts it in the period in which
it was sent, and in the next one too when its bound lies there.

All windows are used alike. `take` counts what is sent and returns the slot that holds it, `answered` may move it to
another slot, `settle` corrects it; the reservation keeps the slot. Callers see to two things: `now_s` never
decreases between calls, except through `step_back`; and `advance` has been called when `due_s` has passed.
"""

import math
from collections import deque

from keyrelay.core.limits import Window, WindowKind
from keyrelay.quota.calendars import period_bounds
from keyrelay.quota.rolling import TRANSIT_SKEW_S, RollingWindow, Slot

CARRY_SPAN_S = 0.01
"""A slot of a calendar window holds what was sent within this time."""


class CalendarWindow:
    """The calendar day or month that holds the present. `used` includes `reserved`, what is not settled yet.

    A clock that jumps over a reset and is then set back would leave the count of the wrong period, so the period
    left last is remembered: going back adds its count to what was used meanwhile.
    """

    __slots__ = ("_arrived", "_left", "_pending", "_skew_s", "_start_s", "_window", "due_s", "reserved", "used")

    def __init__(self, window: Window, now_s: float, transit_skew_s: float = TRANSIT_SKEW_S) -> None:
        self.used = 0
        self.reserved = 0
        self._window = window
        self._skew_s = transit_skew_s
        self._start_s, self.due_s = period_bounds(now_s, window)
        self._pending: deque[Slot] = deque()
        self._arrived = Slot(self._start_s, self._start_s, 0, 0)
        self._left = (-math.inf, 0)

    def __repr__(self) -> str:
        return f"<CalendarWindow {self._window} used={self.used} reserved={self.reserved}>"

    def advance(self, now_s: float) -> None:
        """Begin a new period when the old one has ended; the next one begins at `due_s`."""
        if now_s >= self.due_s:
            self._turn(now_s)

    def take(self, amount: int, now_s: float) -> Slot:
        """Count `amount` as sent now; return the slot that counts it."""
        self.used += amount
        self.reserved += amount
        pending = self._pending
        bound_s = now_s + self._skew_s
        if pending:
            slot = pending[-1]
            if now_s - slot.first_s < CARRY_SPAN_S:
                slot.bound_s = bound_s
                slot.amount += amount
                return slot
            while pending and pending[0].bound_s <= now_s:
                pending.popleft()
        slot = Slot(now_s, bound_s, amount, 1)
        pending.append(slot)
        return slot

    def answered(self, slot: Slot, amount: int, now_s: float) -> Slot:
        """Count `amount`, which `slot` held, as arrived by now at the latest; return the slot that counts it now."""
        if slot.bound_s <= now_s:
            return slot
        slot.amount -= amount
        self._arrived.amount += amount
        self._arrived.bound_s = now_s
        return self._arrived

    def settle(self, slot: Slot, taken: int, amount: int) -> None:
        """Make `amount` of what was `taken`, unless its period is over."""
        self.reserved -= taken
        if amount != taken and slot.bound_s >= self._start_s:
            slot.amount += amount - taken
            self.used = max(0, self.used + amount - taken)

    def room(self, limit: int, now_s: float) -> int:
        """How much more fits below `limit` now; never negative."""
        self.advance(now_s)
        return max(0, limit - self.used)

    def free_at(self, amount: int, limit: int, now_s: float) -> float | None:
        """When `amount` more fits below `limit`, as far as is known: now or at the reset. None: never."""
        if amount > limit:
            return None
        self.advance(now_s)
        return now_s if self.used + amount <= limit else self.due_s

    def reset_at(self, now_s: float) -> float | None:
        """When the period ends; None when nothing is used."""
        self.advance(now_s)
        return self.due_s if self.used else None

    def idle(self, now_s: float) -> bool:
        """Whether nothing is counted here, nor can be by settling what was reserved."""
        self.advance(now_s)
        return not self._pending or self._pending[-1].bound_s < self._start_s

    def step_back(self, by_s: float, now_s: float) -> None:
        """Follow a clock that was set back by `by_s` and says `now_s`."""
        for slot in self._pending:
            slot.first_s -= by_s
            slot.bound_s -= by_s
        if now_s < self._start_s:
            self._turn(now_s)

    def _turn(self, now_s: float) -> None:
        """Enter the period that holds `now_s`, later or earlier than the present one."""
        start_s, end_s = period_bounds(now_s, self._window)
        if start_s < self._start_s:
            used = self.used
        else:
            used = sum(slot.amount for slot in self._pending if slot.bound_s >= start_s)
        if self._left[0] == start_s:
            used += self._left[1]
        self._left = (self._start_s, self.used)
        self._start_s, self.due_s, self.used = start_s, end_s, used
        self._arrived = Slot(start_s, start_s, 0, 0)


class OnceWindow:
    """A count without a reset. `used` includes `reserved`, what is not settled yet."""

    __slots__ = ("_slot", "due_s", "reserved", "used")

    def __init__(self) -> None:
        self.used = 0
        self.reserved = 0
        self.due_s = math.inf
        self._slot = Slot(0.0, math.inf, 0, 0)

    def __repr__(self) -> str:
        return f"<OnceWindow used={self.used} reserved={self.reserved}>"

    def advance(self, now_s: float) -> None:
        """Nothing changes with time."""

    def take(self, amount: int, now_s: float) -> Slot:  # noqa: ARG002 - all windows are called alike
        """Count `amount`; return the slot that counts it."""
        self.used += amount
        self.reserved += amount
        self._slot.unanswered += 1
        return self._slot

    def answered(self, slot: Slot, amount: int, now_s: float) -> Slot:  # noqa: ARG002 - all windows are called alike
        """Nothing depends on when a call arrived."""
        return slot

    def settle(self, slot: Slot, taken: int, amount: int) -> None:  # noqa: ARG002 - all windows are called alike
        """Make `amount` of what was `taken`."""
        self.reserved -= taken
        self.used += amount - taken

    def room(self, limit: int, now_s: float) -> int:  # noqa: ARG002 - all windows are called alike
        """How much more fits below `limit`; never negative."""
        return max(0, limit - self.used)

    def free_at(self, amount: int, limit: int, now_s: float) -> float | None:
        """Now or never."""
        return now_s if self.used + amount <= limit else None

    def reset_at(self, now_s: float) -> float | None:  # noqa: ARG002 - all windows are called alike
        """Never."""
        return None

    def idle(self, now_s: float) -> bool:  # noqa: ARG002 - all windows are called alike
        """Whether nothing was ever counted here."""
        return not self._slot.unanswered

    def step_back(self, by_s: float, now_s: float) -> None:
        """Nothing changes with time."""


AnyWindow = RollingWindow | CalendarWindow | OnceWindow


def open_window(window: Window, now_s: float, transit_skew_s: float = TRANSIT_SKEW_S) -> AnyWindow:
    """An empty count for a window; raise ValueError when its zone is unknown."""
    if window.kind is WindowKind.ROLLING:
        return RollingWindow(window.length_s, transit_skew_s)
    if window.kind is WindowKind.ONCE:
        return OnceWindow()
    return CalendarWindow(window, now_s, transit_skew_s)
