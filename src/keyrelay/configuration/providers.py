"""Providers: the catalogue's rows as the environment configures them, and rows that only the environment knows.

A row becomes a provider when there is a key for it. One that works without any (`auth.optional`) becomes one when
it is given an address or models, is switched on, or is named by a route or by `fallback`.
"""

import math
import re
from collections.abc import Mapping

import msgspec

from keyrelay.configuration.base_urls import Place, find_base_url, is_private, own_address, read_place
from keyrelay.configuration.environment import FILE_SUFFIX, Environment, Found, numbered
from keyrelay.configuration.findings import Findings, nearest
from keyrelay.configuration.keys import SourcedKey, key_names, keyless, read_keys
from keyrelay.configuration.operator_limits import read_limits
from keyrelay.configuration.prices import PriceOverride, check_limits, prices_of, refuse_unknown
from keyrelay.configuration.provider_values import Sourced, effective_values
from keyrelay.configuration.setting_values import read_switch, split_list
from keyrelay.configuration.stored import StoredKeys
from keyrelay.configuration.values import CATALOGUE, DEFAULT, EffectiveValue
from keyrelay.core.configuration import Key, Provider, Tier, Withheld
from keyrelay.core.providers import PROVIDER_DIALECTS, ModelRow, ProviderDialect, ProviderRow, QuirksRow
from keyrelay.quota.limits import effective_limits
from keyrelay.settings import PREFIX
from keyrelay.upstream.catalogue import GENERIC_ID, PriceFile, load_price_file, provider_row_for_generic

HIGHEST_PRIORITY_NUMBER = 100_000

_BASE_URL = "_BASE_URL"
_CUSTOM_PREFIX = re.compile(r"[A-Z][A-Z0-9_]*")
_MODEL = re.compile(r"[!-~]{1,256}")


class Assembled(msgspec.Struct, frozen=True):
    """A provider with its keys and how both are shown. Those that are `withheld` are not among the keys."""

    provider: Provider
    keys: tuple[Key, ...]
    values: tuple[EffectiveValue, ...]
    address_source: str
    withheld: tuple[Withheld, ...] = ()


def prefix_of(provider_id: str) -> str:
    """What the provider's environment variables begin with."""
    return re.sub(r"[^A-Z0-9]", "_", provider_id.upper())


def read_providers(
    catalogue: Mapping[str, ProviderRow],
    *,
    environment: Environment,
    mentioned: frozenset[str],
    findings: Findings,
    stored: StoredKeys,
    overrides: tuple[PriceOverride, ...] = (),
) -> tuple[Assembled, ...]:
    """Every configured provider, first priority first.

    `mentioned` are the ids that routes and `fallback` name, `stored` the keys that are administered, `overrides` the
    prices that the operator gives.
    """
    rows = [row for row in catalogue.values() if row.id != GENERIC_ID]
    reader = _Reader(rows, environment, mentioned=mentioned, findings=findings, stored=stored, overrides=overrides)
    known = [reader.read(row) for row in rows]
    custom_rows = _custom_rows(catalogue, environment, claimed=reader.claimed, stored=stored)
    refuse_unknown(overrides, (row.id for row in (*rows, *custom_rows)), findings)
    custom = [reader.read(row) for row in custom_rows]
    assembled = [each for each in (*known, *custom) if each]
    return tuple(sorted(assembled, key=lambda each: (each.provider.priority, each.provider.id)))


