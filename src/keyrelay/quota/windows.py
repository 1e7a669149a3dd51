"""What one count has used in its window, as the provider sees it.

The provider counts a call when it arrives, and we only know that this is somewhere between sending it and the
first byte of its answer. So each call carries the latest moment at which it can have arrived, its *arrival bound*:
the time of its answer, or `transit_skew_s` after it was sent, whichever comes first. A rolling window (see
`quota.rolling`) counts a call until its bound has left the window; a calendar window counts it in the period in which
it was sent, and in the next one too when its bound lies there.

A window counts all units of what it is about, in one integer each time (see `quota.packed`); methods that are about
one unit are told its `place`.

All windows are used alike. `take` counts what is sent and returns the slot that holds it, `answered` may move it to
another slot, `settle` corrects it; the reservation keeps the slot. `answered` with a `change`, be it 0, settles in the
same step what was taken, but for `reserved`, which the caller corrects. `add` counts what somebody else has used.
Callers see to two things: `now_s` never decreases between calls, except through `step_back`; and before `take` and
before reading `used`, `advance` is called when `due_s` has passed.

What is in flight is counted by `quota.leases`.
"""

import math
from collections import deque
from typing import Final

from keyrelay.core.limits import Window, WindowKind
from keyrelay.quota.calendars import expiry_s, period_bounds
from keyrelay.quota.leases import LEASE_S, LeaseWindow
from keyrelay.quota.packed import BELOW_ZERO, BITS, EVERY, amount_at, at_least_zero, written
from keyrelay.quota.rolling import TRANSIT_SKEW_S, Counted, RollingWindow, Slot

CARRY_SPAN_S: Final = 0.01
"""A slot of a calendar window holds what was sent within this time."""

_GONE: Final = EVERY << BITS - 2
"""More than any limit allows, of each unit."""


class CalendarWindow(Counted):
    """The calendar period that holds the present. `used` includes `reserved`, what is not settled yet.

    Only calls sent just before the reset can arrive after it. Those wait in `_pending`, in slots by time of sending;
    all others share the slot `_period`, whose amount nobody asks for. Its bound is the period's start, so that like
    any slot it is not corrected any more when the period is over.

    A clock that jumps over a reset and is then set back would leave the count of the wrong period, so the period
    left last is remembered: going back adds its count to what was used meanwhile.
    """

    __slots__ = (
        "_carry_s",
        "_left",
        "_pending",
        "_period",
        "_skew_s",
        "_start_s",
        "_taken_s",
        "_window",
    )

    def __init__(self, window: Window, now_s: float, transit_skew_s: float = TRANSIT_SKEW_S) -> None:
        super().__init__()
        self._window = window
        self._skew_s = transit_skew_s
        self._pending: deque[Slot] = deque()
        self._left = (-math.inf, 0)
        self._taken_s = -math.inf
        self._enter(*period_bounds(now_s, window))

    def __repr__(self) -> str:
        return f"<CalendarWindow {self._window} used={written(self.used)} reserved={written(self.reserved)}>"

    def advance(self, now_s: float) -> None:
        """Begin a new period when the old one has ended; the next one begins at `due_s`."""
        if now_s >= self.due_s:
            self._turn(now_s)

    def take(self, amount: int, now_s: float) -> Slot:
        """Count `amount` as sent now; return the slot that counts it."""
        self.used += amount
        self.reserved += amount
        self._taken_s = now_s
        if now_s < self._carry_s:
            return self._period
        pending = self._pending
        bound_s = now_s + self._skew_s
        if pending:
            slot = pending[-1]
            if now_s - slot.first_s < CARRY_SPAN_S:
                slot.bound_s = bound_s
                slot.amount += amount
                return slot
            self._land(now_s)
        slot = Slot(now_s, bound_s, amount, 1)
        pending.append(slot)
        return slot

    def answered(self, slot: Slot, taken: int, now_s: float, change: int = 0) -> Slot:
        """Count what was `taken`, corrected by `change`, as arrived by now at the latest; return its new slot."""
        if slot.bound_s > now_s:
            self.advance(now_s)
            slot.amount -= taken
            slot = self._period
        if change:
            self._correct(slot, change)
        return slot

    def settle(self, slot: Slot, taken: int, amount: int) -> None:
        """Make `amount` of what was `taken`, unless its period is over."""
        self.reserved -= taken
        if amount != taken:
            self._correct(slot, amount - taken)

    def add(self, amount: int, now_s: float) -> None:
        """Count `amount` as used now, by somebody else."""
        self.advance(now_s)
        self.used += amount
        self._taken_s = now_s

    def free_at(self, amount: int, limit: int, now_s: float, place: int = 0) -> float | None:
        """When `amount` more fits below `limit`, as far as is known: now or at the reset. None: never."""
        if amount > limit:
            return None
        self.advance(now_s)
        return now_s if self.used_at(place) + amount <= limit else self.due_s

    def reset_at(self, now_s: float, place: int = 0) -> float | None:
        """When the period ends; None when nothing is used."""
        self.advance(now_s)
        return self.due_s if self.used_at(place) else None

    def idle(self, now_s: float) -> bool:
        """Whether nothing is counted here, nor can be by settling what was reserved."""
        self.advance(now_s)
        return self._taken_s < self._start_s and not self._pending

    def step_back(self, by_s: float, now_s: float) -> None:
        """Follow a clock that was set back by `by_s` and says `now_s`."""
        self._land(now_s + by_s)
        for slot in self._pending:
            slot.first_s -= by_s
            slot.bound_s -= by_s
        if self._taken_s + self._skew_s > now_s + by_s:
            # Something is under way, nobody knows how much, and a reset may be near now: so all that is used may be.
            period = self._period
            period.first_s, period.bound_s, period.amount = now_s - CARRY_SPAN_S, now_s + self._skew_s, self.used
            self._pending.append(period)
            self._enter(self._start_s, self.due_s)
        self._taken_s = min(self._taken_s, now_s)
        if now_s < self._start_s:
            self._turn(now_s)

    def _correct(self, slot: Slot, change: int) -> None:
        """Add `change` to what `slot` counts, unless its period is over."""
        if slot.bound_s >= self._start_s:
            slot.amount += change
            used = self.used + change
            self.used = at_least_zero(used) if used & BELOW_ZERO else used

    def _land(self, now_s: float) -> None:
        """Forget of the calls in flight those that have arrived by now."""
        pending = self._pending
        while pending and pending[0].bound_s <= now_s:
            pending.popleft()

    def _turn(self, now_s: float) -> None:
        """Enter the period that holds `now_s`, later or earlier than the present one."""
        start_s, end_s = period_bounds(now_s, self._window)
        if start_s < self._start_s:
            used = self.used
        else:
            self._pending = deque(slot for slot in self._pending if slot.bound_s >= start_s)
            used = at_least_zero(sum(slot.amount for slot in self._pending))
        if self._left[0] == start_s:
            used += self._left[1]
        self._left = (self._start_s, self.used)
        self.used = used
        self._enter(start_s, end_s)

    def _enter(self, start_s: float, end_s: float) -> None:
        self._start_s, self.due_s = start_s, end_s
        self._carry_s = end_s - self._skew_s - CARRY_SPAN_S  # a span earlier, for rounding
        self._period = Slot(start_s, start_s, 0, 0)


