"""Limits and budgets of clients: what binds them, how they are written, and what is counted anew after a restart.

Each is counted from a moment of its own on (`ClientLimit.since_s`), which is part of what it binds: so it begins anew,
in every process and for good, by another moment in the configuration.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from keyrelay.core.configuration import ClientLimit
from keyrelay.core.limits import CALENDAR_KINDS, Limit, Pacing, Unit, WindowKind
from keyrelay.core.prices import MILLION
from keyrelay.quota.values import Amounts, LimitKey

CLIENT = "client:"
"""What the name of a client begins with in what is bound."""

TOKEN_UNITS = frozenset({Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS})


def client_path(label: str, limits: Sequence[ClientLimit]) -> tuple[LimitKey, ...]:
    """The limits of a client, in their order, each with what it binds."""
    return tuple(LimitKey(each.limit, _bound(label, each)) for each in limits)


def _bound(label: str, each: ClientLimit) -> tuple[str, ...]:
    client = f"{CLIENT}{label}"
    if not each.since_s:
        return (client,)
    since = f"since:{each.since_s:.3f}"
    if each.limit.window.kind is WindowKind.ONCE:  # what was used before is known of each unit alone
        return client, since, str(each.limit.unit)
    return client, since


def count_name(limit: Limit) -> str:
    """What a limit counts, whatever its amount: `requests 60s`, `usd_micros month@UTC`."""
    return f"{limit.unit} {limit.window}"


def is_budget(limit: Limit) -> bool:
    """Whether running into it means that something is used up, and not only that it goes too fast."""
    kind = limit.window.kind
    return limit.unit is Unit.USD_MICROS or kind is WindowKind.ONCE or kind in CALENDAR_KINDS


def limit_words(limit: Limit) -> str:
    """A limit as it is written: `60 requests per 60s`, `2.5 usd per month@UTC`, `5 requests concurrent`."""
    amount, unit = str(limit.amount), str(limit.unit)
    if limit.unit is Unit.USD_MICROS:
        whole, rest = divmod(limit.amount, MILLION)
        amount, unit = f"{whole}.{rest:06}".rstrip("0").rstrip("."), "usd"
    per = "" if limit.window.kind in {WindowKind.CONCURRENT, WindowKind.ONCE} else "per "
    smooth = " smooth" if limit.pacing is Pacing.SMOOTH else ""
    return f"{amount} {unit} {per}{limit.window.words}{smooth}"


def used_since(
    path: Sequence[LimitKey], limits: Sequence[ClientLimit], amounts: Amounts, at_s: float
) -> Iterator[tuple[tuple[LimitKey, ...], Amounts]]:
    """The parts of a client's path in which what was used by `at_s` counts, those together that share a window.

    Of limits that never reset it is not for this to say.
    """
    counted = [
        key
        for key, each in zip(path, limits, strict=True)
        if each.since_s <= at_s and each.limit.window.kind is not WindowKind.ONCE
    ]
    for _, keys in groupby(sorted(counted, key=_window_name), key=_window_name):
        yield tuple(keys), amounts


def used_ever(
    path: Sequence[LimitKey], limits: Sequence[ClientLimit], amounts: Amounts
) -> Iterator[tuple[tuple[LimitKey, ...], Amounts]]:
    """The same of limits that never reset, with all that the client has ever used."""
    once = [(key, each) for key, each in zip(path, limits, strict=True) if each.limit.window.kind is WindowKind.ONCE]
    unmarked = tuple(key for key, each in once if not each.since_s)
    if unmarked:
        yield unmarked, amounts
    for key, each in once:
        used = amounts.of(each.limit.unit) - each.before
        if each.since_s and used > 0:
            yield (key,), amount_of(each.limit.unit, used)


def amount_of(unit: Unit, amount: int) -> Amounts:
    """So much of one unit, and nothing else."""
    if unit is Unit.REQUESTS:
        return Amounts(requests=amount)
    if unit is Unit.USD_MICROS:
        return Amounts(requests=0, usd_micros=amount)
    if unit is Unit.OUTPUT_TOKENS:
        return Amounts(requests=0, output_tokens=amount)
    return Amounts(requests=0, input_tokens=amount)


def _window_name(key: LimitKey) -> str:
    return "\n".join((str(key.limit.window), *key.bound))
