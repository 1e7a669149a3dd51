"""Prices: what `keyrelay.toml` says of them, over list prices (`upstream.catalogue`); and what limits need of them."""

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from keyrelay.configuration.findings import Findings, nearest
from keyrelay.configuration.operator_limits import SourcedLimit
from keyrelay.core.configuration import Provider
from keyrelay.core.limits import Unit
from keyrelay.core.prices import NO_PRICES, OVERRIDE, Price, PriceList, Rates, simple_price
from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.upstream.catalogue import PriceFile

HIGHEST_RATE = 1_000_000
"""No price per million tokens, and none per request, is above so many dollars."""

PRICE_FIELDS: Mapping[str, str] = {
    "input_usd_per_mtok": "US dollars per million input tokens",
    "output_usd_per_mtok": "US dollars per million output tokens; 0 for embeddings",
    "cached_usd_per_mtok": "the same for input that the provider had cached; without it, as any input",
    "usd_per_request": "US dollars for each request; without it, none",
}
"""What may stand in a table `[prices."provider/model"]`; the first two have to."""

_NEEDED = ("input_usd_per_mtok", "output_usd_per_mtok")


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A price of the operator's; `model` is a name, or a pattern with `*`."""

    provider_id: str
    model: str
    rates: Rates
    where: str

    @property
    def shown(self) -> str:
        """The rates in words."""
        cached = "" if self.rates.cached is None else f", {self.rates.cached:g} cached"
        each = f", {self.rates.request:g} per request" if self.rates.request else ""
        return f"{self.rates.input:g} in{cached}, {self.rates.output:g} out USD per million tokens{each}"


def read_overrides(table: Mapping[str, Any], *, file: str, findings: Findings) -> tuple[PriceOverride, ...]:
    """The tables below `[prices]`; what is wrong in them is noted and left out."""
    read = (_read_override(name, value, file=file, findings=findings) for name, value in table.items())
    return tuple(override for override in read if override)


def _read_override(name: str, value: Any, *, file: str, findings: Findings) -> PriceOverride | None:
    where = f'{file} [prices."{name}"]'
    provider_id, _, model = name.partition("/")
    if not provider_id or not model.strip():
        findings.problem(where, "does not name provider/model.", 'Write [prices."provider/model"]; `*` stands for any.')
        return None
    if not isinstance(value, dict):
        findings.problem(where, "is a value, not a table.", f"Write {' and '.join(_NEEDED)} below it.")
        return None
    for field in value.keys() - PRICE_FIELDS.keys():
        findings.problem(f"{where} {field}", "there is no such field.", nearest(field, PRICE_FIELDS))
    wrong = [field for field in PRICE_FIELDS if field in value and not _is_rate(value[field])]
    for field in wrong:
        findings.problem(
            f"{where} {field}", f"is not a number from 0 to {HIGHEST_RATE}.", f"It is {PRICE_FIELDS[field]}."
        )
    missing = [field for field in _NEEDED if field not in value]
    if missing:
        findings.problem(where, f"does not say {' and '.join(missing)}.", f"It is {PRICE_FIELDS[missing[0]]}.")
    if wrong or missing:
        return None
    cached, each = value.get("cached_usd_per_mtok"), value.get("usd_per_request", 0)
    rates = Rates(
        float(value["input_usd_per_mtok"]),
        float(value["output_usd_per_mtok"]),
        None if cached is None else float(cached),
        float(each),
    )
    return PriceOverride(provider_id=provider_id, model=model, rates=rates, where=where)


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value <= HIGHEST_RATE


def refuse_unknown(overrides: Iterable[PriceOverride], known: Iterable[str], findings: Findings) -> None:
    """Note prices of providers that nobody knows."""
    ids = set(known)
    for override in overrides:
        if override.provider_id not in ids:
            findings.problem(override.where, "there is no such provider.", nearest(override.provider_id, ids))


def prices_of(
    row: ProviderRow, file: PriceFile, overrides: Iterable[PriceOverride], *, private: bool
) -> tuple[PriceList, PriceList]:
    """The prices of a provider's models in US dollars, and in its own measure.

    `private` says that its address is. What the operator says that a model costs does not change what it takes of that
    measure.
    """
    listed = file.list_prices(row, private=private)
    own: dict[str, Price | None] = {
        override.model: simple_price(OVERRIDE, override.rates)
        for override in overrides
        if override.provider_id == row.id
    }
    return PriceList(own, listed) if own else listed, _unit_prices(row, listed)


def _unit_prices(row: ProviderRow, listed: PriceList) -> PriceList:
    factor = row.price.units_per_usd
    said: dict[str, Price | None] = {model.id: _unit_price(model) for model in row.models if model.counts_units}
    below = None if factor is None else listed.scaled(factor)
    return PriceList(said, below) if said or below else NO_PRICES


def _unit_price(model: ModelRow) -> Price:
    rates = Rates(
        model.units_input_per_mtok or 0.0, model.units_output_per_mtok or 0.0, None, model.units_per_request or 0.0
    )
    return simple_price(f"catalogue {model.id}", rates)


def check_limits(provider: Provider, limits: Iterable[SourcedLimit], findings: Findings) -> None:
    """Note limits of the operator's that could not be kept, since nobody knows what a request takes of them.

    That is a problem where it holds for all models, a warning where only for some: those are not used then.
    """
    for each in limits:
        unit = each.limit.unit
        if unit is Unit.USD_MICROS:
            prices, what = provider.prices, "limits money, but no price is known of"
        elif unit is Unit.UNITS:
            prices, what = provider.unit_prices, "counts the provider's own units, but nothing says what is taken by"
        else:
            continue
        patterns = each.limit.models
        bound = [name for name in provider.models if not patterns or any(fnmatchcase(name, one) for one in patterns)]
        unknown = [name for name in bound if prices.find(name) is None]
        if not prices or (unknown and unknown == bound):
            findings.problem(
                each.source, f"{what} {', '.join(unknown) or 'any model'}.", _way_out(provider, unit, unknown)
            )
        elif unknown:
            text = f"{what} {', '.join(unknown)}, so they are not used."
            findings.warn(each.source, f"{text} {_way_out(provider, unit, unknown)}")


def _way_out(provider: Provider, unit: Unit, unknown: list[str]) -> str:
    if unit is Unit.UNITS:
        return "Limit requests, tokens or usd instead."
    name = unknown[0] if len(unknown) == 1 else "*"
    return f'Write [prices."{provider.id}/{name}"] with {" and ".join(_NEEDED)} in keyrelay.toml.'