class _Reader:
    """Reads one row after the other from the same environment."""

    def __init__(
        self,
        rows: list[ProviderRow],
        environment: Environment,
        *,
        mentioned: frozenset[str],
        findings: Findings,
        stored: StoredKeys,
        overrides: tuple[PriceOverride, ...],
    ) -> None:
        self._environment = environment
        self._stored = stored
        self._overrides = overrides
        self._price_file: PriceFile = load_price_file()
        self._mentioned = mentioned
        self._findings = findings
        self._catalogued = frozenset(row.id for row in rows)
        self.claimed: frozenset[str] = frozenset(name for row in rows for name in row.key_env)

    def read(self, row: ProviderRow) -> Assembled | None:
        """The row as a provider; None when it is not configured, switched off, or wrong."""
        prefix = prefix_of(row.id)
        enabled = self._switch(f"{prefix}_ENABLED")
        if enabled is False:
            return None
        keys = self._keys(row, prefix, enabled=enabled)
        if not keys or not self._is_on(row, prefix, enabled=enabled):
            return None
        place = read_place(row, prefix, environment=self._environment, findings=self._findings)
        return self._assemble(row, prefix, keys=self._placed(row, keys, place), place=place) if place else None

    def _placed(self, row: ProviderRow, keys: tuple[SourcedKey, ...], place: Place) -> tuple[SourcedKey, ...]:
        """The keys, those withheld that were entered for another address. The environment's own goes for all."""
        if not place.origin.guarded and place.source != CATALOGUE:
            return keys
        own = own_address(row, self._environment) if row.id in self._catalogued else ""
        return self._stored.placed(row.id, keys, address=str(place.origin), own=own, findings=self._findings)

    def _switch(self, name: str) -> bool | None:
        found = self._environment.find(name)
        if found is None:
            return None
        value = read_switch(found.text)
        if value is None:
            self._findings.problem(found.source, "is not true or false.")
        return value

    def _keys(self, row: ProviderRow, prefix: str, *, enabled: bool | None) -> tuple[SourcedKey, ...]:
        # A name that another row asks for by name is that row's: OLLAMA_API_KEY is the cloud's, not the local server's.
        names = key_names(row, prefix, names=self._environment.names)
        own = tuple(name for name in names if name in row.key_env or name not in self.claimed)
        keys = read_keys(row, own, environment=self._environment, findings=self._findings)
        if keys or self._stored.has(row.id):
            return self._stored.join(row, keys, self._findings)
        if row.auth.optional:
            source = self._wish(row, prefix, enabled=enabled)
            return self._stored.join(row, (keyless(row, source),), self._findings) if source else ()
        if enabled:
            self._findings.warn(f"{prefix}_ENABLED", f"{row.name} is switched on but has no key: set {names[0]}.")
        return ()

    def _wish(self, row: ProviderRow, prefix: str, *, enabled: bool | None) -> str:
        """What says that a provider without keys is wanted; empty when nothing does."""
        names = (f"{prefix}_ENABLED",) if enabled else ()
        found = find_base_url(row, prefix, environment=self._environment) or self._environment.find(
            f"{prefix}_MODELS", *names
        )
        if found:
            return found.source
        return "named by a route" if row.id in self._mentioned else ""

    def _is_on(self, row: ProviderRow, prefix: str, *, enabled: bool | None) -> bool:
        if row.enabled or enabled:
            return True
        retired = f"was retired on {row.retired_on}" if row.retired_on else "is switched off in the catalogue"
        self._findings.warn(row.id, f"{row.name} {retired}; set {prefix}_ENABLED=true to use it all the same.")
        return False

    def _assemble(self, row: ProviderRow, prefix: str, *, keys: tuple[SourcedKey, ...], place: Place) -> Assembled:
        tier = self._tier(prefix)
        priority, margin = self._priority(row, prefix), self._margin(prefix)
        models, default = self._models(row, prefix)
        limits = read_limits(row, prefix, environment=self._environment, findings=self._findings)
        private = is_private(place.origin.host)
        prices, unit_prices = prices_of(row, self._price_file, self._overrides, private=private)
        dialect = self._dialect(prefix)
        provider = Provider(
            row=_speaking(_placed(row, place), dialect.value),
            origin=place.origin,
            base_path=place.base_path,
            priority=priority.value,
            tier=tier.value,
            limits=effective_limits(row.limits, tuple(each.limit for each in limits), tier.value, margin=margin.value),
            margin=margin.value,
            models=models,
            default_model=default.value,
            prices=prices,
            unit_prices=unit_prices,
        )
        check_limits(provider, limits, self._findings)
        weight = self._weight(prefix)
        spoken = " and ".join(dict.fromkeys((provider.row.native_dialect, provider.row.dialect)))
        values = (
            *effective_values(provider, place=place, tier=tier, priority=priority, default=default, limits=limits),
            EffectiveValue(f"providers.{row.id}.margin", f"{margin.value * 100:g}", margin.source),
            EffectiveValue(f"providers.{row.id}.weight", f"{weight.value:g}", weight.source),
            EffectiveValue(f"providers.{row.id}.dialect", spoken, dialect.source),
            *(each.shown for each in keys),
        )
        weighted = tuple(
            each.key if each.weighted else msgspec.structs.replace(each.key, weight=weight.value)
            for each in keys
            if each.withheld is None
        )
        withheld = tuple(each.withheld for each in keys if each.withheld is not None)
        return Assembled(provider, weighted, values, place.source, withheld)

    def _tier(self, prefix: str) -> Sourced[Tier]:
        found = self._environment.find(f"{prefix}_TIER")
        if found is None:
            return Sourced(Tier.UNKNOWN, DEFAULT)
        names = [tier.value for tier in Tier]
        if found.text.lower() in names:
            return Sourced(Tier(found.text.lower()), found.source)
        self._findings.problem(found.source, f"is not one of {', '.join(names)}.", nearest(found.text.lower(), names))
        return Sourced(Tier.UNKNOWN, DEFAULT)

    def _dialect(self, prefix: str) -> Sourced[ProviderDialect | None]:
        """The one dialect that the operator wants spoken; None leaves that to the row."""
        found = self._environment.find(f"{prefix}_DIALECT")
        if found is None:
            return Sourced(None, CATALOGUE)
        name = found.text.lower()
        for dialect in PROVIDER_DIALECTS:
            if dialect == name:
                return Sourced(dialect, found.source)
        self._findings.problem(
            found.source, f"is not one of {', '.join(PROVIDER_DIALECTS)}.", nearest(name, PROVIDER_DIALECTS)
        )
        return Sourced(None, CATALOGUE)

    def _priority(self, row: ProviderRow, prefix: str) -> Sourced[int]:
        found = self._environment.find(f"{prefix}_PRIORITY")
        if found is None:
            return Sourced(row.priority, CATALOGUE)
        number = int(found.text) if re.fullmatch(r"\d{1,6}", found.text, re.ASCII) else -1
        if not 0 <= number <= HIGHEST_PRIORITY_NUMBER:
            expected = f"a whole number from 0 to {HIGHEST_PRIORITY_NUMBER}"
            self._findings.problem(found.source, f"is not {expected}.", "The lowest number is tried first.")
        return Sourced(number, found.source)

    def _margin(self, prefix: str) -> Sourced[float]:
        """The share that is kept from the provider's limits."""
        found = self._environment.find(f"{prefix}_MARGIN")
        if found is None:
            return Sourced(0.0, DEFAULT)
        percent = float(found.text) if re.fullmatch(r"\d(\.\d{1,6})?", found.text, re.ASCII) else math.inf
        if percent > 1:
            self._findings.problem(
                found.source, "is not a number from 0 to 1.", "It is a percentage; of small limits one request is kept."
            )
            percent = 0.0
        return Sourced(percent / 100, found.source)

    def _weight(self, prefix: str) -> Sourced[float]:
        found = self._environment.find(f"{prefix}_WEIGHT")
        if found is None:
            return Sourced(1.0, DEFAULT)
        number = float(found.text) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", found.text, re.ASCII) else 0.0
        if not number:
            self._findings.problem(
                found.source, "is not a number above 0.", "Twice the weight gets twice the requests under `weighted`."
            )
        return Sourced(number or 1.0, found.source)

    def _models(self, row: ProviderRow, prefix: str) -> tuple[dict[str, ModelRow], Sourced[str]]:
        """The row's models with the operator's before them, and the default model."""
        listed = {model.id: model for model in row.models}
        aliases = {alias: model.id for model in row.models for alias in model.aliases}
        found = self._environment.find(f"{prefix}_MODELS")
        names = self._model_names(found) if found else ()
        if found is None or not names:
            return listed, Sourced(row.default_model, CATALOGUE)
        added = [aliases.get(name, name) for name in names]
        models = {name: listed.get(name, ModelRow(id=name, capabilities=())) for name in added}
        return models | listed, Sourced(added[0], found.source)

    def _model_names(self, found: Found) -> tuple[str, ...]:
        names = split_list(found.text)
        if not all(map(_MODEL.fullmatch, names)):
            self._findings.problem(found.source, "holds a model name with spaces in it.", "Separate names by commas.")
        return names


