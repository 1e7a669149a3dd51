"""How long a provider asks to wait: headers and bodies in all the formats in use, read by one tolerant parser.

Source: the providers' documentation and captured answers, as tabled in the documentation's provider page.
A hint is a wish, not a promise: it is clamped, and callers decide whether a calendar reset overrules it.
"""

import datetime as dt
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

SHORTEST_HINT_S = 0.5
LONGEST_HINT_S = 26 * 3600.0

_EPOCH_MS = 1e12
_EPOCH_S = 1e9
_DURATION = re.compile(
    r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?!s))?(?:(?P<s>\d+(?:\.\d+)?)s)?"
    r"(?:(?P<ms>\d+(?:\.\d+)?)ms)?(?:(?P<us>\d+(?:\.\d+)?)[uµ]s)?"
)
_UNIT_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
# What follows must not make it the beginning of a date or a range.
_PROSE = re.compile(
    r"(?:try again|retry|reset)[a-z ]{0,20}? (?:in|after) (?P<wait>\d[\d.a-zµ]*)(?![-:/\w])", re.IGNORECASE
)
_WORDS = re.compile(r"(\d+(?:\.\d+)?) ?(millisecond|second|sec|minute|min|hour|day)s?\b", re.IGNORECASE)
_WORD_S = {"millisecond": 0.001, "second": 1.0, "sec": 1.0, "minute": 60.0, "min": 60.0, "hour": 3600.0, "day": 86400.0}
_EXHAUSTED = ("0", "0.0")


def parse_wait(text: str, now_s: float) -> float | None:
    """Seconds to wait from any of: `12`, `1m26.4s`, `825ms`, epoch seconds or milliseconds, RFC 3339, an HTTP date.

    None when the text says nothing usable; negative and past times come back as they are, for `clamp`.
    """
    text = text.strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return _parse_words(text, now_s)
    if not math.isfinite(number):
        return None
    if number >= _EPOCH_MS:
        return number / 1000 - now_s
    return number - now_s if number >= _EPOCH_S else number


def _parse_words(text: str, now_s: float) -> float | None:
    match = _DURATION.fullmatch(text)
    if match:
        return sum(float(value) * _UNIT_S[unit] for unit, value in match.groupdict().items() if value)
    try:
        moment = dt.datetime.fromisoformat(text) if "T" in text and text[:1].isdigit() else parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return moment.timestamp() - now_s
    except (ValueError, OverflowError):
        return None


def clamp(wait_s: float) -> float:
    """A hint within reason: zero, negative and absurd ones never cause a busy loop nor a rest of weeks."""
    return min(max(wait_s, SHORTEST_HINT_S), LONGEST_HINT_S)


def header_hint(headers: Mapping[str, str], now_s: float) -> float | None:
    """The wait that headers ask for: `retry-after-ms`, `retry-after`, then the reset of an exhausted dimension."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds:
        wait_s = parse_wait(milliseconds, now_s)
        if wait_s is not None:
            return clamp(wait_s / 1000)
    after = headers.get("retry-after")
    if after:
        wait_s = parse_wait(after, now_s)
        if wait_s is not None:
            return clamp(wait_s)
    return _reset_hint(headers, now_s)


def _reset_hint(headers: Mapping[str, str], now_s: float) -> float | None:
    waits = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        remaining = headers.get(name.replace("reset", "remaining"), "")
        if remaining.strip() in _EXHAUSTED:
            wait_s = parse_wait(value, now_s)
            if wait_s is not None:
                waits.append(clamp(wait_s))
    return max(waits, default=None)


def prose_hint(message: str) -> float | None:
    """The wait that a sentence asks for: `Please try again in 7m12.5s`, `retry in 45.57s`, `retry after 2 minutes`."""
    match = _PROSE.search(message)
    if match is None:
        return None
    words = _WORDS.match(message, match.start("wait"))
    if words is not None:
        return clamp(float(words[1]) * _WORD_S[words[2].lower()])
    wait_s = parse_wait(match["wait"].rstrip("."), 0.0)
    return None if wait_s is None else clamp(wait_s)
