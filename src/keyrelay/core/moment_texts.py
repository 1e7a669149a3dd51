"""The texts that may be written for a time in a query: what people and programs are used to."""

import datetime as dt
import re

_LAST_S = 253_402_300_799.0
"""The last second of the year 9999."""

_EPOCH = re.compile(r"\d{1,12}(?:\.\d{1,9})?")
_LENGTH = re.compile(r"(\d{1,9})([smhdw])")
_LENGTHS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?")
_LOST_PLUS = re.compile(r"([Tt].*) (\d\d:\d\d)")
"""A `+` that a query string turned into a space."""


def moment_of(text: str, now_s: float) -> float:
    """The epoch second that a text means, `now_s` being the present one. Raise ValueError with a sentence about it.

    RFC 3339 (`2026-11-21T12:00:00Z`; without an offset in UTC, a date alone at midnight), epoch seconds, `now`, or a
    time ago as a number with `s`, `m`, `h`, `d` or `w` (`24h`).
    """
    if text == "now":
        return now_s
    moment_s = _moment(text, now_s, -1)
    if moment_s is None:
        message = "must be a time such as 2026-11-21T12:00:00Z, epoch seconds, 'now', or a time ago such as 24h or 7d"
        raise ValueError(message)
    return moment_s


def moment_ahead(text: str, now_s: float) -> float:
    """The epoch second that a text means of something to come: as `moment_of`, but a length of time counts from now on.

    Raise ValueError with a sentence about it.
    """
    moment_s = _moment(text, now_s, 1)
    if moment_s is None:
        raise ValueError("must be a time such as 2027-01-31T12:00:00Z, or one ahead such as 30d")
    return moment_s


def _moment(text: str, now_s: float, direction: int) -> float | None:
    """The epoch second of a text, in which a length of time leads back (-1) or ahead (1); None when it is none."""
    length = _LENGTH.fullmatch(text)
    if length:
        moment_s: float | None = now_s + direction * int(length[1]) * _LENGTHS_S[length[2]]
    elif _EPOCH.fullmatch(text):
        moment_s = float(text)
    else:
        moment_s = _written(_LOST_PLUS.sub(r"\1+\2", text))
    return None if moment_s is None or moment_s > _LAST_S else max(moment_s, 0.0)


def _written(text: str) -> float | None:
    if not _RFC3339.fullmatch(text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
