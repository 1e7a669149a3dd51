"""How much of a limit is left, how long that lasts at the present pace, and what became of a quota that is over.

Nothing here is counted: it takes what the ledger and the history of use say, as plain numbers.

The pace is a mean: what was used in the last ten minutes counts half, so that a change shows within minutes and a
pause of ten minutes does not yet mean that nobody is there; the last hour and what is typical for this hour of the day
share the other half, or the last hour has it alone. Who has used nothing for an hour has no pace, whatever is typical.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from keyrelay.core.limits import Unit, Window, WindowKind
from keyrelay.core.moments import duration_words, rfc3339
from keyrelay.quota.calendars import expiry_s, next_reset

MIN_WATCHED_S = 60.0
"""What has been watched for a shorter time has no rate."""

FAR_FUTURE_S = 10 * 365 * 86_400.0
"""What lasts for ten years lasts."""

_HOUR_S = 3600.0
_10_MIN_S = 600.0
_USD_MICROS = 1_000_000
_SCALES = ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k"), (0.0, 1.0, ""))
"""From which number on, what it is divided by, and what is written behind it."""
_SMALLEST = 0.01
_THREE_DIGITS = 100


class Headroom(msgspec.Struct, frozen=True):
    """What is left of a limit: an amount, and its share of the whole from 0 to 1."""

    remaining: int
    share: float


def headroom(amount: int, used: int) -> Headroom:
    """What is left of `amount` when `used` of it, reservations included, are used; nothing is left of a limit of 0."""
    remaining = max(0, amount - used)
    return Headroom(remaining, min(1.0, remaining / amount) if amount > 0 else 0.0)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What was used lately, in the limit's unit: in the last 10 minutes, and in the last hour, those included.

    `typical_hour` is what this hour of the day usually takes, None when that is not known. `watched_s` is how long use
    has been recorded: after a start the last hour is not a whole one yet.
    """

    last_10_min: float
    last_hour: float
    typical_hour: float | None = None
    watched_s: float = _HOUR_S

    @property
    def rate_per_h(self) -> float | None:
        """Amount per hour at the present pace (see the module); None when there is none to go by."""
        if self.watched_s < MIN_WATCHED_S or max(self.last_10_min, self.last_hour) <= 0:
            return None
        short = self.last_10_min * _HOUR_S / min(_10_MIN_S, self.watched_s)
        long = self.last_hour * _HOUR_S / min(_HOUR_S, self.watched_s)
        other = long if self.typical_hour is None else (long + self.typical_hour) / 2
        return (short + other) / 2 or None  # the smallest of numbers, halved, are nothing


class Outlook(StrEnum):
    """What is to be expected of a limit."""

    LASTS = "lasts"
    RUNS_OUT = "runs_out"
    EXHAUSTED = "exhausted"
    UNKNOWN = "unknown"


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be expected of a limit, and why, in a sentence for people.

    `at_s` (epoch) is when it will be gone if it runs out, when something comes back if it is exhausted (None: never, or
    not known), and None otherwise. `rate_per_h` is the pace that this goes by, None if there is none.
    """

    kind: Outlook
    reason: str
    at_s: float | None = None
    rate_per_h: float | None = None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How a limit stands: the `amount` in force, 0 once it has expired, and what is used, reservations included.

    `reset_s` (epoch) is when something comes back. None when that is not known: calendar periods end at their time.
    """

    unit: Unit
    window: Window
    amount: int
    used: int
    reset_s: float | None = None


def forecast(count: Count, pace: Pace, now_s: float) -> Forecast:
    """What is to be expected of a limit at this pace."""
    kind = count.window.kind
    rate_per_h = pace.rate_per_h
    if kind is WindowKind.CONCURRENT:
        reason = "It counts what is in flight, which frees its place when it ends: there is nothing to run out."
        return Forecast(kind=Outlook.UNKNOWN, reason=reason, rate_per_h=rate_per_h)
    if count.used >= count.amount or expiry_s(count.window) <= now_s:
        return _exhausted(count, now_s, rate_per_h)
    if rate_per_h is None:
        return Forecast(kind=Outlook.UNKNOWN, reason=_no_rate(pace))
    if kind is WindowKind.ROLLING:
        return _rolling(count, rate_per_h, now_s)
    if kind is WindowKind.ONCE:
        return _once(count, rate_per_h, now_s)
    return _calendar(count, rate_per_h, now_s)


def _no_rate(pace: Pace) -> str:
    if pace.watched_s < MIN_WATCHED_S and max(pace.last_10_min, pace.last_hour) > 0:
        return "Its use has been recorded for less than a minute, so there is no rate to go by."
    return "There was no use in the last hour, so there is no rate to go by."


def _exhausted(count: Count, now_s: float, rate_per_h: float | None) -> Forecast:
    at_s = None
    amount = amount_words(count.amount, count.unit)
    if (expires_s := expiry_s(count.window)) <= now_s:
        reason = f"It expired at {rfc3339(expires_s)}."
    elif count.amount <= 0:
        reason = "The limit is 0: nothing may be used."
    elif count.window.kind is WindowKind.ONCE:
        reason = f"All of {amount} are used and do not come back."
    elif count.reset_s is None and count.window.kind is WindowKind.ROLLING:
        reason = f"All of {amount} are used; it is not known when more come back."
    else:
        at_s = max(_reset_s(count, now_s), now_s)
        reason = f"All of {amount} are used; more come back at {rfc3339(at_s)}, in {duration_words(at_s - now_s)}."
    return Forecast(kind=Outlook.EXHAUSTED, reason=reason, at_s=at_s, rate_per_h=rate_per_h)


