"""The ledger's arithmetic: many counts, taken from all at once or not at all.

A limit on what it binds is a `Count`: an amount that may not be exceeded, and a window that says what is used. Windows
are shared by what they count (window, what is bound), not by amount or unit: when the operator changes 10 per minute
to 15, or says that a key is on the free tier, the new limit goes on with the old one's count.

A path, the tuple of limits of one candidate, is resolved once, anew when a belief on it has changed; `reserve` then
costs a look-up and one comparison per window, of all units at once (see `quota.packed`). A reservation holds its
windows and slots, so that `answered` and `settle` look nothing up. These three are called for every request: what
would read better as a helper of two lines, called for each window, is written out in them.

Beliefs (limits that are not firm). They refuse like others. With `beyond_belief`, when nothing but beliefs refuses, one
request at a time per belief passes all the same: a *probe*, until it is settled, or for PROBE_LEASE_S if it never is.
Its success raises the belief to twice its amount; a refusal by the provider makes it firm for CONFIRMED_S.

Time never runs backwards here: a clock set back by up to STEP_BACK_S stands still until it catches up, and one set back
further takes the counts along, so that they keep their age. A jump forward cannot be told from a quiet time; the caller
does well to derive `now_s` from a monotonic clock.
"""

import math
from collections.abc import Iterable

import msgspec

from keyrelay.core.limits import Limit, ScopePart, Unit, Window
from keyrelay.quota.packed import (
    BELOW_ZERO,
    INPUT_TOKEN,
    OUTPUT_TOKEN,
    PLACES,
    amount_at,
    packed_limits,
)
from keyrelay.quota.rolling import TRANSIT_SKEW_S, Slot
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing
from keyrelay.quota.windows import AnyWindow, open_window

MAX_COUNTS = 100_000
"""Above so many counts, those are dropped that hold nothing. Counts in use are never dropped."""

MAX_PATHS = 100_000
"""Above so many paths, all are forgotten and resolved anew."""

STEP_BACK_S = 60.0
PROBE_LEASE_S = 600.0
CONFIRMED_S = 86_400.0

WindowKey = tuple[Window, tuple[str, ...], tuple[str, ...]]
"""What a window counts: the window, the models of a group, what is bound."""


class Count:
    """One limit on what it binds. `amount` is what may be used; for a belief it may have been raised."""

    __slots__ = ("amount", "firm_until_s", "key", "place", "probe", "window")

    def __init__(self, key: LimitKey, window: AnyWindow) -> None:
        self.key = key
        self.window = window
        self.place = PLACES[key.limit.unit]
        self.amount = key.limit.amount
        self.firm_until_s = math.inf if key.limit.firm else -math.inf
        self.probe: Reservation | None = None

    def __repr__(self) -> str:
        return f"<Count {self.key.limit} {'/'.join(self.key.bound)} amount={self.amount} {self.window!r}>"

    @property
    def used(self) -> int:
        """What has been used of this limit, as of the window's latest `advance`."""
        return amount_at(self.window.used, self.place)

    def may_probe(self, now_s: float) -> bool:
        """Whether one request may go beyond this limit: it is a belief, and no probe is in flight."""
        probing = self.probe is not None and 0 <= now_s - self.probe.reserved_s < PROBE_LEASE_S
        return not probing and now_s >= self.firm_until_s

    def idle(self, now_s: float) -> bool:
        """Whether forgetting this count would lose nothing."""
        limit = self.key.limit
        learned = self.amount != limit.amount or (not limit.firm and now_s < self.firm_until_s)
        return not learned and self.window.idle(now_s)


class Path:
    """A tuple of limits, resolved: its counts, and each of its windows once, with the least limits on it, packed."""

    __slots__ = ("counts", "limited", "windows")

    def __init__(self, counts: tuple[Count, ...]) -> None:
        self.counts = counts
        limits: dict[AnyWindow, dict[Unit, int]] = {}
        for count in counts:
            least, unit = limits.setdefault(count.window, {}), count.key.limit.unit
            least[unit] = min(count.amount, least.get(unit, count.amount))
        self.windows = tuple(limits)
        self.limited = tuple((window, packed_limits(least)) for window, least in limits.items())


