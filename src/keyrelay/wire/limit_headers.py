"""What the headers of an answer say about limits: one tolerant reader for all formats, which are rows of the catalogue.

A name alone does not tell what is counted: `x-ratelimit-limit-requests` is per minute at OpenAI and per day at Groq. So
a provider's rows say unit and window, and of a server that nobody knows only names are believed that say both, or the
IETF's draft, which states the window itself.

Nothing here raises whatever a header says: what is negative, absurd, past or no number is None, as if it were absent.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec

from keyrelay.core.limits import ScopePart, Unit, Window, WindowKind, parse_window
from keyrelay.core.providers import LimitHeadersRow
from keyrelay.wire.hints import parse_wait

MOST = 10**15
"""No limit is as large as that: a larger amount says nothing."""

LONGEST_RESET_S = 32 * 86_400.0
"""No reset is further away than a month's."""

_LONGEST_POLICY_S = 31 * 86_400
_DIGITS = frozenset("0123456789")
_LONGEST_NUMBER = 16
_SMALLEST_EPOCH = 1e9
_POLICY_UNITS = {"": None, "requests": Unit.REQUESTS, "tokens": Unit.TOKENS}


class LimitWord(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of one limit; None for what it does not say.

    `amount` is what the window allows, `remaining` what is left of it, `reset_s` (epoch) when something or all of it
    comes back. `scope_hint` is what the limit probably binds.
    """

    unit: Unit | None
    window: Window | None = None
    amount: int | None = None
    remaining: int | None = None
    reset_s: float | None = None
    scope_hint: tuple[ScopePart, ...] = (ScopePart.ACCOUNT, ScopePart.MODEL)


def read_limits(
    headers: Mapping[str, str], formats: tuple[LimitHeadersRow, ...], now_s: float
) -> tuple[LimitWord, ...]:
    """The limits that headers (under lower-case names) tell, in the order of the rows that find any."""
    words: list[LimitWord] = []
    for row in formats:
        if row.policy:
            words += _policies(row, headers, now_s)
            continue
        amount = whole_number(headers.get(row.limit, ""))
        remaining = whole_number(headers.get(row.remaining, ""))
        if amount is None and remaining is None:
            continue
        words.append(
            LimitWord(
                unit=row.unit,
                window=_window(row.window),
                amount=amount or None,
                remaining=remaining,
                reset_s=_reset(headers.get(row.reset, ""), row, now_s),
                scope_hint=row.scope,
            )
        )
    return tuple(words)


def whole_number(text: str) -> int | None:
    """A number from 0 to MOST, also when written `12.0`; None for anything else."""
    digits, point, fraction = text.strip().partition(".")
    if not digits or len(digits) > _LONGEST_NUMBER or not _DIGITS.issuperset(digits):
        return None
    if point and fraction.strip("0"):
        return None
    number = int(digits)
    return number if number <= MOST else None


@lru_cache(maxsize=256)
def _window(text: str) -> Window:
    return parse_window(text)


def _reset(text: str, row: LimitHeadersRow, now_s: float) -> float | None:
    wait_s = parse_wait(text, now_s)
    if wait_s is None:
        return None
    if row.reset_unit == "ms" and whole_number(text) is not None and wait_s < _SMALLEST_EPOCH:
        wait_s /= 1000
    reset_s = now_s + wait_s  # no later than now when the wait is too short for a clock to show
    return reset_s if wait_s <= LONGEST_RESET_S and reset_s > now_s else None


def _policies(row: LimitHeadersRow, headers: Mapping[str, str], now_s: float) -> Iterator[LimitWord]:
    """The limits of the IETF's draft, in its present form and those of its older versions.

    `RateLimit-Policy: "burst";q=100;w=60` with `RateLimit: "burst";r=50;t=30`, or `100;w=60` with `limit=100,
    remaining=50, reset=30`, or with headers of their own.
    """
    policies = list(_items(headers.get(row.policy, "")))
    states = dict(_items(headers.get(row.limit, "")))
    for name, parameters in policies:
        amount = whole_number(parameters.get("q", name))
        length_s = whole_number(parameters.get("w", "")) or 0
        unit = _POLICY_UNITS.get(parameters.get("qu", ""), ...)
        if not amount or not 0 < length_s <= _LONGEST_POLICY_S or unit is ...:
            continue
        state = states.get(name, {})
        remaining, reset = state.get("r", ""), state.get("t", "")
        if not state and len(policies) == 1:
            remaining = states.get("remaining", {}).get("", headers.get(row.remaining, ""))
            reset = states.get("reset", {}).get("", headers.get(row.reset, ""))
        yield LimitWord(
            unit=row.unit if unit is None else unit,
            window=Window(WindowKind.ROLLING, float(length_s)),
            amount=amount,
            remaining=whole_number(remaining),
            reset_s=_reset(reset, row, now_s),
            scope_hint=row.scope,
        )


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """`"a";q=1;w=2, "b";q=3` as names with their parameters; a plain `reset=5` has its value under the empty name."""
    for item in text.split(","):
        head, *rest = item.split(";")
        parameters = {}
        for part in rest:
            name, _, value = part.partition("=")
            parameters[name.strip().lower()] = value.strip().strip('"')
        name, equals, value = head.partition("=")
        if equals:
            parameters[""] = value.strip()
        yield name.strip().strip('"'), parameters