def _rolling(count: Count, rate_per_h: float, now_s: float) -> Forecast:
    """A rolling window gives back all the time: it runs out only if more is used than it can give back."""
    pace = _pace_words(count, rate_per_h)
    length_h = count.window.length_s / _HOUR_S
    if rate_per_h * length_h <= count.amount:
        reason = f"{pace} it lasts: the window allows {amount_words(count.amount / length_h, count.unit)} an hour."
        return Forecast(kind=Outlook.LASTS, reason=reason, rate_per_h=rate_per_h)
    # What is used leaves evenly over the window's length, as far as is known; so it is full within one length.
    net_per_h = rate_per_h - count.used / length_h
    at_s = now_s + (count.amount - count.used) / net_per_h * _HOUR_S
    reason = f"{pace} it runs out in about {duration_words(at_s - now_s)}: more than the window gives back."
    return Forecast(kind=Outlook.RUNS_OUT, reason=reason, at_s=at_s, rate_per_h=rate_per_h)


def _calendar(count: Count, rate_per_h: float, now_s: float) -> Forecast:
    reset_s = _reset_s(count, now_s)
    pace, reset = _pace_words(count, rate_per_h), rfc3339(reset_s)
    remaining = count.amount - count.used
    left = remaining - rate_per_h * max(0.0, reset_s - now_s) / _HOUR_S
    if left >= 0:
        rest = amount_words(int(left), count.unit)
        reason = f"{pace} it lasts: about {rest} will be left at the reset at {reset}."
        return Forecast(kind=Outlook.LASTS, reason=reason, rate_per_h=rate_per_h)
    at_s = now_s + remaining / rate_per_h * _HOUR_S
    gap = duration_words(reset_s - at_s)
    reason = f"{pace} it runs out in about {duration_words(at_s - now_s)}, {gap} before the reset at {reset}."
    return Forecast(kind=Outlook.RUNS_OUT, reason=reason, at_s=at_s, rate_per_h=rate_per_h)


def _once(count: Count, rate_per_h: float, now_s: float) -> Forecast:
    pace = _pace_words(count, rate_per_h)
    remaining = count.amount - count.used
    lasts_s = remaining / rate_per_h * _HOUR_S
    if now_s + lasts_s > (expires_s := expiry_s(count.window)):
        rest = amount_words(int(remaining - rate_per_h * (expires_s - now_s) / _HOUR_S), count.unit)
        reason = f"{pace} it lasts: about {rest} will be left when it expires at {rfc3339(expires_s)}."
        return Forecast(kind=Outlook.LASTS, reason=reason, rate_per_h=rate_per_h)
    if lasts_s >= FAR_FUTURE_S:
        return Forecast(kind=Outlook.LASTS, reason=f"{pace} it lasts for more than ten years.", rate_per_h=rate_per_h)
    reason = f"{pace} it runs out in about {duration_words(lasts_s)} and does not come back."
    return Forecast(kind=Outlook.RUNS_OUT, reason=reason, at_s=now_s + lasts_s, rate_per_h=rate_per_h)


def _reset_s(count: Count, now_s: float) -> float:
    return next_reset(now_s, count.window) if count.reset_s is None else count.reset_s


def _pace_words(count: Count, rate_per_h: float) -> str:
    return f"At {amount_words(rate_per_h, count.unit)} an hour"


def amount_words(amount: float, unit: Unit) -> str:
    """An amount for people, with its unit: `1 request`, `1.4 M input tokens`, `$2.50`, `$0.0004`."""
    if unit is Unit.USD_MICROS:
        return f"${amount / _USD_MICROS:,.{2 if amount >= _USD_MICROS else 4}f}"
    number, name = number_words(amount), unit.replace("_", " ")
    return f"{number} {name.removesuffix('s') if number == '1' else name}"


def number_words(number: float) -> str:
    """A number, not below zero, to about three digits: `0.25`, `9`, `1,500`, `12.5 k`, `1.4 M`, `2 G`."""
    if 0 < number < _SMALLEST:
        return f"less than {_SMALLEST}"
    scale, sign = next((scale, sign) for least, scale, sign in _SCALES if number >= least)
    scaled = number / scale
    return f"{scaled:,.0f}{sign}" if scaled >= _THREE_DIGITS else f"{scaled:.3g}{sign}"


class Cause(StrEnum):
    """Why a part of a quota did not become useful answers."""

    REFUSED = "refused"  # the provider refused the call, and counts it all the same
    FAILED = "failed"  # the call failed after it had been counted
    BROKEN = "broken"  # the answer broke off, or its caller had gone
    UNUSED = "unused"  # nobody asked for it before the period ended


class Yield(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a quota in a period. `useful` and all of `wasted` are together `theoretical`.

    `share` is the part of the whole that became useful answers, None when there was nothing to use.
    """

    theoretical: int
    useful: int
    wasted: dict[Cause, int]
    share: float | None


def yield_of(theoretical: int, useful: int, wasted: Mapping[Cause, int]) -> Yield:
    """What became of a quota that would have allowed `theoretical` in a period.

    `wasted` is what was used without an answer, by cause; what is unused follows from the rest. If more was used than
    the quota was believed to allow, then that much was the whole. Raise ValueError for amounts below zero and for
    `unused` among the causes.
    """
    if Cause.UNUSED in wasted or min(theoretical, useful, *wasted.values()) < 0:
        raise ValueError(f"of {theoretical}, {useful} useful and {dict(wasted)} wasted is not what happened to a quota")
    used = useful + sum(wasted.values())
    whole = max(theoretical, used)
    causes = {cause: wasted.get(cause, 0) for cause in Cause}
    causes[Cause.UNUSED] = whole - used
    return Yield(theoretical=whole, useful=useful, wasted=causes, share=useful / whole if whole else None)
