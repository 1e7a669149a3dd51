"""Providers, keys and candidates with nothing but what a test is about."""

import datetime as dt
import math
from collections.abc import Iterable
from typing import Any

from keyrelay.core.configuration import Key, Provider, Tier
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.limits import Limit
from keyrelay.core.origins import Origin
from keyrelay.core.prices import NO_PRICES, PriceList
from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.core.secrets import Secret
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health

NOW_S = 1_763_726_400.0  # 2025-11-21 12:00:00 UTC
MANUAL = math.inf


def provider(
    provider_id: str = "groq",
    *,
    priority: int = 1,
    models: Iterable[str] = (),
    aliases: Iterable[str] = (),
    limits: tuple[Limit, ...] = (),
    default_model: str = "",
    prices: PriceList = NO_PRICES,
    unit_prices: PriceList = NO_PRICES,
    **row: Any,
) -> Provider:
    """A provider; `aliases` are those of its first model."""
    rows = {name: ModelRow(id=name) for name in models}
    if aliases:
        first = next(iter(rows))
        rows[first] = ModelRow(id=first, aliases=tuple(aliases))
    return Provider(
        row=ProviderRow(
            id=provider_id,
            name=provider_id.title(),
            base_url=f"https://{provider_id}.example/v1",
            verified_at=dt.date(2026, 11, 21),
            priority=priority,
            **row,
        ),
        origin=Origin("https", f"{provider_id}.example", 443),
        base_path="/v1",
        priority=priority,
        tier=Tier.FREE,
        limits=limits,
        models=rows,
        default_model=default_model,
        prices=prices,
        unit_prices=unit_prices,
    )


def key(
    label: str = "home", *, provider_id: str = "groq", account: str = "", secret: str = "x", weight: float = 1.0
) -> Key:
    """A key, by default with an account of its own."""
    return Key(
        provider_id=provider_id,
        label=label,
        account=account or label,
        secret=Secret(secret) if secret else None,
        weight=weight,
    )


def health(**settings: Any) -> Health:
    """Nothing known yet."""
    return Health(CircuitSettings(**settings))


def candidate(
    label: str = "home", model: str = "llama", *, known: Health | None = None, of: Provider | None = None, **of_key: Any
) -> Candidate:
    """A candidate; those that are to share their states are given the same `known`."""
    its_provider = of or provider()
    its_key = key(label, provider_id=its_provider.id, **of_key)
    return Candidate(its_provider, its_key, model, known or health())


def failure(
    kind: FailureKind = FailureKind.RATE,
    scope: FailureScope = FailureScope.PAIR,
    *,
    until_s: float | None = NOW_S + 60,
    reached: bool = True,
) -> Failure:
    """A failure that rests its scope for a minute."""
    return Failure(kind=kind, scope=scope, message="No.", until_s=until_s, reached=reached)


def half() -> float:
    """A random number that is in the middle."""
    return 0.5
