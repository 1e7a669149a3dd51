"""A plan as a running gateway: the second composition root beside `bootstrap`, with simulated adapters.

The plan becomes environment variables and a catalogue, and those a configuration in the ordinary way, so that what is
replayed is what would be configured.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from keyrelay.bootstrap import compose_gateway, compose_pool
from keyrelay.configuration import load_configuration
from keyrelay.configuration.providers import prefix_of
from keyrelay.configuration.values import Configuration
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.engine.gateway import Gateway
from keyrelay.ports import Clock, Observer, Ports, Upstream
from keyrelay.quota.values import Amounts, LimitKey, Standing
from keyrelay.replay.plan import Plan, ProviderEntry
from keyrelay.replay.provider import secret_of
from keyrelay.replay.upstream import host_of
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue, provider_row_for_generic

_NOWHERE = Path("/nonexistent")  # no file of this machine has a say in a replay


class Setting(msgspec.Struct, frozen=True):
    """A plan made ready: its configuration, and the rows as the providers truly are."""

    configuration: Configuration
    rows: dict[str, ProviderRow]


class BlindLedger:
    """Implements `ports.Ledger` and counts nothing: what a gateway without a ledger knows."""

    def reserve(
        self, path: tuple[LimitKey, ...], amounts: Amounts, now_s: float, *, beyond_belief: bool = False
    ) -> object:
        """Everything is admitted."""
        del path, amounts, now_s, beyond_belief
        return self

    def settle(self, reservation: object, amounts: Amounts, now_s: float, *, arrived: bool = False) -> None:
        """Nothing was taken."""

    def answered(self, reservation: object, now_s: float) -> None:
        """Nothing was taken."""

    def raise_belief(self, reservation: object) -> None:
        """There are no beliefs."""

    def confirm_belief(self, key: LimitKey, now_s: float) -> None:
        """There are no beliefs."""

    def follow(self, key: LimitKey, now_s: float, *, amount: int | None = None, used: int | None = None) -> bool:
        """What providers say is not remembered."""
        del key, now_s, amount, used
        return False

    def restore(self, path: tuple[LimitKey, ...], amounts: Amounts, at_s: float, *, once: bool = False) -> None:
        """What was used before is not remembered either."""
        del path, amounts, at_s, once

    def peek(self, path: tuple[LimitKey, ...], now_s: float) -> tuple[Standing, ...]:
        """Each limit as it is written down, with nothing used."""
        del now_s
        return tuple(_untouched(key) for key in path)

    def __repr__(self) -> str:
        return "<BlindLedger>"


def _untouched(key: LimitKey) -> Standing:
    limit = key.limit
    return Standing(
        limit=key, amount=limit.amount, used=0, reserved=0, reset_s=None, source=limit.source, firm=limit.firm
    )


def make_ready(plan: Plan) -> Setting:
    """The configuration that a plan stands for. Raise ConfigurationError for what no gateway would start with."""
    catalogue = load_catalogue()
    rows = {name: _true_row(name, entry, catalogue) for name, entry in plan.providers.items()}
    told = {name: _told_row(row, plan.providers[name]) for name, row in rows.items()}
    settings = {name: _text(value) for name, value in plan.settings.items()}
    try:
        configuration = load_configuration(
            _environment(plan),
            directory=_NOWHERE,
            overrides={**settings, "data_dir": str(_NOWHERE)},
            catalogue={GENERIC_ID: catalogue[GENERIC_ID], **told},
        )
    except ConfigurationError as error:
        raise ConfigurationError(plan.name, str(error)) from None
    return Setting(configuration, rows)


def compose(
    setting: Setting, plan: Plan, upstream: Upstream, *, clock: Clock, observer: Observer, seed: int
) -> Gateway:
    """The gateway, with its real pool, routing, health and ledger."""
    configuration = setting.configuration
    source: Callable[[], float] = random.Random(seed).random  # noqa: S311 - a replay is repeatable
    ledger = MemoryLedger() if plan.ledger else BlindLedger()
    ports = Ports(upstream=upstream, ledger=ledger, clock=clock, observer=observer, random=source)
    return compose_gateway(configuration, compose_pool(configuration, _unheard), ports, report=_unheard)


def _unheard(text: str) -> None:
    """Nobody reads what a replay's gateway reports."""


def _true_row(name: str, entry: ProviderEntry, catalogue: Mapping[str, ProviderRow]) -> ProviderRow:
    """The catalogue's row, or the generic one for a provider of the plan's own, with the plan's models."""
    row = catalogue.get(name)
    if row is None:
        row = provider_row_for_generic(name, f"https://{host_of(name)}/v1", catalogue)
    listed = {model.id for model in row.models}
    added = tuple(ModelRow(id=model, capabilities=()) for model in entry.models if model not in listed)
    return msgspec.structs.replace(row, models=(*row.models, *added), enabled=True)


def _told_row(row: ProviderRow, entry: ProviderEntry) -> ProviderRow:
    return row if entry.limits is None else msgspec.structs.replace(row, limits=entry.limits)


def _environment(plan: Plan) -> dict[str, str]:
    environ = dict[str, str]()
    for name, entry in plan.providers.items():
        prefix = prefix_of(name)
        entries = entry.key_entries()
        if not entries:
            continue
        keys = (f"{key.account or key.label}:{key.label}={secret_of(name, key.label)}" for key in entries)
        environ[f"{prefix}_API_KEYS"] = ",".join(keys)
        environ[f"{prefix}_BASE_URL"] = f"https://{host_of(name)}/v1"
        environ[f"{prefix}_TIER"] = entry.tier.value
        if entry.priority is not None:
            environ[f"{prefix}_PRIORITY"] = str(entry.priority)
        if entry.models:
            environ[f"{prefix}_MODELS"] = ",".join(entry.models)
    return environ


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
