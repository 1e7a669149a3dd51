"""Which limits make sense, which of them are in force, and which a candidate is under."""

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from msgspec.structs import replace

from keyrelay.core.configuration import Tier
from keyrelay.core.limits import (
    CALENDAR_KINDS,
    LAST_DAY,
    Limit,
    LimitSource,
    Pacing,
    ScopePart,
    Unit,
    WindowKind,
    parse_window,
)
from keyrelay.core.providers import LimitRow
from keyrelay.quota.calendars import expiry_s, needs_zone, zone_of
from keyrelay.quota.values import LimitKey

HIGHEST_AMOUNT = 10**15
"""No limit allows more."""

SHORTEST_S = 1.0
LONGEST_S = 31 * 86_400.0
"""Shortest and longest rolling window."""

_OWNERS = frozenset({ScopePart.KEY, ScopePart.ACCOUNT, ScopePart.PROVIDER, ScopePart.CLIENT})
_EDGED_KINDS = CALENDAR_KINDS | {WindowKind.ROLLING}
_MARGIN_SHARE = 100


def limit_from_row(row: LimitRow) -> Limit:
    """A catalogue row as a firm limit; raise ValueError when its window or zone cannot be read."""
    window = parse_window(row.window)
    if needs_zone(window):
        zone_of(window)
    return Limit(
        unit=row.unit,
        amount=row.amount,
        window=window,
        scope=row.scope,
        models=row.models,
        source=LimitSource.CATALOGUE,
    )


def limits_on_path(
    limits: tuple[Limit, ...], *, provider_id: str, account: str, key_label: str, model: str
) -> tuple[LimitKey, ...]:
    """The limits that a candidate is under, in their order, each with what it binds.

    With the model in its scope a limit counts each matching model apart; without, all matching ones together: a
    model group. The names bound stand in the order key, account, provider, model, whatever the scope's order, and
    all but the model's carry the provider, so that equal labels at two providers stay apart; a model alone is that
    model at this provider, as if the provider were named with it.
    """
    names = {
        ScopePart.KEY: f"key:{provider_id}/{key_label}",
        ScopePart.ACCOUNT: f"acct:{provider_id}/{account}",
        ScopePart.PROVIDER: f"prov:{provider_id}",
        ScopePart.MODEL: f"model:{model}",
    }
    return tuple(
        LimitKey(limit, tuple(name for part, name in names.items() if part in _counted(limit)))
        for limit in limits
        if not limit.models or any(fnmatchcase(model, pattern) for pattern in limit.models)
    )


def effective_limits(
    rows: tuple[LimitRow, ...], configured: tuple[Limit, ...], tier: Tier, *, margin: float = 0.0
) -> tuple[Limit, ...]:
    """The limits in force: those configured, always firm, and the catalogue's as far as the tier lets them count.

    The catalogue's are those of the free tier: firm on it, without meaning on a paid one, a belief on an unknown one.
    A configured limit replaces beliefs about the same; among firm limits on the same, the smaller is in force, and
    smooth when any of them is. `margin` is kept from all but what the operator configured (see `with_margin`). Raise
    ValueError for a row that cannot be read.
    """
    firm = [replace(with_margin(limit, margin), firm=True) for limit in configured]
    catalogue = [] if tier is Tier.PAID else [with_margin(limit_from_row(row), margin) for row in rows]
    if tier is Tier.FREE:
        firm += catalogue
        beliefs = []
    else:
        beliefs = [replace(limit, firm=False) for limit in catalogue]
        beliefs = [belief for belief in beliefs if not any(_covers(limit, belief) for limit in firm)]
    return (*_smallest(firm), *_smallest(beliefs))


def with_margin(limit: Limit, margin: float) -> Limit:
    """The limit less a safety margin, for a provider whose clock may be ahead of or behind what it says.

    What the operator configured stays as it is, and so does what has no edge in time: `once` and `concurrent`.
    """
    if limit.source is LimitSource.CONFIGURED or limit.window.kind not in _EDGED_KINDS:
        return limit
    return replace(limit, amount=amount_with_margin(limit.amount, margin))


