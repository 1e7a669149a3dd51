"""Limits that the operator sets: `GROQ_LIMIT=14400`, `GEMINI_RPM=10`, `GROQ_TPD=500000`.

All of them are firm: they are never exceeded, whatever the tier. Where the provider's row says how it counts
(which window is its day, which tokens per minute), the operator's number is counted in the same way.
"""

import math
from collections.abc import Mapping

import msgspec

from keyrelay.configuration.environment import Environment
from keyrelay.configuration.findings import Findings
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind, parse_window
from keyrelay.core.providers import ProviderRow

_MINUTE = Window(WindowKind.ROLLING, 60.0)
_HOUR = Window(WindowKind.ROLLING, 3600.0)
_DAY_S = 86_400.0
_MONTH_S = 28 * _DAY_S
_PER_MODEL = (ScopePart.ACCOUNT, ScopePart.MODEL)
_TOKENS = (Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
_HIGHEST_AMOUNT = 10**15

MONTHLY_PROVIDERS = frozenset({"ai21", "cohere", "huggingface"})
"""Providers whose free allowance is a monthly one even where the row has no monthly limit (S2.4)."""

SUFFIXES: Mapping[str, str] = {
    "LIMIT": "requests per account in the provider's longest period (tokens where the row counts that in tokens)",
    "RPM": "requests per minute, account and model",
    "RPH": "requests per hour, account and model",
    "RPD": "requests per day as the provider counts it, account and model",
    "TPM": "tokens per minute, account and model",
    "TPD": "tokens per day as the provider counts it, account and model",
}


class SourcedLimit(msgspec.Struct, frozen=True):
    """A limit and the variable that it came from."""

    limit: Limit
    source: str


def read_limits(
    row: ProviderRow, prefix: str, *, environment: Environment, findings: Findings
) -> tuple[SourcedLimit, ...]:
    """The limits that the variables of this provider set."""
    limits = list[SourcedLimit]()
    for suffix in SUFFIXES:
        found = environment.find(f"{prefix}_{suffix}")
        if found is None:
            continue
        amount = _amount(found.text)
        if amount is None:
            findings.problem(
                found.source,
                f"is not a whole number from 1 to {_HIGHEST_AMOUNT}.",
                f"Leave it out for no limit; {prefix}_ENABLED=false switches the provider off.",
            )
        else:
            limits.append(SourcedLimit(limit_of(row, suffix, amount=amount), found.source))
    return tuple(limits)


def _amount(text: str) -> int | None:
    digits = text.replace("_", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > len(str(_HIGHEST_AMOUNT)):
        return None
    return int(digits) if 1 <= int(digits) <= _HIGHEST_AMOUNT else None


def limit_of(row: ProviderRow, suffix: str, *, amount: int) -> Limit:
    """The firm limit that a variable with this suffix stands for at this provider."""
    if suffix == "LIMIT":
        unit, window = _longest(row)
        return _firm(unit, amount, window=window, scope=(ScopePart.ACCOUNT,))
    window = {"M": _MINUTE, "H": _HOUR, "D": day_window(row)}[suffix[-1]]
    unit = Unit.REQUESTS if suffix.startswith("R") else _token_unit(row, window)
    return _firm(unit, amount, window=window, scope=_PER_MODEL)


def _firm(unit: Unit, amount: int, *, window: Window, scope: tuple[ScopePart, ...]) -> Limit:
    return Limit(unit=unit, amount=amount, window=window, scope=scope, source=LimitSource.CONFIGURED, firm=True)


def day_window(row: ProviderRow) -> Window:
    """The provider's own day: that of a daily limit in its row, else the calendar day of its zone."""
    for limit in row.limits:
        window = parse_window(limit.window)
        if _is_day(window):
            return window
    return Window(WindowKind.DAY, zone=row.day_zone)


def _is_day(window: Window) -> bool:
    return window.kind is WindowKind.DAY or (window.kind is WindowKind.ROLLING and window.length_s == _DAY_S)


def _token_unit(row: ProviderRow, window: Window) -> Unit:
    """Which tokens the row counts in this window; all of them when it does not say."""
    for limit in row.limits:
        if limit.unit in _TOKENS and parse_window(limit.window) == window:
            return limit.unit
    return Unit.TOKENS


def _longest(row: ProviderRow) -> tuple[Unit, Window]:
    """Unit and window of the row's longest period of a day or more, else requests per day (or month)."""
    least_s = _MONTH_S if row.id in MONTHLY_PROVIDERS else _DAY_S
    periods = [(_length_s(parse_window(limit.window)), limit) for limit in row.limits]
    longest_s = max((length_s for length_s, _ in periods), default=0.0)
    if longest_s < least_s:
        kind = WindowKind.MONTH if row.id in MONTHLY_PROVIDERS else WindowKind.DAY
        return Unit.REQUESTS, Window(kind, zone=row.day_zone)
    longest = [limit for length_s, limit in periods if length_s == longest_s]
    chosen = next((limit for limit in longest if limit.unit is Unit.REQUESTS), longest[0])
    return chosen.unit, parse_window(chosen.window)


def _length_s(window: Window) -> float:
    """Length of a period, a calendar month taken for 28 days."""
    if window.kind is WindowKind.ROLLING:
        return window.length_s
    return {WindowKind.DAY: _DAY_S, WindowKind.MONTH: _MONTH_S, WindowKind.ONCE: math.inf}[window.kind]
