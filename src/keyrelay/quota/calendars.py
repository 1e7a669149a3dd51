"""When a calendar day or month begins and ends, to the second.

A provider's day is its own: Gemini counts from midnight in Los Angeles, which is 07:00 or 08:00 UTC, and the day
on which the clocks change has 23 or 25 hours. So bounds are taken as wall-clock midnights and converted through
UTC; subtracting two times of the same zone would say 24 hours on such a day. A midnight that the change skips is
the moment of the change; one that happens twice is the first.
"""

import datetime as dt
import math
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from keyrelay.core.limits import Window, WindowKind


def zone_of(window: Window) -> ZoneInfo:
    """The zone of a calendar window; raise ValueError when no such zone is known."""
    try:
        return ZoneInfo(window.zone)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"zone {window.zone!r} of window {window} is not an IANA name such as UTC") from None


def period_bounds(now_s: float, window: Window) -> tuple[float, float]:
    """Start and end (epoch seconds) of the calendar day or month that holds `now_s`; the end is not in it."""
    zone = zone_of(window)
    # Whole seconds, since the last half microsecond of a day would be rounded into the next one.
    today = dt.datetime.fromtimestamp(math.floor(now_s), zone).date()
    if window.kind is WindowKind.MONTH:
        first = today.replace(day=1)
        following = (first + dt.timedelta(days=31)).replace(day=1)
    else:
        first = today
        following = today + dt.timedelta(days=1)
    return _midnight(first, zone), _midnight(following, zone)


def period_start(now_s: float, window: Window) -> float:
    """When the calendar day or month that holds `now_s` began, in epoch seconds."""
    return period_bounds(now_s, window)[0]


def next_reset(now_s: float, window: Window) -> float:
    """When the calendar day or month that holds `now_s` ends and a new one begins, in epoch seconds."""
    return period_bounds(now_s, window)[1]


def _midnight(day: dt.date, zone: ZoneInfo) -> float:
    return dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