def amount_with_margin(amount: int, margin: float) -> int:
    """`amount` less the share `margin` of it, rounded up, which is at most 1 % of it, or 1; the last one is kept."""
    kept = min(math.ceil(amount * margin), max(1, amount // _MARGIN_SHARE))
    return max(min(1, amount), amount - kept)


def limit_problems(limits: Sequence[Limit]) -> list[str]:
    """What is wrong with limits that are to be in force together, a sentence each; empty when nothing is."""
    return [*(f"{limit}: {problem}" for limit in limits for problem in _flaws(limit)), *_contradictions(limits)]


def limit_notes(limits: Sequence[Limit], now_s: float) -> list[str]:
    """What is allowed but should be known: quotas that have expired, a sentence each. Raise ValueError for a zone."""
    return [f"{limit}: expired, so that nothing fits any more" for limit in limits if expiry_s(limit.window) <= now_s]


def _flaws(limit: Limit) -> Iterator[str]:
    window, kind = limit.window, limit.window.kind
    if not 1 <= limit.amount <= HIGHEST_AMOUNT:
        yield f"the amount is not from 1 to {HIGHEST_AMOUNT}"
    if kind is WindowKind.ROLLING and not SHORTEST_S <= window.length_s <= LONGEST_S:
        yield f"a rolling window lasts from {SHORTEST_S:g} s to {LONGEST_S / 86_400:g} days"
    if kind is WindowKind.ANNIVERSARY and not 1 <= window.day <= LAST_DAY:
        yield f"{window.day} is not a day of a month"
    if needs_zone(window):
        yield from _zone_flaws(limit)
    if kind is WindowKind.CONCURRENT and limit.unit is not Unit.REQUESTS:
        yield f"{limit.unit} are not in flight; only requests can be limited there"
    if limit.pacing is Pacing.SMOOTH and kind not in _EDGED_KINDS:
        yield f"smooth pacing spreads an amount over a window's time, and {kind} has none"
    yield from _scope_flaws(limit)
    if not all(limit.models):
        yield "a model pattern is empty"


def _zone_flaws(limit: Limit) -> Iterator[str]:
    try:
        zone_of(limit.window)
    except ValueError as error:
        yield str(error)


def _scope_flaws(limit: Limit) -> Iterator[str]:
    owners = [str(part) for part in limit.scope if part in _OWNERS]
    if len(set(limit.scope)) != len(limit.scope):
        yield "the scope names something twice"
    elif len(owners) > 1:
        yield f"the scope names {' and '.join(owners)}, but one of them lies within the other: name the narrower one"
    elif not limit.scope:
        yield "the scope is empty; name key, account or provider, or model"


def _contradictions(limits: Sequence[Limit]) -> Iterator[str]:
    """Pairs of one source that give the same count different amounts."""
    seen: dict[tuple[object, ...], Limit] = {}
    for limit in limits:
        count = (limit.source, limit.unit, limit.window, _counted(limit), frozenset(limit.models))
        first = seen.setdefault(count, limit)
        if first.amount != limit.amount:
            yield f"{first} and {limit} contradict each other: leave out one of them"


def _counted(limit: Limit) -> frozenset[ScopePart]:
    """The scope without its order; a model alone is that model at its provider."""
    scope = frozenset(limit.scope)
    return scope | {ScopePart.PROVIDER} if scope == {ScopePart.MODEL} else scope


def _covers(limit: Limit, other: Limit) -> bool:
    """Whether each count that `other` is about is one that `limit` is about too."""
    same = (limit.unit, limit.window, _counted(limit)) == (other.unit, other.window, _counted(other))
    for_every_model = not limit.models and ScopePart.MODEL in limit.scope
    return same and (for_every_model or set(limit.models) == set(other.models))


def _smallest(limits: list[Limit]) -> list[Limit]:
    """Those limits that another one with a smaller amount, or an equal one before it, does not cover."""
    return [
        _paced(limit, limits)
        for index, limit in enumerate(limits)
        if not any(
            _covers(other, limit) and (other.amount, before) < (limit.amount, index)
            for before, other in enumerate(limits)
        )
    ]


def _paced(limit: Limit, limits: list[Limit]) -> Limit:
    """The limit, smooth when one that covers it is."""
    smooth = any(other.pacing is Pacing.SMOOTH and _covers(other, limit) for other in limits)
    return replace(limit, pacing=Pacing.SMOOTH) if smooth else limit
