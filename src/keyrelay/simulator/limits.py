"""The true limits: a naive sliding log per limit and scope, which the gateway's own ledger is judged by.

Every amount is written down with its time and falls out exactly one window length later, so no window, wherever
it starts, ever holds more than the limit. Input counts on arrival, output when it has been generated; a refused
call counts nothing. A provider's own units are one a call. Money is not counted, since nothing has a price here,
and what is in flight is not limited.
"""

import datetime as dt
import fnmatch
from collections import deque
from collections.abc import Callable
from zoneinfo import ZoneInfo

import msgspec

from keyrelay.core.limits import CALENDAR_KINDS, Limit, ScopePart, Unit, Window, WindowKind, parse_window
from keyrelay.core.providers import LimitRow


class Scope(msgspec.Struct, frozen=True):
    """Whose calls are counted together; an empty part means all of them."""

    provider: str
    account: str = ""
    key: str = ""
    model: str = ""


def _none(_: int) -> int:
    return 0


def _one(_: int) -> int:
    return 1


def _all(tokens: int) -> int:
    return tokens


_ARRIVING: dict[Unit, Callable[[int], int]] = {
    Unit.REQUESTS: _one,
    Unit.INPUT_TOKENS: _all,
    Unit.TOKENS: _all,
    Unit.OUTPUT_TOKENS: _one,  # room for one token at least; the rest is counted when it has been generated
    Unit.UNITS: _one,
    Unit.USD_MICROS: _none,
}
_GENERATED = (Unit.OUTPUT_TOKENS, Unit.TOKENS)
_ONE_DAY = dt.timedelta(days=1)


