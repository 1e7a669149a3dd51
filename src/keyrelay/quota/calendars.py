"""When a calendar day, week or month begins and ends, and when a quota expires, to the second.

A provider's day is its own: Gemini counts from midnight in Los Angeles, which is 07:00 or 08:00 UTC, and the day
on which the clocks change has 23 or 25 hours. So bounds are taken as wall-clock midnights and converted through
UTC; subtracting two times of the same zone would say 24 hours on such a day. A midnight that the change skips is
the moment of the change; one that happens twice is the first.
"""

import calendar
import datetime as dt
import math
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from keyrelay.core.limits import CALENDAR_KINDS, Window, WindowKind


def zone_of(window: Window) -> ZoneInfo:
    """The zone of a calendar window, or of an expiry; raise ValueError when no such zone is known."""
    try:
        return ZoneInfo(window.zone)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"zone {window.zone!r} of window {window} is not an IANA name such as UTC") from None


def needs_zone(window: Window) -> bool:
    """Whether the window's bounds depend on a zone."""
    return window.kind in CALENDAR_KINDS or window.expires_on is not None


def period_bounds(now_s: float, window: Window) -> tuple[float, float]:
    """Start and end (epoch seconds) of the calendar period that holds `now_s`; the end is not in it.

    The period is the window's: a day, a week from Monday on, a month, or a month from its anniversary on.
    """
    zone = zone_of(window)
    # Whole seconds, since the last half microsecond of a day would be rounded into the next one.
    today = dt.datetime.fromtimestamp(math.floor(now_s), zone).date()
    first, following = _period(today, window)
    return _midnight(first, zone), _midnight(following, zone)


def period_start(now_s: float, window: Window) -> float:
    """When the calendar period that holds `now_s` began, in epoch seconds."""
    return period_bounds(now_s, window)[0]


def next_reset(now_s: float, window: Window) -> float:
    """When the calendar period that holds `now_s` ends and a new one begins, in epoch seconds."""
    return period_bounds(now_s, window)[1]


def expiry_s(window: Window) -> float:
    """When the window's quota is gone for good, in epoch seconds; infinity when it does not expire."""
    if window.expires_on is None:
        return math.inf
    return _midnight(window.expires_on, zone_of(window))


def _period(today: dt.date, window: Window) -> tuple[dt.date, dt.date]:
    """First day of the period that holds a day, and of the one after."""
    if window.kind is WindowKind.DAY:
        return today, today + dt.timedelta(days=1)
    if window.kind is WindowKind.WEEK:
        monday = today - dt.timedelta(days=today.weekday())
        return monday, monday + dt.timedelta(days=7)
    day = window.day if window.kind is WindowKind.ANNIVERSARY else 1
    this = _day_of_month(today, day)
    if today < this:
        return _day_of_month(today.replace(day=1) - dt.timedelta(days=1), day), this
    return this, _day_of_month(today.replace(day=1) + dt.timedelta(days=31), day)


def _day_of_month(month: dt.date, day: int) -> dt.date:
    """That day of the month in which `month` lies, its last one when it has no such day."""
    return month.replace(day=min(day, calendar.monthrange(month.year, month.month)[1]))


def _midnight(day: dt.date, zone: ZoneInfo) -> float:
    return dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
