"""Limits that the operator sets: `GROQ_LIMIT=14400`, `GEMINI_RPM=10`, `GROQ_TPD=500000`, or written out.

All of them are firm: they are never exceeded, whatever the tier. Where the provider's row says how it counts
(which window is its day, which tokens per minute), the operator's number is counted in the same way.
"""

import math
import re
from collections.abc import Mapping

import msgspec

from keyrelay.configuration.environment import Environment
from keyrelay.configuration.findings import Findings
from keyrelay.core.limits import Limit, LimitSource, Pacing, ScopePart, Unit, Window, WindowKind, parse_window
from keyrelay.core.providers import ProviderRow
from keyrelay.quota.limits import HIGHEST_AMOUNT, limit_problems

_MINUTE = Window(WindowKind.ROLLING, 60.0)
_HOUR = Window(WindowKind.ROLLING, 3600.0)
_DAY_S = 86_400.0
_MONTH_S = 28 * _DAY_S
_PER_MODEL = (ScopePart.ACCOUNT, ScopePart.MODEL)
_TOKENS = (Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
_LENGTHS_S = {
    WindowKind.DAY: _DAY_S,
    WindowKind.WEEK: 7 * _DAY_S,
    WindowKind.MONTH: _MONTH_S,
    WindowKind.ANNIVERSARY: _MONTH_S,
    WindowKind.ONCE: math.inf,
    WindowKind.CONCURRENT: 0.0,
}
_USD = "usd"
_MICROS = 10**6
_WRITTEN = re.compile(
    r"(?P<amount>[0-9][0-9_]{0,23})(?:\.(?P<decimals>[0-9]{1,6}))?\s+(?P<unit>[a-z_]+)"
    r"\s+(?:per\s+)?(?P<window>\S+)"
    r"(?:\s+for\s+\(?(?P<scope>[a-z]+(?:\s*[+,]\s*[a-z]+)*)\)?)?"
    r"(?:\s+of\s+(?P<models>\S+))?"
    r"(?:\s+(?P<pacing>burst|smooth))?"
)
_WINDOW_WORDS: Mapping[str, str] = {
    "minute": "60s",
    "hour": "1h",
    "day": "day@UTC",
    "week": "week@UTC",
    "month": "month@UTC",
}
_AS_WRITTEN = "AMOUNT UNIT per WINDOW, with `for SCOPE`, `of MODELS`, `smooth` behind it if need be"

MONTHLY_PROVIDERS = frozenset({"ai21", "cohere", "huggingface"})
"""Providers whose free allowance is a monthly one even where the row has no monthly limit (S2.4)."""

_NUMBERS: Mapping[str, str] = {
    "LIMIT": "requests per account in the provider's longest period (tokens where the row counts that in tokens)",
    "RPM": "requests per minute, account and model",
    "RPH": "requests per hour, account and model",
    "RPD": "requests per day as the provider counts it, account and model",
    "TPM": "tokens per minute, account and model",
    "TPD": "tokens per day as the provider counts it, account and model",
}

SUFFIXES: Mapping[str, str] = {
    **_NUMBERS,
    "LIMITS": "any number of them, written out and separated by `;`, such as `30 requests per 60s for account+model"
    " of gemini-*; 5 requests concurrent for key; 20 usd per month:15@UTC smooth`",
}


class SourcedLimit(msgspec.Struct, frozen=True):
    """A limit and the variable that it came from."""

    limit: Limit
    source: str


def read_limits(
    row: ProviderRow, prefix: str, *, environment: Environment, findings: Findings
) -> tuple[SourcedLimit, ...]:
    """The limits that the variables of this provider set; those that make no sense are noted and left out."""
    limits = [
        *_numbers(row, prefix, environment=environment, findings=findings),
        *_written_out(prefix, environment=environment, findings=findings),
    ]
    for problem in limit_problems([each.limit for each in limits]):
        findings.problem(f"limits of {row.id}", f"{problem}.")
    return tuple(limits)


def _numbers(
    row: ProviderRow, prefix: str, *, environment: Environment, findings: Findings
) -> tuple[SourcedLimit, ...]:
    """The limits whose variable is an amount and says by its name what it is of."""
    limits = list[SourcedLimit]()
    for suffix in _NUMBERS:
        found = environment.find(f"{prefix}_{suffix}")
        if found is None:
            continue
        amount = _amount(found.text)
        if amount is None:
            findings.problem(
                found.source,
                f"is not a whole number from 1 to {HIGHEST_AMOUNT}.",
                f"Leave it out for no limit; {prefix}_ENABLED=false switches the provider off.",
            )
        else:
            limits.append(SourcedLimit(limit_of(row, suffix, amount=amount), found.source))
    return tuple(limits)


def _written_out(prefix: str, *, environment: Environment, findings: Findings) -> tuple[SourcedLimit, ...]:
    """The limits of `<PROVIDER>_LIMITS`. What cannot be read may be a secret in the wrong place, and is not shown."""
    found = environment.find(f"{prefix}_LIMITS")
    if found is None:
        return ()
    limits = list[SourcedLimit]()
    for number, text in enumerate(filter(None, map(str.strip, found.text.split(";"))), 1):
        try:
            limit = parse_limit(text)
        except ValueError as error:
            findings.problem(found.source, f"limit {number}: {error}.", f"Write {_AS_WRITTEN}.")
            continue
        problems = limit_problems((limit,))
        if ScopePart.CLIENT in limit.scope:
            problems.append(f"{limit}: limits of clients are said of each client, not of a provider")
        for problem in problems:
            findings.problem(found.source, f"{problem}.")
        if not problems:
            limits.append(SourcedLimit(limit, found.source))
    return tuple(limits)


def parse_limit(text: str, *, scope: ScopePart = ScopePart.ACCOUNT) -> Limit:
    """Read a firm limit of the operator's, such as `5 requests concurrent for key of gpt-*,o3 smooth`.

    An amount of `usd` may have up to six decimals. Besides windows as they are kept, minute, hour, and UTC's day, week
    and month have their words. Without a scope it is for `scope`. Raise ValueError that says what is wrong, without the
    text; whether the limit makes sense is not looked at.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError("it is not written like a limit")
    decimals = found["decimals"] or ""
    if found["unit"] != _USD and decimals:
        raise ValueError("only usd has decimals")
    amount = int(found["amount"].replace("_", ""))
    if found["unit"] == _USD:
        amount = amount * _MICROS + int(decimals.ljust(6, "0"))
    unit = _unit(found["unit"], scope)
    parts = re.split(r"\s*[+,]\s*", found["scope"] or scope)
    return Limit(
        unit=unit,
        amount=amount,
        window=_window(found["window"]),
        scope=tuple(map(_scope_part, parts)),
        models=tuple(found["models"].split(",")) if found["models"] else (),
        source=LimitSource.CONFIGURED,
        firm=True,
        pacing=Pacing(found["pacing"] or Pacing.BURST),
    )


def _unit(name: str, scope: ScopePart) -> Unit:
    if name == _USD:
        return Unit.USD_MICROS
    try:
        return Unit(name)
    except ValueError:
        # A provider's own units are nothing that a client is counted in; millionths are how money is kept.
        kept = {Unit.USD_MICROS, Unit.UNITS} if scope is ScopePart.CLIENT else {Unit.USD_MICROS}
        known = (*(unit for unit in Unit if unit not in kept), _USD)
        raise ValueError(f"its unit is not one of {', '.join(known)}") from None


def _scope_part(name: str) -> ScopePart:
    try:
        return ScopePart(name)
    except ValueError:
        raise ValueError(f"its scope is not one of {', '.join(ScopePart)}") from None


def _window(text: str) -> Window:
    try:
        return parse_window(_WINDOW_WORDS.get(text, text))
    except ValueError as error:
        kept = str(error).partition(" is not one of ")[2]
        raise ValueError(f"its window is not one of {', '.join(_WINDOW_WORDS)}, {kept}") from None


def _amount(text: str) -> int | None:
    digits = text.replace("_", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > len(str(HIGHEST_AMOUNT)):
        return None
    return int(digits) if 1 <= int(digits) <= HIGHEST_AMOUNT else None


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
    counted = (limit for limit in row.limits if limit.unit is Unit.REQUESTS or limit.unit in _TOKENS)
    periods = [(_length_s(parse_window(limit.window)), limit) for limit in counted]
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
    return _LENGTHS_S[window.kind]
