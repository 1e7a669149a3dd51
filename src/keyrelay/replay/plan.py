"""A plan: what serves a trace. Keys, limits as the gateway is told and as they truly are, settings. TOML.

ledger = true

[settings]                              # any setting of Keyrelay
policy = "round_robin"

[providers.groq]
keys = ["a", { label = "b", account = "a" }, { label = "c", state = "exhausted_day" }]
true_limits = [{ unit = "requests", amount = 10, window = "60s" }]
"""

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from keyrelay.core.configuration import Tier
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.providers import LimitRow
from keyrelay.settings import SETTINGS
from keyrelay.simulator.errors.reasons import ErrorCase
from keyrelay.simulator.scenario import KeyState, Latency

SUFFIX = ".toml"
MAX_KEYS = 1000

_CHANGE = re.compile(r"\+(?=[a-z_][\w.-]*=)")
_ADVICE = "docs/cli.md lists the fields of a plan."
KeyLabel = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,31}$")]
KeyCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_KEYS)]
_Kind = TypeVar("_Kind")
_PROVIDER = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a plan's parts: immutable, unknown fields refused."""


class KeyEntry(Part, frozen=True):
    """One key. Keys of one `account` share its quota; by default each has its own. States are the simulator's."""

    label: KeyLabel
    account: KeyLabel | None = None
    state: KeyState = "ok"
    models: tuple[str, ...] = ()


class ProviderEntry(Part, frozen=True):
    """One provider of the plan.

    `keys` is a number of keys, or a list of labels and tables; 0 takes the provider out. `limits` is what the gateway
    is told, `true_limits` what the provider keeps; both are the catalogue's free tier unless they are given. `models`
    are added to the catalogue's. `latency` is as in a scenario of the simulator, `transit_ms` the way there.
    `faults` maps a case of the simulator's error tables to its probability.
    """

    keys: KeyCount | tuple[KeyLabel | KeyEntry, ...] = 1
    tier: Tier = Tier.FREE
    priority: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None
    limits: tuple[LimitRow, ...] | None = None
    true_limits: tuple[LimitRow, ...] | None = None
    models: tuple[str, ...] = ()
    latency: Latency = Latency(first_token_ms=(250.0, 900.0), tokens_per_s=120.0)
    transit_ms: tuple[float, float] = (5.0, 60.0)
    faults: dict[ErrorCase, Annotated[float, msgspec.Meta(ge=0, le=1)]] = {}

    def key_entries(self) -> tuple[KeyEntry, ...]:
        """The keys as tables; counted ones are called `k1`, `k2` and so on."""
        if isinstance(self.keys, int):
            return tuple(KeyEntry(label=f"k{number}") for number in range(1, self.keys + 1))
        return tuple(KeyEntry(label=key) if isinstance(key, str) else key for key in self.keys)


class Plan(Part, frozen=True):
    """The whole plan. Without `ledger` the gateway counts nothing: it finds out about limits by being refused.

    `settings` are Keyrelay's own, by name. `seed` is added to the trace's.
    """

    name: str = ""
    description: str = ""
    ledger: bool = True
    seed: int = 0
    settings: dict[str, str | int | float | bool] = {}
    providers: dict[str, ProviderEntry] = {}


def shipped_plans() -> list[str]:
    """The names of the plans that come with the package."""
    entries = (files("keyrelay.replay") / "plans").iterdir()
    return sorted(entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX))


def load_plan(text: str, changes: tuple[str, ...] = ()) -> Plan:
    """Read `NAME` or `FILE`, each with `+field=value` behind it as often as wanted, and with further `changes` before.

    Raise ConfigurationError that names file and line, or field.
    """
    name, *own = _CHANGE.split(text)
    table = _read(name)
    for change in (*changes, *own):
        _change(table, change, name)
    return plan_of(table, name, label="+".join((name, *own)))


def plan_of(table: dict[str, Any], where: str, *, label: str = "") -> Plan:
    """A table as a plan, checked; `label` is its name in results. Raise ConfigurationError naming `where` and field."""
    listed = table.get("providers", {})
    plan = _convert({"name": label or where, **table, "providers": {}}, Plan, f"{where}: ")
    if not isinstance(listed, dict):
        raise ConfigurationError(f"{where}: providers", "is no table.", _ADVICE)
    providers = {name: _convert(entry, ProviderEntry, f"{where}: providers.{name}.") for name, entry in listed.items()}
    plan = msgspec.structs.replace(plan, providers=providers)
    if not plan.providers:
        raise ConfigurationError(f"{where}: providers", "there is none.", _ADVICE)
    for name, entry in plan.providers.items():
        if not _PROVIDER.fullmatch(name):
            raise ConfigurationError(f"{where}: providers", f"{name!r} does not name a provider.", _ADVICE)
        labels = [key.label for key in entry.key_entries()]
        if len(set(labels)) < len(labels):
            raise ConfigurationError(f"{where}: providers.{name}.keys", "a label is used twice.")
    return plan


def _convert(table: Any, kind: type[_Kind], where: str) -> _Kind:
    """A table as one of a plan's parts; `where` is what stands before the field in a complaint."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise ConfigurationError(f"{where}{place}".rstrip("`:. "), f"{problem}.", _ADVICE) from None


def _read(name: str) -> dict[str, Any]:
    shipped = files("keyrelay.replay") / "plans" / f"{name}{SUFFIX}"
    try:
        data = shipped.read_bytes() if name.isidentifier() and shipped.is_file() else Path(name).read_bytes()
        return tomllib.loads(data.decode())
    except OSError as error:
        fix = f"Name a file, or one of the shipped plans: {', '.join(shipped_plans())}."
        raise ConfigurationError(name, f"the plan cannot be read: {error.strerror}.", fix) from error
    except ValueError as error:  # tomllib names the line
        raise ConfigurationError(name, f"this is not TOML: {error}.", _ADVICE) from None


def _change(table: dict[str, Any], change: str, where: str) -> None:
    """Set `field.of.the.plan=value`; a setting needs no `settings.` before its name."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise ConfigurationError(change, "is not field=value.", "For example policy=least_used.")
    steps = path.split(".")
    if len(steps) == 1 and steps[0] not in Plan.__struct_fields__:
        if steps[0] not in {setting.name for setting in SETTINGS}:
            raise ConfigurationError(change, f"there is no field or setting {path!r}.", _ADVICE)
        steps.insert(0, "settings")
    for step in steps[:-1]:
        table = table.setdefault(step, {})
        if not isinstance(table, dict):
            raise ConfigurationError(change, f"{step} of {where} holds no further fields.", _ADVICE)
    table[steps[-1]] = _value(text)


def _value(text: str) -> Any:
    """A value as TOML writes it; what TOML does not know is text, so that `least_used` needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
