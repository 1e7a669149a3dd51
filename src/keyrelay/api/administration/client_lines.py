"""Clients as the API shows them, and what it takes to make or change one."""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET, UnsetType

from keyrelay.administration.client_edits import ClientFields, wrong
from keyrelay.administration.clients import GRACE_S
from keyrelay.core.administered import ClientEntry
from keyrelay.core.configuration import ClientLimit
from keyrelay.core.limits import Unit
from keyrelay.core.moment_texts import moment_ahead
from keyrelay.core.moments import rfc3339
from keyrelay.quota.client_limits import is_budget, limit_words
from keyrelay.quota.values import Standing


class NewClient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client to be made.

    `limits` are limits and budgets, one text each; `models` may hold `*`; `expires_at` is a time in RFC 3339 or one
    ahead (`30d`); `priority` is `interactive`, `agent` or `batch`.
    """

    label: str
    limits: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    priority: str = ""
    notes: str = ""
    expires_at: str | None = None
    enabled: bool = True


class ClientPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be another of a client; what is left out stays. `expires_at` null: never."""

    limits: tuple[str, ...] | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    priority: str | UnsetType = UNSET
    notes: str | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class ClientRotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds the secret that a client has holds beside the new one; 0: not at all."""

    grace_s: float = GRACE_S


class ClientReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which limit is to be counted anew, as it is shown; none: all."""

    limit: str = ""


class ClientLimitLine(msgspec.Struct, frozen=True, kw_only=True):
    """How one limit or budget stands. Money is in millionths of a US dollar (`usd_micros`).

    `used` includes `reserved`, what requests under way have taken. `counted_from`: what was used before does not count;
    null: it all does. `resets_at` is when something comes back, null when nothing is used or nothing ever will.
    """

    limit: str
    budget: bool
    unit: Unit
    window: str
    amount: int
    used: int
    reserved: int
    remaining: int
    counted_from: str | None
    resets_at: str | None


class ClientLine(msgspec.Struct, frozen=True, kw_only=True):
    """A client. `source` says where it is from: `store`, `clients.json` or a variable; `editable` only if the former.

    `state` is `active`, `disabled`, `expired`, `revoked`, or `shadowed`: of the store, but another place has the label.
    `tail` are the last characters of its secret. Until `previous_until` the secret that it had before holds too.
    """

    label: str
    source: str
    editable: bool
    state: str
    tail: str
    limits: tuple[ClientLimitLine, ...]
    models: tuple[str, ...]
    tags: tuple[str, ...]
    priority: str
    notes: str
    created_at: str | None
    expires_at: str | None
    rotated_at: str | None
    revoked_at: str | None
    previous_until: str | None
    set_by: str


class ClientPage(msgspec.Struct, frozen=True):
    """Clients in the order of their labels. `next` is the value of `after` for the page behind this one, or null."""

    items: tuple[ClientLine, ...]
    next: str | None


class MadeClient(msgspec.Struct, frozen=True, kw_only=True):
    """A client and its new secret, which is shown this once."""

    secret: str
    client: ClientLine


class RemovedClient(msgspec.Struct, frozen=True):
    """The client that is not there any more."""

    removed: str


def fields_of(body: NewClient | ClientPatch, now_s: float) -> ClientFields:
    """What a body says of a client. Raise CallerError (400)."""
    expires_s: float | UnsetType = UNSET
    if body.expires_at is not UNSET:
        expires_s = 0.0 if body.expires_at is None else _expiry(body.expires_at, now_s)
    return ClientFields(
        enabled=body.enabled,
        limits=body.limits,
        models=body.models,
        tags=body.tags,
        priority=body.priority,
        notes=body.notes,
        expires_s=expires_s,
    )


def _expiry(text: str, now_s: float) -> float:
    try:
        moment_s = moment_ahead(text, now_s)
    except ValueError as error:
        raise wrong("expires_at", f"{error}.") from None
    if moment_s <= now_s:
        raise wrong("expires_at", "must lie ahead; revoke the client to refuse it at once.")
    return moment_s


def limit_lines(standings: Iterable[tuple[ClientLimit, Standing]]) -> tuple[ClientLimitLine, ...]:
    """How limits stand, in their order."""
    return tuple(
        ClientLimitLine(
            limit=limit_words(each.limit),
            budget=is_budget(each.limit),
            unit=each.limit.unit,
            window=str(each.limit.window),
            amount=standing.amount,
            used=standing.used,
            reserved=standing.reserved,
            remaining=max(0, standing.amount - standing.used),
            counted_from=_time(each.since_s),
            resets_at=_time(standing.reset_s or 0.0),
        )
        for each, standing in standings
    )


def stored_line(
    entry: ClientEntry, limits: tuple[ClientLimitLine, ...], now_s: float, *, shadowed: bool = False
) -> ClientLine:
    """A client that the store keeps; `shadowed`: another place has its label, and wins."""
    return ClientLine(
        label=entry.label,
        source="store",
        editable=True,
        state="shadowed" if shadowed else _state(entry, now_s),
        tail=entry.tail,
        limits=limits,
        models=entry.models,
        tags=entry.tags,
        priority=entry.priority,
        notes=entry.notes,
        created_at=_time(entry.created_s),
        expires_at=_time(entry.expires_s),
        rotated_at=_time(entry.rotated_s),
        revoked_at=_time(entry.revoked_s),
        previous_until=_time(entry.previous_until_s if entry.previous_until_s > now_s else 0.0),
        set_by=entry.set_by,
    )


def other_line(label: str, source: str) -> ClientLine:
    """A client of another place, of which no more is known than that it may call."""
    return ClientLine(
        label=label,
        source=source,
        editable=False,
        state="active",
        tail="",
        limits=(),
        models=(),
        tags=(),
        priority="",
        notes="",
        created_at=None,
        expires_at=None,
        rotated_at=None,
        revoked_at=None,
        previous_until=None,
        set_by="",
    )


def _state(entry: ClientEntry, now_s: float) -> str:
    if entry.revoked_s:
        return "revoked"
    if not entry.enabled:
        return "disabled"
    return "expired" if 0.0 < entry.expires_s <= now_s else "active"


def _time(epoch_s: float) -> str | None:
    return rfc3339(epoch_s) if epoch_s else None


EXAMPLE_LINE = ClientLine(
    label="my-app",
    source="store",
    editable=True,
    state="active",
    tail="mi4Q",
    limits=(
        ClientLimitLine(
            limit="5 usd per month@UTC",
            budget=True,
            unit=Unit.USD_MICROS,
            window="month@UTC",
            amount=5_000_000,
            used=1_250_400,
            reserved=3_200,
            remaining=3_749_600,
            counted_from="2026-11-21T12:00:00Z",
            resets_at="2026-12-01T00:00:00Z",
        ),
    ),
    models=("fast", "gpt-*"),
    tags=("team-a",),
    priority="agent",
    notes="",
    created_at="2026-11-21T12:00:00Z",
    expires_at=None,
    rotated_at=None,
    revoked_at=None,
    previous_until=None,
    set_by="user:alice",
)
