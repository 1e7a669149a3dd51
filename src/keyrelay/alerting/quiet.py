"""Quiet hours: by the wall clock of a zone, so that a night that is an hour longer is quiet an hour longer."""

import datetime as dt
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from keyrelay.core.alerts import QuietHours

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def is_quiet(hours: QuietHours, now_s: float) -> bool:
    """Whether a moment (epoch seconds) lies in them; hours that `problem` has found no fault with."""
    local = dt.datetime.fromtimestamp(now_s, ZoneInfo(hours.zone))
    minute = local.hour * 60 + local.minute
    start, end = _minute(hours.start), _minute(hours.end)
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


def problem(hours: QuietHours) -> tuple[str, str]:
    """What of them will not do: the field, and why; both empty when all of it will."""
    for name, text in (("start", hours.start), ("end", hours.end)):
        if not _TIME.fullmatch(text):
            return name, "a time of day such as 22:00"
    if hours.start == hours.end:
        return "end", "another time than the start"
    try:
        ZoneInfo(hours.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # an unknown one, one with dots, a folder
        return "zone", "a time zone such as Europe/Berlin"
    return "", ""


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