class Reservation(msgspec.Struct, eq=False):
    """What one request has taken: in each window of its path, the packed amounts `taken`, in the slot held there."""

    slots: dict[AnyWindow, Slot]
    taken: int
    reserved_s: float
    answered: bool = False
    settled: bool = False
    probed: tuple[Count, ...] = ()

    def __repr__(self) -> str:
        state = "settled" if self.settled else "answered" if self.answered else "in flight"
        units = (Unit.REQUESTS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
        requests, input_tokens, output_tokens = (amount_at(self.taken, PLACES[unit]) for unit in units)
        return f"<Reservation {state} requests={requests} tokens={input_tokens}+{output_tokens} of {len(self.slots)}>"


class LedgerBook:
    """All counts of one ledger. Times are epoch seconds; nothing here waits or reads a clock."""

    def __init__(self, *, transit_skew_s: float = TRANSIT_SKEW_S, max_counts: int = MAX_COUNTS) -> None:
        self._skew_s = transit_skew_s
        self._max_counts = max_counts
        self._sweep_at = max_counts
        self._now_s = -math.inf
        self._paths: dict[tuple[LimitKey, ...], Path] = {}
        self._counts: dict[LimitKey, Count] = {}
        self._windows: dict[WindowKey, AnyWindow] = {}

    def __repr__(self) -> str:
        return f"<LedgerBook counts={len(self._counts)} paths={len(self._paths)} now={self._now_s}>"

    def reserve(
        self, path: tuple[LimitKey, ...], amounts: Amounts, now_s: float, *, beyond_belief: bool = False
    ) -> Reservation | Refusal:
        """Take `amounts` from every limit at once, or from none; a refusal names the limit that frees last.

        An amount of 0 (no tokens of this kind) fits unless more than the limit has been used. An amount above the
        whole limit never fits, and neither does anything into a full `once`: `until_s` is None.
        """
        if now_s < self._now_s:
            now_s = self._not_before(now_s)
        self._now_s = now_s
        try:
            resolved = self._paths[path]
        except KeyError:
            resolved = self._resolve(path, now_s)
        taken = amounts.requests + amounts.input_tokens * INPUT_TOKEN + amounts.output_tokens * OUTPUT_TOKEN
        for window, limits in resolved.limited:
            if window.due_s <= now_s:
                window.advance(now_s)
            if limits - window.used - taken & BELOW_ZERO:
                break
        else:
            return _take(resolved, taken, now_s)
        refusing = _refusing(resolved, taken, now_s)
        if not (beyond_belief and all(count.may_probe(now_s) for count in refusing)):
            return _refusal(refusing, taken, now_s)
        reservation = _take(resolved, taken, now_s)
        reservation.probed = refusing
        for count in refusing:
            count.probe = reservation
        return reservation

    def answered(self, reservation: object, now_s: float) -> None:
        """Note that the provider has seen the request by now. A second call changes nothing."""
        if not isinstance(reservation, Reservation):
            raise _foreign(reservation)
        if reservation.answered:
            return
        reservation.answered = True
        if now_s < self._now_s:
            now_s = self._not_before(now_s)
        self._now_s = now_s
        slots, taken = reservation.slots, reservation.taken
        for window, slot in slots.items():
            slots[window] = window.answered(slot, taken, now_s)

    def settle(self, reservation: object, amounts: Amounts, now_s: float, *, arrived: bool = False) -> None:
        """Correct the reservation to what was really used; `requests=0` gives the request back.

        A second call changes nothing. Settling alone does not say that the request has arrived: of a call that was
        cancelled or cut off, bytes may still be under way. With `arrived` it is `answered` in the same step.
        """
        if not isinstance(reservation, Reservation):
            raise _foreign(reservation)
        if reservation.settled:
            return
        reservation.settled = True
        if now_s < self._now_s:
            now_s = self._not_before(now_s)
        self._now_s = now_s
        used = amounts.requests + amounts.input_tokens * INPUT_TOKEN + amounts.output_tokens * OUTPUT_TOKEN
        taken = reservation.taken
        reservation.taken = used
        if arrived and not reservation.answered:
            reservation.answered = True
            change = used - taken
            for window, slot in reservation.slots.items():
                window.reserved -= taken
                window.answered(slot, taken, now_s, change)
        else:
            for window, slot in reservation.slots.items():
                window.settle(slot, taken, used)
        if reservation.probed:
            _end_probes(reservation)

    def peek(self, path: tuple[LimitKey, ...], now_s: float) -> tuple[Standing, ...]:
        """How each limit stands. `used` includes `reserved`; `amount` is the one believed now."""
        now_s = self._steady(now_s)
        resolved = self._paths.get(path) or self._resolve(path, now_s)
        return tuple(_standing(count, now_s) for count in resolved.counts)

    def raise_belief(self, reservation: object) -> None:
        """A probe succeeded: each belief it went beyond doubles, and allows at least one more than is used.

        To be called once the answer's success is known, before or after settling. Otherwise, or for a reservation
        that was no probe, nothing changes.
        """
        if not isinstance(reservation, Reservation):
            raise _foreign(reservation)
        for count in reservation.probed:
            count.window.advance(self._now_s)
            self._believe(count, max(2 * count.amount, count.used + 1))
        _end_probes(reservation)
        reservation.probed = ()

    def confirm_belief(self, key: LimitKey, now_s: float) -> None:
        """The provider refused for this limit: it is firm for CONFIRMED_S, a belief again after.

        A belief that had been raised comes down to what the provider did accept, though never below where it began;
        so the refused request is to be settled first. A firm limit stays as it is.
        """
        now_s = self._steady(now_s)
        count = self._count(key)
        if key.limit.firm:
            return
        count.window.advance(now_s)
        self._believe(count, max(key.limit.amount, min(count.amount, count.used)))
        count.firm_until_s = now_s + CONFIRMED_S

    def _believe(self, count: Count, amount: int) -> None:
        """Change what a belief allows; the paths that it is on, which are not known, are resolved anew."""
        if amount != count.amount:
            count.amount = amount
            self._paths.clear()

    def _steady(self, now_s: float) -> float:
        """The time to count with: never before a time that was counted with."""
        self._now_s = now_s if now_s >= self._now_s else self._not_before(now_s)
        return self._now_s

    def _not_before(self, now_s: float) -> float:
        """The time to count with when the clock was set back to `now_s`."""
        back_s = self._now_s - now_s
        if back_s <= STEP_BACK_S:
            return self._now_s
        for window in self._windows.values():
            window.step_back(back_s, now_s)
        return now_s

    def _resolve(self, path: tuple[LimitKey, ...], now_s: float) -> Path:
        if len(self._counts) >= self._sweep_at:
            self._sweep(now_s)
        if len(self._paths) >= MAX_PATHS:
            self._paths.clear()
        resolved = self._paths[path] = Path(tuple(self._count(key) for key in path))
        return resolved

    def _count(self, key: LimitKey) -> Count:
        count = self._counts.get(key)
        if count is None:
            identity = _window_key(key)
            window = self._windows.get(identity)
            if window is None:
                window = self._windows[identity] = open_window(key.limit.window, self._now_s, self._skew_s)
            count = self._counts[key] = Count(key, window)
        return count

    def _sweep(self, now_s: float) -> None:
        """Forget what holds nothing. The next sweep waits until there is twice as much, lest each new count sweep."""
        self._counts = {key: count for key, count in self._counts.items() if not count.idle(now_s)}
        self._windows = {_window_key(key): count.window for key, count in self._counts.items()}
        self._paths.clear()
        self._sweep_at = max(self._max_counts, 2 * len(self._counts))


def _window_key(key: LimitKey) -> WindowKey:
    limit: Limit = key.limit
    # With the model in the scope it is in `bound`, and the patterns only say which models the limit is for.
    group = () if ScopePart.MODEL in limit.scope else limit.models
    return limit.window, group, key.bound


def _take(path: Path, taken: int, now_s: float) -> Reservation:
    slots: dict[AnyWindow, Slot] = {}
    for window in path.windows:
        slots[window] = window.take(taken, now_s)
    return Reservation(slots, taken, now_s)


def _refusing(path: Path, taken: int, now_s: float) -> tuple[Count, ...]:
    for window in path.windows:
        if window.due_s <= now_s:
            window.advance(now_s)
    return tuple(count for count in path.counts if amount_at(count.window.used + taken, count.place) > count.amount)


def _refusal(refusing: Iterable[Count], taken: int, now_s: float) -> Refusal:
    free = [
        (count.window.free_at(amount_at(taken, count.place), count.amount, now_s, count.place), count)
        for count in refusing
    ]
    until_s, last = max(free, key=lambda pair: math.inf if pair[0] is None else pair[0])
    firm = any(now_s < count.firm_until_s for _, count in free)
    return Refusal(limit=last.key, used=last.used, until_s=until_s, firm=firm)


def _standing(count: Count, now_s: float) -> Standing:
    reset_s = count.window.reset_at(now_s, count.place)
    used, reserved = count.used, amount_at(count.window.reserved, count.place)
    return Standing(limit=count.key, amount=count.amount, used=used, reserved=min(reserved, used), reset_s=reset_s)


def _end_probes(reservation: Reservation) -> None:
    for count in reservation.probed:
        if count.probe is reservation:
            count.probe = None


def _foreign(reservation: object) -> TypeError:
    return TypeError(f"{reservation!r} is not a reservation of this ledger")
