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

Following. What the provider says of a limit itself takes the place of what was believed (see `LedgerBook.follow`).

Time never runs backwards here: a clock set back by up to STEP_BACK_S stands still until it catches up, and one set back
further takes the counts along, so that they keep their age. A jump forward cannot be told from a quiet time; the caller
does well to derive `now_s` from a monotonic clock.
"""

import math
from typing import Final

from keyrelay.core.limits import CALENDAR_KINDS, Limit, LimitSource, Pacing, ScopePart, Unit, Window, WindowKind
from keyrelay.quota.leases import LEASE_S
from keyrelay.quota.pacing import next_admission_s
from keyrelay.quota.packed import (
    BELOW_ZERO,
    INPUT_TOKEN,
    MOST,
    OUTPUT_TOKEN,
    PLACES,
    UNIT,
    USD_MICRO,
    amount_at,
    packed_limits,
)
from keyrelay.quota.rolling import TRANSIT_SKEW_S, Slot
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing
from keyrelay.quota.windows import AnyWindow, OnceWindow, open_window

MAX_COUNTS: Final = 100_000
"""Above so many counts, those are dropped that hold nothing. Counts in use are never dropped."""

MAX_PATHS: Final = 100_000
"""Above so many paths, all are forgotten and resolved anew."""

STEP_BACK_S: Final = 60.0
PROBE_LEASE_S: Final = 600.0
CONFIRMED_S: Final = 86_400.0

WindowKey = tuple[Window, tuple[str, ...], tuple[str, ...]]
"""What a window counts: the window, the models of a group, what is bound."""


_PACED_KINDS: Final = CALENDAR_KINDS | {WindowKind.ROLLING}


class Count:
    """One limit on what it binds.

    `amount` is what may be used: a belief may have been raised, but does not sink below `floor`, and the provider may
    have said another amount, which is `followed`. With `smooth` pacing, `paced_s` is when the last request was let in
    that took something of it, `paced_amount` how much.
    """

    __slots__ = (
        "amount",
        "firm_until_s",
        "floor",
        "followed",
        "key",
        "paced_amount",
        "paced_s",
        "place",
        "probe",
        "smooth",
        "window",
    )

    def __init__(self, key: LimitKey, window: AnyWindow) -> None:
        self.key = key
        self.window = window
        self.place = PLACES[key.limit.unit]
        self.amount = self.floor = key.limit.amount
        self.followed = False
        self.smooth = key.limit.pacing is Pacing.SMOOTH and key.limit.window.kind in _PACED_KINDS
        self.paced_s = -math.inf
        self.paced_amount = 0
        self.firm_until_s = math.inf if key.limit.firm else -math.inf
        self.probe: Reservation | None = None

    def __repr__(self) -> str:
        return f"<Count {self.key.limit} {'/'.join(self.key.bound)} amount={self.amount} {self.window!r}>"

    @property
    def used(self) -> int:
        """What has been used of this limit, as of the window's latest `advance`."""
        return self.window.used_at(self.place)

    @property
    def source(self) -> LimitSource:
        """Where the amount in force comes from."""
        limit = self.key.limit
        learned = self.amount != limit.amount or (self.followed and limit.source is not LimitSource.CONFIGURED)
        return LimitSource.LEARNED if learned else limit.source

    def let_in(self, amount: int, now_s: float) -> None:
        """Note for pacing that a request has been let in that takes `amount`."""
        if amount:
            self.paced_s, self.paced_amount = now_s, amount

    def paced_until_s(self, amount: int, now_s: float) -> float:
        """Until when pacing holds back a request that takes `amount`; the past when it does not."""
        window = self.key.limit.window
        return next_admission_s(
            amount,
            limit=self.amount,
            used=self.used,
            last_s=self.paced_s,
            returns_s=self.window.reset_at(now_s, self.place) or now_s,
            length_s=window.length_s if window.kind is WindowKind.ROLLING else 0.0,
        )

    def may_probe(self, now_s: float) -> bool:
        """Whether one request may go beyond this limit: it is a belief, and no probe is in flight."""
        probing = self.probe is not None and 0 <= now_s - self.probe.reserved_s < PROBE_LEASE_S
        return not probing and now_s >= self.firm_until_s

    def idle(self, now_s: float) -> bool:
        """Whether forgetting this count would lose nothing."""
        limit = self.key.limit
        believed = not self.followed and self.amount == limit.amount
        learned = not believed or (not limit.firm and now_s < self.firm_until_s)
        return not learned and self.window.idle(now_s)


