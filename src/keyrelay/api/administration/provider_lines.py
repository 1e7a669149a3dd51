"""A provider as people look at it: what is in force, where each value comes from, and what is administered."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.providers import Providers
from keyrelay.configuration.providers import prefix_of
from keyrelay.configuration.stored import STORE
from keyrelay.configuration.values import CATALOGUE, Configuration
from keyrelay.core.administered import ProviderEntry
from keyrelay.core.configuration import Provider
from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.engine.key_health import KeyHealth

ProviderState = Literal["in_use", "no_usable_key", "off", "retired", "no_key"]
_PERCENT = 100


class SourcedValue(msgspec.Struct, frozen=True):
    """A value in force as text, and where it comes from: `catalogue`, `store …`, `environment …`."""

    value: str
    source: str


class LimitItem(msgspec.Struct, frozen=True, kw_only=True):
    """A limit in force, written out. One that is not `firm` is a belief, beyond which a request may try to go."""

    text: str
    source: str
    firm: bool
    models: tuple[str, ...]


class ModelItem(msgspec.Struct, frozen=True, kw_only=True):
    """A model; null and 0 where nobody knows. Prices are in US dollars per million tokens, of the catalogue."""

    id: str
    aliases: tuple[str, ...]
    context_tokens: int
    max_output_tokens: int
    capabilities: tuple[str, ...]
    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    priced: bool


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider's terms say, as of when they were read."""

    free_tier: bool
    trains_on_data: bool
    non_production: bool
    note: str
    verified_at: dt.date


class ProviderItem(msgspec.Struct, frozen=True, kw_only=True):
    """A provider.

    `state`: `in_use`; `no_usable_key`, all of its keys are disabled, expired or bound to another address; `off`;
    `retired`, switched off in the catalogue; `no_key`, neither a key nor a wish to use it without one, or a variable of
    its address is missing. `dialects` are those that it is spoken to in, OpenAI's first where it takes that. `margin`
    is in percent. `keys` counts its keys by their state. `values` says of each value where it comes from; of a provider
    that is not in use it is empty, and the rest is the catalogue's. `entry` is what is administered here, null for
    nothing. `fixed` are the fields that the environment says, with the variable that does. `key_variable` is where the
    environment would hold its keys.
    """

    id: str
    name: str
    state: ProviderState
    in_catalogue: bool
    dialects: tuple[str, ...]
    base_url: str
    priority: int
    tier: str
    margin: float
    default_model: str
    models: tuple[ModelItem, ...]
    limits: tuple[LimitItem, ...]
    keys: dict[str, int]
    values: dict[str, SourcedValue]
    entry: ProviderEntry | None
    fixed: dict[str, str]
    warnings: tuple[str, ...]
    key_variable: str
    docs_url: str
    terms: Terms | None


class ProviderLister:
    """Makes lines of providers."""

    __slots__ = ("_health", "_providers")

    def __init__(self, providers: Providers, health: KeyHealth) -> None:
        self._providers = providers
        self._health = health

    def lines(self, *, everything: bool) -> tuple[ProviderItem, ...]:
        """Those configured or administered; `everything`: and all that the catalogue knows."""
        return tuple(map(self.line, self._providers.ids(everything=everything)))

    def line(self, provider_id: str) -> ProviderItem:
        """One of them."""
        administration = self._providers.administration
        configuration, state = administration.configuration, administration.state
        entry = state.get(ProviderEntry, provider_id)
        provider, row = configuration.snapshot.providers.get(provider_id), self._providers.catalogue.get(provider_id)
        keys = self._providers.keys_of(provider_id)
        values = _values(configuration, provider_id)
        shown = row if provider is None else provider.row
        return ProviderItem(
            id=provider_id,
            name=provider_id if shown is None else shown.name,
            state=_state(configuration, provider, row, entry, prefix_of(provider_id)),
            in_catalogue=row is not None,
            dialects=() if shown is None else tuple(dict.fromkeys((shown.dialect, shown.native_dialect))),
            base_url=_address(provider, row, entry),
            priority=_priority(provider, row if entry is None else self._providers.row_of(entry), entry),
            tier="" if provider is None else provider.tier,
            margin=0.0 if provider is None else round(provider.margin * _PERCENT, 6),
            default_model=provider.default_model if provider else row.default_model if row else "",
            models=_models(provider, row),
            limits=_limits(provider, values),
            keys=self._states(keys),
            values={name: value for name, value in values.items() if not name.startswith(("keys.", "limits."))},
            entry=entry,
            fixed=_fixed(configuration, row, provider_id),
            warnings=_warnings(configuration, provider_id),
            key_variable=f"{prefix_of(provider_id)}_API_KEY",
            docs_url="" if row is None else row.docs_url,
            terms=None if row is None else _terms(row),
        )

    def _states(self, keys: Iterable[KnownKey]) -> dict[str, int]:
        candidates = self._health.candidates()
        conditions = (
            self._health.condition(
                each.key, each.withheld, candidates.get(each.key.id, ()), expires_s=each.said.expires_s
            )
            for each in keys
        )
        return dict(sorted(Counter(condition.state.value for condition, _ in conditions).items()))

    def __repr__(self) -> str:
        return f"<ProviderLister of {self._providers!r}>"