class OnceWindow(Counted):
    """A count without a reset. `used` includes `reserved`, what is not settled yet.

    From `expires_s` (epoch) on the quota is gone: the window counts more than any limit allows, though `used_at` says
    what was really used, and no amount is in force.
    """

    __slots__ = ("_expired", "_expires_s", "_slot")

    def __init__(self, expires_s: float = math.inf) -> None:
        super().__init__(expires_s)
        self._expires_s = expires_s
        self._expired = False
        self._slot = Slot(0.0, math.inf, 0, 0)

    def __repr__(self) -> str:
        used = written(self.used - _GONE) + " expired" if self._expired else written(self.used)
        return f"<OnceWindow used={used} reserved={written(self.reserved)}>"

    def advance(self, now_s: float) -> None:
        """Let the quota go when it expires."""
        if now_s >= self.due_s:
            self.used += _GONE
            self._expired, self.due_s = True, math.inf

    def take(self, amount: int, now_s: float) -> Slot:  # noqa: ARG002 - all windows are called alike
        """Count `amount`; return the slot that counts it."""
        self.used += amount
        self.reserved += amount
        self._slot.unanswered += 1
        return self._slot

    def answered(self, slot: Slot, taken: int, now_s: float, change: int = 0) -> Slot:  # noqa: ARG002 - see `take`
        """Nothing depends on when a call arrived; `change` corrects what was taken."""
        self.used += change
        return slot

    def settle(self, slot: Slot, taken: int, amount: int) -> None:  # noqa: ARG002 - all windows are called alike
        """Make `amount` of what was `taken`."""
        self.reserved -= taken
        self.used += amount - taken

    def add(self, amount: int, now_s: float) -> None:  # noqa: ARG002 - all windows are called alike
        """Count `amount` as used, by somebody else."""
        self.used += amount
        self._slot.unanswered += 1

    def used_at(self, place: int) -> int:
        """What was used of one unit."""
        return amount_at(self.used - _GONE if self._expired else self.used, place)

    def amount_in_force(self, amount: int) -> int:
        """`amount`, nothing once it has expired."""
        return 0 if self._expired else amount

    def free_at(self, amount: int, limit: int, now_s: float, place: int = 0) -> float | None:
        """Now or never."""
        self.advance(now_s)
        return now_s if not self._expired and self.used_at(place) + amount <= limit else None

    def reset_at(self, now_s: float, place: int = 0) -> float | None:  # noqa: ARG002 - all windows are called alike
        """Never."""
        self.advance(now_s)
        return None

    def idle(self, now_s: float) -> bool:  # noqa: ARG002 - all windows are called alike
        """Whether nothing was ever counted here."""
        return not self._slot.unanswered

    def step_back(self, by_s: float, now_s: float) -> None:  # noqa: ARG002 - all windows are called alike
        """Follow a clock that was set back: what had expired is back, until the next `advance` at the latest."""
        if self._expired:
            self.used -= _GONE
            self._expired, self.due_s = False, self._expires_s


AnyWindow = RollingWindow | CalendarWindow | OnceWindow | LeaseWindow


def open_window(
    window: Window, now_s: float, transit_skew_s: float = TRANSIT_SKEW_S, lease_s: float = LEASE_S
) -> AnyWindow:
    """An empty count for a window; raise ValueError when its zone is unknown."""
    if window.kind is WindowKind.ROLLING:
        return RollingWindow(window.length_s, transit_skew_s)
    if window.kind is WindowKind.ONCE:
        return OnceWindow(expiry_s(window))
    if window.kind is WindowKind.CONCURRENT:
        return LeaseWindow(lease_s)
    return CalendarWindow(window, now_s, transit_skew_s)