class Path:
    """A tuple of limits, resolved: its counts, and each of its windows once, with the least limits on it, packed.

    `paced` are the counts whose amount is spread over the window: nearly always none.
    """

    __slots__ = ("counts", "limited", "paced", "windows")

    def __init__(self, counts: tuple[Count, ...]) -> None:
        self.counts = counts
        self.paced = tuple(count for count in counts if count.smooth)
        limits: dict[AnyWindow, dict[Unit, int]] = {}
        for count in counts:
            least, unit = limits.setdefault(count.window, {}), count.key.limit.unit
            least[unit] = min(count.amount, least.get(unit, count.amount))
        self.windows = tuple(limits)
        self.limited = tuple((window, packed_limits(least)) for window, least in limits.items())


class Reservation:
    """What one request has taken: in each window of its path, the packed amounts `taken`, in the slot held there."""

    __slots__ = ("answered", "probed", "reserved_s", "settled", "slots", "taken")

    def __init__(self, slots: dict[AnyWindow, Slot], taken: int, reserved_s: float) -> None:
        self.slots = slots
        self.taken = taken
        self.reserved_s = reserved_s
        self.answered = self.settled = False
        self.probed: tuple[Count, ...] = ()

    def __repr__(self) -> str:
        state = "settled" if self.settled else "answered" if self.answered else "in flight"
        units = (Unit.REQUESTS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
        requests, input_tokens, output_tokens = (amount_at(self.taken, PLACES[unit]) for unit in units)
        return f"<Reservation {state} requests={requests} tokens={input_tokens}+{output_tokens} of {len(self.slots)}>"


class LedgerBook:
    """All counts of one ledger. Times are epoch seconds; nothing here waits or reads a clock."""

    def __init__(
        self,
        *,
        transit_skew_s: float = TRANSIT_SKEW_S,
        lease_s: float = LEASE_S,
        max_counts: int = MAX_COUNTS,
        max_paths: int = MAX_PATHS,
    ) -> None:
        self._skew_s = transit_skew_s
        self._lease_s = lease_s
        self._max_counts = max_counts
        self._max_paths = max_paths
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
        whole limit never fits, and neither does anything into a full `once`: `until_s` is None. What fits may be held
        back by pacing; beliefs are no reason to go beyond that.
        """
        if now_s < self._now_s:
            now_s = self._not_before(now_s)
        self._now_s = now_s
        try:
            resolved = self._paths[path]
        except KeyError:
            resolved = self._resolve(path, now_s)
        taken = amounts.requests + amounts.input_tokens * INPUT_TOKEN + amounts.output_tokens * OUTPUT_TOKEN
        if amounts.usd_micros or amounts.units:
            taken += amounts.usd_micros * USD_MICRO + amounts.units * UNIT
        for window, limits in resolved.limited:
            if window.due_s <= now_s:
                window.advance(now_s)
            if limits - window.used - taken & BELOW_ZERO:
                break
        else:
            if not resolved.paced:
                return _take(resolved, taken, now_s)
        return _weigh(resolved, taken, now_s, beyond_belief=beyond_belief)

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
        if amounts.usd_micros or amounts.units:
            used += amounts.usd_micros * USD_MICRO + amounts.units * UNIT
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

    def restore(self, path: tuple[LimitKey, ...], amounts: Amounts, at_s: float, *, once: bool = False) -> None:
        """Count what was used by calls that were over at `at_s`, to be told in order of time, before anything else.

        With `once` it counts for the quotas without a reset alone, else for all others: of the former one knows the
        whole, of the latter what happened when.
        """
        at_s = self._steady(at_s)
        taken = amounts.packed
        for window in (self._paths.get(path) or self._resolve(path, at_s)).windows:
            if isinstance(window, OnceWindow) is once:
                window.add(taken, at_s)

    def peek(self, path: tuple[LimitKey, ...], now_s: float) -> tuple[Standing, ...]:
        """How each limit stands."""
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
        self._believe(count, max(count.floor, min(count.amount, count.used)))
        count.firm_until_s = now_s + CONFIRMED_S

    def follow(self, key: LimitKey, now_s: float, *, amount: int | None = None, used: int | None = None) -> bool:
        """The provider says that this limit is `amount`, and that `used` of it are used by now.

        Returns whether `amount` contradicts what was in force. It takes the place of a belief for good, and is never
        swept: firm for CONFIRMED_S after it was last said, then a belief again, of that amount. What the operator
        configured it may make smaller, never larger.

        `used` only ever raises the count, by what somebody else must have used; that counts as used now: in the
        present period of a calendar, in a rolling window as arriving now, and of what is in flight not at all. A
        lower figure proves nothing: it is as old as the answer that brought it, and the provider does not know yet
        of calls under way. To go down with it would let through what has long been promised to others.
        """
        now_s = self._steady(now_s)
        count = self._count(key)
        count.window.advance(now_s)
        if used is not None:
            missing = min(used, MOST) - count.used
            if missing > 0:
                count.window.add(missing << count.place, now_s)
        if amount is None:
            return False
        amount = max(0, min(amount, MOST))
        if key.limit.source is LimitSource.CONFIGURED:
            amount = min(amount, key.limit.amount)
        contradicted = amount != count.amount
        self._believe(count, amount)
        count.floor, count.followed = amount, True
        if not key.limit.firm:
            count.firm_until_s = now_s + CONFIRMED_S
        return contradicted

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
        for count in self._counts.values():
            count.paced_s -= back_s
        return now_s

    def _resolve(self, path: tuple[LimitKey, ...], now_s: float) -> Path:
        if len(self._counts) >= self._sweep_at:
            self._sweep(now_s)
        if len(self._paths) >= self._max_paths:
            self._paths.clear()
        resolved = self._paths[path] = Path(tuple(self._count(key) for key in path))
        return resolved

    def _count(self, key: LimitKey) -> Count:
        count = self._counts.get(key)
        if count is None:
            identity = _window_key(key)
            window = self._windows.get(identity)
            if window is None:
                window = self._windows[identity] = open_window(
                    key.limit.window, self._now_s, self._skew_s, self._lease_s
                )
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


def _weigh(path: Path, taken: int, now_s: float, *, beyond_belief: bool) -> Reservation | Refusal:
    """Take what does not fit, or is paced, if it may be taken all the same."""
    refusing = _refusing(path, taken, now_s)
    waiting = _waiting(path, refusing, taken, now_s) if path.paced else ()
    probing = beyond_belief and all(count.may_probe(now_s) for count in refusing)
    if waiting or (refusing and not probing):
        return _refusal(refusing, waiting, taken, now_s)
    reservation = _take(path, taken, now_s)
    for count in path.paced:
        count.let_in(amount_at(taken, count.place), now_s)
    reservation.probed = refusing
    for count in refusing:
        count.probe = reservation
    return reservation


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


def _waiting(path: Path, refusing: tuple[Count, ...], taken: int, now_s: float) -> tuple[tuple[float, Count], ...]:
    """The counts with room for what is `taken` that hold it back all the same, each with the time until which."""
    paced = (
        (count.paced_until_s(amount_at(taken, count.place), now_s), count)
        for count in path.paced
        if count not in refusing
    )
    return tuple((until_s, count) for until_s, count in paced if until_s > now_s)


def _refusal(
    refusing: tuple[Count, ...], waiting: tuple[tuple[float, Count], ...], taken: int, now_s: float
) -> Refusal:
    free = [
        (count.window.free_at(amount_at(taken, count.place), count.amount, now_s, count.place), count)
        for count in refusing
    ]
    until_s, last = max((*free, *waiting), key=lambda pair: math.inf if pair[0] is None else pair[0])
    firm = bool(waiting) or any(now_s < count.firm_until_s for count in refusing)
    return Refusal(
        limit=last.key, used=last.used, amount=last.amount, until_s=until_s, firm=firm, paced=last not in refusing
    )


def _standing(count: Count, now_s: float) -> Standing:
    window, place = count.window, count.place
    reset_s = window.reset_at(now_s, place)
    used = count.used
    paced_until_s = count.paced_until_s(count.paced_amount, now_s) if count.smooth else now_s
    return Standing(
        limit=count.key,
        amount=window.amount_in_force(count.amount),
        used=used,
        reserved=min(amount_at(window.reserved, place), used),
        reset_s=reset_s,
        source=count.source,
        firm=now_s < count.firm_until_s,
        paced_until_s=paced_until_s if paced_until_s > now_s else None,
    )


def _end_probes(reservation: Reservation) -> None:
    for count in reservation.probed:
        if count.probe is reservation:
            count.probe = None


def _foreign(reservation: object) -> TypeError:
    return TypeError(f"{reservation!r} is not a reservation of this ledger")
