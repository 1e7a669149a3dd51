"""What each client may use, made once for each configuration."""

from collections.abc import Mapping

import msgspec

from keyrelay.core.configuration import ClientLimit, Snapshot
from keyrelay.core.limits import Unit, WindowKind
from keyrelay.quota.client_limits import TOKEN_UNITS, client_path
from keyrelay.quota.values import LimitKey


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """The limits and budgets of one client, and their counts in the ledger.

    `counts_tokens` and `counts_money` say what a request has to be estimated for; `told`: answers say how they stand.
    `lasting`: what was used before counts, and has to be known.
    """

    label: str
    limits: tuple[ClientLimit, ...]
    path: tuple[LimitKey, ...]
    counts_tokens: bool
    counts_money: bool
    told: bool
    lasting: bool


def allowances_of(snapshot: Snapshot) -> Mapping[str, Allowance]:
    """Those of all clients that have limits, by label."""
    return {
        client.label: _allowance(client.label, client.rules.limits)
        for client in snapshot.clients.values()
        if client.rules is not None and client.rules.limits
    }


def _allowance(label: str, limits: tuple[ClientLimit, ...]) -> Allowance:
    units = {each.limit.unit for each in limits}
    return Allowance(
        label=label,
        limits=limits,
        path=client_path(label, limits),
        counts_tokens=bool(units & TOKEN_UNITS),
        counts_money=Unit.USD_MICROS in units,
        told=any(
            each.limit.unit is not Unit.USD_MICROS and each.limit.window.kind is not WindowKind.CONCURRENT
            for each in limits
        ),
        lasting=any(each.limit.window.kind is not WindowKind.CONCURRENT for each in limits),
    )