def _state(
    configuration: Configuration,
    provider: Provider | None,
    row: ProviderRow | None,
    entry: ProviderEntry | None,
    prefix: str,
) -> ProviderState:
    if provider is not None:
        serving = any(key.provider_id == provider.id for key in configuration.snapshot.keys)
        return "in_use" if serving else "no_usable_key"
    if f"{prefix}_ENABLED" in configuration.variables or (entry is not None and entry.enabled is False):
        return "off"
    return "retired" if row is not None and not row.enabled else "no_key"


def _address(provider: Provider | None, row: ProviderRow | None, entry: ProviderEntry | None) -> str:
    if provider is not None:
        return f"{provider.origin}{provider.base_path}"
    if entry is not None and entry.base_url:
        return entry.base_url
    return "" if row is None else row.base_url


def _priority(provider: Provider | None, row: ProviderRow | None, entry: ProviderEntry | None) -> int:
    if provider is not None:
        return provider.priority
    if entry is not None and entry.priority is not None:
        return entry.priority
    return 0 if row is None else row.priority


def _values(configuration: Configuration, provider_id: str) -> dict[str, SourcedValue]:
    stem = f"providers.{provider_id}."
    return {
        value.name.removeprefix(stem): SourcedValue(value.value, value.source)
        for value in configuration.values
        if value.name.startswith(stem)
    }


def _limits(provider: Provider | None, values: Mapping[str, SourcedValue]) -> tuple[LimitItem, ...]:
    nowhere = SourcedValue("", CATALOGUE)
    return tuple(
        LimitItem(
            text=str(limit),
            source=values.get(f"limits.{number}", nowhere).source,
            firm=limit.firm,
            models=limit.models,
        )
        for number, limit in enumerate(() if provider is None else provider.limits, 1)
    )


def _models(provider: Provider | None, row: ProviderRow | None) -> tuple[ModelItem, ...]:
    rows: Iterable[ModelRow] = provider.models.values() if provider else row.models if row else ()
    return tuple(
        ModelItem(
            id=model.id,
            aliases=model.aliases,
            context_tokens=model.context_tokens,
            max_output_tokens=model.max_output_tokens,
            capabilities=model.capabilities,
            input_usd_per_mtok=model.price_input_usd_per_mtok,
            output_usd_per_mtok=model.price_output_usd_per_mtok,
            priced=provider is not None and provider.prices.find(model.id) is not None,
        )
        for model in rows
    )


def _fixed(configuration: Configuration, row: ProviderRow | None, provider_id: str) -> dict[str, str]:
    """The fields that the environment says, which wins over what is administered."""
    prefix, variables = prefix_of(provider_id), configuration.variables
    names = ("base_url", "dialect", "enabled", "priority", "tier", "margin", "models", "limits")
    fixed = {name: f"{prefix}_{name.upper()}" for name in names}
    found = {name: f"{variables[each]} {each}" for name, each in fixed.items() if each in variables}
    others = () if row is None else row.base_url_env
    held = next((f"{variables[each]} {each}" for each in others if each in variables), "")
    return {"base_url": held, **found} if held else found


def _warnings(configuration: Configuration, provider_id: str) -> tuple[str, ...]:
    prefixes = (f"{STORE} provider {provider_id}:", f"{STORE} key {provider_id}/", f"{provider_id}:")
    return tuple(text for text in configuration.warnings if text.startswith(prefixes))


def _terms(row: ProviderRow) -> Terms:
    terms = row.terms
    return Terms(
        free_tier=terms.free_tier,
        trains_on_data=terms.trains_on_data,
        non_production=terms.non_production,
        note=terms.note,
        verified_at=row.verified_at,
    )


EXAMPLE_PROVIDER = ProviderItem(
    id="my_llm",
    name="my_llm",
    state="in_use",
    in_catalogue=False,
    dialects=("openai",),
    base_url="https://llm.example.com/v1",
    priority=5,
    tier="paid",
    margin=0.0,
    default_model="large",
    models=(
        ModelItem(
            id="large",
            aliases=(),
            context_tokens=0,
            max_output_tokens=0,
            capabilities=(),
            input_usd_per_mtok=None,
            output_usd_per_mtok=None,
            priced=False,
        ),
    ),
    limits=(
        LimitItem(text="1000 requests per day@UTC for (account)", source="store MY_LLM_LIMITS", firm=True, models=()),
    ),
    keys={"ready": 1},
    values={
        "base_url": SourcedValue("https://llm.example.com/v1", "store MY_LLM_BASE_URL"),
        "priority": SourcedValue("5", "store MY_LLM_PRIORITY"),
    },
    entry=ProviderEntry(
        id="my_llm", base_url="https://llm.example.com/v1", priority=5, limits=("1000 requests per day",)
    ),
    fixed={},
    warnings=(),
    key_variable="MY_LLM_API_KEY",
    docs_url="",
    terms=None,
)
