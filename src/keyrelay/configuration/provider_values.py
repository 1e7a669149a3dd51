"""How a provider is shown: each of its values in force, with the place that it came from."""

from typing import Generic, TypeVar

import msgspec

from keyrelay.configuration.base_urls import Place
from keyrelay.configuration.operator_limits import SourcedLimit
from keyrelay.configuration.values import CATALOGUE, EffectiveValue
from keyrelay.core.configuration import Provider, Tier
from keyrelay.core.limits import Limit

Value = TypeVar("Value")


class Sourced(msgspec.Struct, Generic[Value], frozen=True):
    """A value and the place that it came from."""

    value: Value
    source: str


def effective_values(
    provider: Provider,
    *,
    place: Place,
    tier: Sourced[Tier],
    priority: Sourced[int],
    default: Sourced[str],
    limits: tuple[SourcedLimit, ...],
) -> tuple[EffectiveValue, ...]:
    """Address, priority, tier, models and limits, in the order in which they are read best."""
    stem = f"providers.{provider.id}"
    sources = {each.limit: each.source for each in limits}
    shown_limits = (
        EffectiveValue(f"{stem}.limits.{number}", _limit_text(limit), sources.get(limit, CATALOGUE))
        for number, limit in enumerate(provider.limits, 1)
    )
    return (
        EffectiveValue(f"{stem}.base_url", str(place), place.source),
        EffectiveValue(f"{stem}.priority", str(priority.value), priority.source),
        EffectiveValue(f"{stem}.tier", tier.value.value, tier.source),
        EffectiveValue(f"{stem}.default_model", default.value, default.source),
        EffectiveValue(f"{stem}.models", str(len(provider.models)), default.source),
        *shown_limits,
    )


def _limit_text(limit: Limit) -> str:
    models = f", models {', '.join(limit.models)}" if limit.models else ""
    return f"{limit}{models}" + ("" if limit.firm else " (belief)")
