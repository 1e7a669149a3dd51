"""Limits as values: an amount of a unit, in a window, at a scope."""

import datetime as dt
import re
from enum import StrEnum

import msgspec


class Unit(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOKENS = "tokens"
    USD_MICROS = "usd_micros"  # money, in millionths of a US dollar
    UNITS = "units"  # a provider's own: neurons, credits


class WindowKind(StrEnum):
    """How a window moves."""

    ROLLING = "rolling"  # the last N seconds, wherever one looks
    DAY = "day"  # a calendar day in a zone
    WEEK = "week"  # a calendar week in a zone, from Monday on
    MONTH = "month"  # a calendar month in a zone
    ANNIVERSARY = "anniversary"  # from a day of the month to the same day of the next, in a zone
    ONCE = "once"  # never resets; may expire
    CONCURRENT = "concurrent"  # what is in flight


CALENDAR_KINDS = frozenset({WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH, WindowKind.ANNIVERSARY})
"""Windows that begin anew at a midnight of their zone."""

_DAY_HOURS = 24

LAST_DAY = 31
"""The highest day of a month; an anniversary on a day that a month lacks falls on the month's last."""


class Window(msgspec.Struct, frozen=True):
    """When a limit's count starts anew.

    `length_s` counts for rolling windows only, `zone` (an IANA name) for calendar windows and for expiry. `day` is the
    day of the month, 1 to 31, on which an anniversary month begins. A `once` with `expires_on` is gone from the
    midnight on that begins that day. Written as `1s`, `60s`, `1h`, `24h`, `day@America/Los_Angeles`, `week@UTC`,
    `month@UTC`, `month:15@UTC`, `once`, `once:2027-03-01@UTC`, `concurrent`.
    """

    kind: WindowKind
    length_s: float = 0.0
    zone: str = "UTC"
    day: int = 1
    expires_on: dt.date | None = None

    def __str__(self) -> str:
        if self.kind is WindowKind.ROLLING:
            return f"{self.length_s:.15g}s"
        if self.kind is WindowKind.ANNIVERSARY:
            return f"{WindowKind.MONTH}:{self.day}@{self.zone}"
        if self.expires_on is not None:
            return f"{self.kind}:{self.expires_on}@{self.zone}"
        return f"{self.kind}@{self.zone}" if self.kind in CALENDAR_KINDS else str(self.kind)

    @property
    def words(self) -> str:
        """As people write it: whole hours as `24h`, from two days on as `30d`; everything else as it is kept."""
        hours, rest = divmod(self.length_s, _SECONDS["h"])
        if self.kind is not WindowKind.ROLLING or rest or not hours:
            return str(self)
        days, rest = divmod(hours, _DAY_HOURS)
        return f"{hours:.15g}h" if rest or days == 1 else f"{days:.15g}d"


_ROLLING = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CALENDAR = re.compile(r"(?P<kind>day|week|month)(?::(?P<day>[0-9]{1,2}))?@(?P<zone>.+)")
_EXPIRING = re.compile(r"once:(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})@(?P<zone>.+)")
_WRITTEN = "1s, 60s, 1h, 24h, day@ZONE, week@ZONE, month@ZONE, month:15@ZONE, once, once:2027-03-01@ZONE, concurrent"


def parse_window(text: str) -> Window:
    """Read a window as it is written (see `Window`); raise ValueError that says what would do.

    `month:1@ZONE` is the calendar month. Whether there is such a zone is not looked up.
    """
    window = _rolling_window(text) or _calendar_window(text) or _other_window(text)
    if window is None:
        msg = f"window {text!r} is not one of {_WRITTEN}"
        raise ValueError(msg)
    return window


def _rolling_window(text: str) -> Window | None:
    found = _ROLLING.fullmatch(text)
    length_s = int(found[1]) * _SECONDS[found[2]] if found else 0
    return Window(WindowKind.ROLLING, float(length_s)) if length_s else None


def _calendar_window(text: str) -> Window | None:
    found = _CALENDAR.fullmatch(text)
    if found is None:
        return None
    if found["day"] is None:
        return Window(WindowKind(found["kind"]), zone=found["zone"])
    day = int(found["day"])
    if found["kind"] != WindowKind.MONTH or not 1 <= day <= LAST_DAY:
        return None
    if day == 1:
        return Window(WindowKind.MONTH, zone=found["zone"])
    return Window(WindowKind.ANNIVERSARY, zone=found["zone"], day=day)


def _other_window(text: str) -> Window | None:
    if text in (WindowKind.ONCE, WindowKind.CONCURRENT):
        return Window(WindowKind(text))
    found = _EXPIRING.fullmatch(text)
    if found is None:
        return None
    try:
        expires_on = dt.date.fromisoformat(found["date"])
    except ValueError:  # such as February 30
        return None
    return Window(WindowKind.ONCE, zone=found["zone"], expires_on=expires_on)


class Pacing(StrEnum):
    """How a limit is approached."""

    BURST = "burst"  # as fast as requests come
    SMOOTH = "smooth"  # once more than half is used, spread over what is left of the window


class ScopePart(StrEnum):
    """What a limit binds: key, account or provider, alone or with `model`; `model` alone is it at that provider.

    What binds a `client` binds nothing else.
    """

    KEY = "key"
    ACCOUNT = "account"
    PROVIDER = "provider"
    MODEL = "model"
    CLIENT = "client"


class LimitSource(StrEnum):
    """Where a limit comes from. What the operator configured is never exceeded."""

    CATALOGUE = "catalogue"
    CONFIGURED = "configured"
    LEARNED = "learned"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`15 requests per minute for (account, model)`.

    `models` are shell patterns of the model names that the limit counts, empty for all of them; with
    `model` in the scope each model has a count of its own, without it they share one. `firm` is False for
    a belief: it orders and paces, and one request at a time may go beyond it when nothing else can serve.
    `pacing` says how fast the amount may be used up.
    """

    unit: Unit
    amount: int
    window: Window
    scope: tuple[ScopePart, ...] = (ScopePart.ACCOUNT, ScopePart.MODEL)
    models: tuple[str, ...] = ()
    source: LimitSource = LimitSource.CATALOGUE
    firm: bool = True
    pacing: Pacing = Pacing.BURST

    def __str__(self) -> str:
        per = "" if self.window.kind is WindowKind.CONCURRENT else "per "
        smooth = " smooth" if self.pacing is Pacing.SMOOTH else ""
        return f"{self.amount} {self.unit} {per}{self.window.words} for ({', '.join(self.scope)}){smooth}"
