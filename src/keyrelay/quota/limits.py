"""Which limits are in force, and which of them a candidate is under."""

from fnmatch import fnmatchcase

from msgspec.structs import replace

from keyrelay.core.configuration import Tier
from keyrelay.core.limits import Limit, LimitSource, ScopePart, WindowKind, parse_window
from keyrelay.core.providers import LimitRow
from keyrelay.quota.calendars import zone_of
from keyrelay.quota.values import LimitKey


def limit_from_row(row: LimitRow) -> Limit:
    """A catalogue row as a firm limit; raise ValueError when its window or zone cannot be read."""
    window = parse_window(row.window)
    if window.kind in {WindowKind.DAY, WindowKind.MONTH}:
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
    all but the model's carry the provider, so that equal labels at two providers stay apart.
    """
    names = {
        ScopePart.KEY: f"key:{provider_id}/{key_label}",
        ScopePart.ACCOUNT: f"acct:{provider_id}/{account}",
        ScopePart.PROVIDER: f"prov:{provider_id}",
        ScopePart.MODEL: f"model:{model}",
    }
    return tuple(
        LimitKey(limit, tuple(name for part, name in names.items() if part in limit.scope))
        for limit in limits
        if not limit.models or any(fnmatchcase(model, pattern) for pattern in limit.models)
    )


def effective_limits(rows: tuple[LimitRow, ...], configured: tuple[Limit, ...], tier: Tier) -> tuple[Limit, ...]:
    """The limits in force: those configured, always firm, and the catalogue's as far as the tier lets them count.

    The catalogue's are those of the free tier: firm on it, without meaning on a paid one, a belief on an unknown one.
    A configured limit replaces beliefs about the same; among firm limits on the same, the smaller is in force. Raise
    ValueError for a row that cannot be read.
    """
    firm = [replace(limit, firm=True) for limit in configured]
    catalogue = [] if tier is Tier.PAID else [limit_from_row(row) for row in rows]
    if tier is Tier.FREE:
        firm += catalogue
        beliefs = []
    else:
        beliefs = [replace(limit, firm=False) for limit in catalogue]
        beliefs = [belief for belief in beliefs if not any(_covers(limit, belief) for limit in firm)]
    return (*_smallest(firm), *_smallest(beliefs))


def _covers(limit: Limit, other: Limit) -> bool:
    """Whether each count that `other` is about is one that `limit` is about too."""
    same = (limit.unit, limit.window, set(limit.scope)) == (other.unit, other.window, set(other.scope))
    for_every_model = not limit.models and ScopePart.MODEL in limit.scope
    return same and (for_every_model or set(limit.models) == set(other.models))


def _smallest(limits: list[Limit]) -> list[Limit]:
    """Those limits that another one with a smaller amount, or an equal one before it, does not cover."""
    return [
        limit
        for index, limit in enumerate(limits)
        if not any(
            _covers(other, limit) and (other.amount, before) < (limit.amount, index)
            for before, other in enumerate(limits)
        )
    ]
