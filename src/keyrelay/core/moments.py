"""Times as people and programs read them."""

import datetime as dt
import math

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_LAST_S = 253_402_300_799.0
"""The last second of the year 9999: later times cannot be written."""


def rfc3339(epoch_s: float) -> str:
    """A time in UTC to the second: `2027-01-15T08:00:00Z`. What lies before 1970 or after 9999 becomes that bound."""
    bounded = min(max(epoch_s, 0.0), _LAST_S)
    return f"{dt.datetime.fromtimestamp(math.floor(bounded), dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def known_moment(epoch_s: float | None) -> str | None:
    """A time in RFC 3339; None for one that is not known, or never comes."""
    return None if epoch_s is None or not math.isfinite(epoch_s) else rfc3339(epoch_s)


def past_moment(epoch_s: float) -> str | None:
    """A time in RFC 3339; None for 0, which stands for never."""
    return known_moment(epoch_s) if epoch_s else None


def utc_time(epoch_s: float) -> dt.datetime:
    """A time as answers hold it whose schema says that it is one."""
    return dt.datetime.fromtimestamp(epoch_s, dt.UTC)


def duration_words(seconds: float) -> str:
    """A duration in its two largest units, rounded up: `42 s`, `1 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, math.ceil(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