class Excess(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call was refused: `needed` on top of `used` is more than the limit.

    `free_at_s` is the epoch second from which the same call would pass, infinity when it never would.
    """

    limit: Limit
    scope: Scope
    hidden: bool
    used: int
    needed: int
    free_at_s: float


class Standing(msgspec.Struct, frozen=True):
    """How one limit stands for one caller."""

    limit: Limit
    used: int
    hidden: bool
    resets_in_s: float


def limit_of(row: LimitRow) -> Limit:
    """The limit that a row writes down."""
    return Limit(unit=row.unit, amount=row.amount, window=parse_window(row.window), scope=row.scope, models=row.models)


def period(window: Window, now_s: float) -> tuple[float, float]:
    """Start and end (epoch seconds) of the calendar period around `now_s`; all of time for windows without one."""
    if window.kind not in CALENDAR_KINDS:
        return float("-inf"), float("inf")
    zone = ZoneInfo(window.zone)
    first = dt.datetime.fromtimestamp(now_s, zone).date()
    last = first + _ONE_DAY
    while not _begins(first, window):
        first -= _ONE_DAY
    while not _begins(last, window):
        last += _ONE_DAY
    return _midnight(first, zone), _midnight(last, zone)


def _begins(day: dt.date, window: Window) -> bool:
    """Whether a period of the window begins on this day."""
    if window.kind is WindowKind.DAY:
        return True
    if window.kind is WindowKind.WEEK:
        return day.isoweekday() == 1
    wanted = window.day if window.kind is WindowKind.ANNIVERSARY else 1
    ends_month = (day + _ONE_DAY).day == 1
    return day.day == wanted or (ends_month and day.day < wanted)


def _expiry(window: Window) -> float:
    return _midnight(window.expires_on, ZoneInfo(window.zone)) if window.expires_on else float("inf")


def _midnight(day: dt.date, zone: ZoneInfo) -> float:
    return dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


class Log:
    """What one limit has counted for one scope."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._rolling = limit.window.kind is WindowKind.ROLLING
        self._entries: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._ends_s = float("-inf")
        self._expires_s = _expiry(limit.window)

    def fits(self, needed: int, now_s: float) -> bool:
        """Whether `needed` more may be used now; nothing may once the quota has expired."""
        return now_s < self._expires_s and self.used(now_s) + needed <= self._limit.amount

    def used(self, now_s: float) -> int:
        """What is in the window that ends now."""
        if self._rolling:
            oldest_s = now_s - self._limit.window.length_s
            while self._entries and self._entries[0][0] <= oldest_s:
                self._sum -= self._entries.popleft()[1]
        elif now_s >= self._ends_s:
            self._sum = 0
            self._ends_s = period(self._limit.window, now_s)[1]
        return self._sum

    def add(self, amount: int, now_s: float) -> None:
        """Count `amount` from now on."""
        self.used(now_s)
        self._sum += amount
        if self._rolling:
            self._entries.append((now_s, amount))

    def free_at(self, needed: int, now_s: float) -> float:
        """The epoch second from which `needed` more would fit if nobody else called."""
        if needed > self._limit.amount:
            return float("inf")
        if not self._rolling:
            return self._ends_s if now_s < self._expires_s else float("inf")
        excess = self.used(now_s) + needed - self._limit.amount
        for at_s, amount in self._entries:
            if excess <= 0:
                break
            excess -= amount
            now_s = at_s + self._limit.window.length_s
        return now_s

    def resets_in(self, now_s: float) -> float:
        """Seconds until nothing is used: to the period's end, or at the pace at which the window refills."""
        if not self._rolling:
            return self._ends_s - now_s
        return self.used(now_s) * self._limit.window.length_s / max(self._limit.amount, 1)


class Meter:
    """One limit of one provider with its logs, one for each scope that has called."""

    def __init__(self, limit: Limit, *, hidden: bool = False) -> None:
        self.limit = limit
        self.hidden = hidden
        self._logs: dict[Scope, Log] = {}

    def counts(self, model: str) -> bool:
        """Whether the limit speaks of this model."""
        return not self.limit.models or any(fnmatch.fnmatchcase(model, pattern) for pattern in self.limit.models)

    def scope_of(self, caller: Scope) -> Scope:
        """The part of the caller that the limit binds."""
        parts = self.limit.scope
        return Scope(
            caller.provider,
            caller.account if ScopePart.ACCOUNT in parts else "",
            caller.key if ScopePart.KEY in parts else "",
            caller.model if ScopePart.MODEL in parts else "",
        )

    def log(self, scope: Scope) -> Log:
        """The scope's log, made when it is first asked for."""
        return self._logs.setdefault(scope, Log(self.limit))


class _Lane:
    """One limit on one caller's path."""

    __slots__ = ("hidden", "limit", "log", "scope")

    def __init__(self, meter: Meter, caller: Scope) -> None:
        self.limit = meter.limit
        self.hidden = meter.hidden
        self.scope = meter.scope_of(caller)
        self.log = meter.log(self.scope)

    def excess(self, input_tokens: int, now_s: float) -> Excess | None:
        """Why the call may not pass, or None."""
        needed = _ARRIVING[self.limit.unit](input_tokens)
        if self.limit.window.kind is WindowKind.CONCURRENT or self.log.fits(needed, now_s):
            return None
        used = self.log.used(now_s)
        free_at_s = self.log.free_at(needed, now_s)
        return Excess(
            limit=self.limit, scope=self.scope, hidden=self.hidden, used=used, needed=needed, free_at_s=free_at_s
        )


class Enforcer:
    """All limits of one provider."""

    def __init__(self, limits: tuple[LimitRow, ...], hidden: tuple[LimitRow, ...] = ()) -> None:
        self.meters = (
            *(Meter(limit_of(row)) for row in limits),
            *(Meter(limit_of(row), hidden=True) for row in hidden),
        )
        self._paths: dict[Scope, tuple[_Lane, ...]] = {}

    def admit(self, caller: Scope, input_tokens: int, now_s: float) -> Excess | None:
        """Count the call in every limit, or in none and say which one refuses it for longest."""
        path = self._path(caller)
        for lane in path:
            if lane.excess(input_tokens, now_s) is not None:
                refusals = (lane.excess(input_tokens, now_s) for lane in path)
                return max((e for e in refusals if e is not None), key=lambda e: e.free_at_s)
        for lane in path:
            if lane.limit.unit is not Unit.OUTPUT_TOKENS:
                lane.log.add(_ARRIVING[lane.limit.unit](input_tokens), now_s)
        return None

    def complete(self, caller: Scope, output_tokens: int, now_s: float) -> None:
        """Count what an admitted call has generated."""
        for lane in self._path(caller):
            if lane.limit.unit in _GENERATED:
                lane.log.add(output_tokens, now_s)

    def standings(self, caller: Scope, now_s: float) -> list[Standing]:
        """How each limit on the caller's path stands."""
        return [
            Standing(lane.limit, lane.log.used(now_s), lane.hidden, lane.log.resets_in(now_s))
            for lane in self._path(caller)
        ]

    def _path(self, caller: Scope) -> tuple[_Lane, ...]:
        path = self._paths.get(caller)
        if path is None:
            path = tuple(_Lane(meter, caller) for meter in self.meters if meter.counts(caller.model))
            self._paths[caller] = path
        return path