def _speaking(row: ProviderRow, dialect: ProviderDialect | None) -> ProviderRow:
    """The row of a provider that is spoken to in one dialect alone; rules for another one hold no longer."""
    if dialect is None:
        return row
    if dialect != row.dialect:
        quirks = QuirksRow(strip_tool_schema=row.quirks.strip_tool_schema)
        row = msgspec.structs.replace(row, quirks=quirks, model_quirks=())
    return msgspec.structs.replace(row, dialect=dialect, native_dialect=dialect)


def _placed(row: ProviderRow, place: Place) -> ProviderRow:
    """The generic row is that of an own server; somebody else's has no right to private addresses or long silence."""
    if row.local and row.native_dialect == "openai" and not is_private(place.origin.host):
        return msgspec.structs.replace(row, local=False, first_byte_timeout_s=None)
    return row


def _custom_rows(
    catalogue: Mapping[str, ProviderRow], environment: Environment, *, claimed: frozenset[str], stored: StoredKeys
) -> list[ProviderRow]:
    """A row for each prefix that the catalogue does not know and that has a base URL and keys, or else a wish."""
    taken = {prefix_of(row.id) for row in catalogue.values() if row.id != GENERIC_ID}
    addresses = {name for row in catalogue.values() for name in row.base_url_env}
    rows = list[ProviderRow]()
    for name in sorted(environment.names):
        prefix = name.removesuffix(_BASE_URL)
        if not name.endswith(_BASE_URL) or name in addresses or prefix in taken or f"{prefix}_".startswith(PREFIX):
            continue
        if not _CUSTOM_PREFIX.fullmatch(prefix):
            continue
        if stored.has(prefix.lower()) or _is_provider(prefix, environment, claimed=claimed):
            rows.append(provider_row_for_generic(prefix.lower(), "https://host.example/v1", catalogue))
    return rows


def _is_provider(prefix: str, environment: Environment, *, claimed: frozenset[str]) -> bool:
    """Whether a prefix with a base URL is meant as a provider; many programs have a FOO_BASE_URL."""
    stem = f"{prefix}_API_KEY"
    names = set(environment.names)
    keys = {stem, f"{stem}S", *numbered(names, stem)} - claimed
    if any(key in names or key + FILE_SUFFIX in names for key in keys):
        return True
    enabled = environment.find(f"{prefix}_ENABLED")
    return f"{prefix}_MODELS" in names or bool(enabled and read_switch(enabled.text))
