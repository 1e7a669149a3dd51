"""A scenario: everything that the simulated providers do by plan. A value, loadable from TOML or JSON.

seed = 7
time_scale = 60.0                          # one real second is a simulated minute for limits

[latency]
first_token_ms = [120, 400]
tokens_per_s = 80

[providers.gemini]
limits = [{ unit = "requests", amount = 5, window = "60s" }]
faults = { "503" = 0.01, stall_mid_stream = 0.002 }
script = ["", "429:5", ""]                 # the second call gets a 429

[providers.gemini.keys]
sim-gemini-a = "ok"
sim-gemini-b = { state = "exhausted_day", account = "project-2" }
"""

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from keyrelay.core.providers import LimitRow

KeyState = Literal[
    "ok",
    "invalid",
    "exhausted_day",
    "exhausted_month",
    "banned",
    "leaked",
    "no_credit",
    "no_permission",
    "restricted_model",
]
"""What a key is worth. `exhausted_day` and `exhausted_month` end by themselves at the next reset in the row's
zone; `no_permission` may list models but use none; `restricted_model` may use only its `models`."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the scenario's parts: immutable, unknown fields refused."""


class Latency(Plan, frozen=True):
    """How long an answer takes, in real time.

    `first_token_ms` is a range: about nine draws of ten of a log-normal distribution lie in it (both ends equal:
    fixed; low end 0: uniform). `tokens_per_s` spaces the tokens after that; 0 means without delay.
    """

    first_token_ms: tuple[float, float] = (0.0, 0.0)
    tokens_per_s: float = 0.0


class KeyPlan(Plan, frozen=True):
    """One key. Keys of one `account` share its quota (default: an account per key).

    `label` is what the judge shows (default: the secret itself if it starts with `sim-`, as no real key does;
    otherwise masked). `models` are the names that a `restricted_model` key may use. `faults` and `script` are
    as for a provider and strike this key only.
    """

    state: KeyState = "ok"
    account: str = ""
    label: str = ""
    models: tuple[str, ...] = ()
    faults: dict[str, float] = {}
    script: tuple[str, ...] = ()


class ProviderPlan(Plan, frozen=True):
    """One simulated provider.

    `limits`: None for the row's free-tier limits, empty for none. `hidden_limits` are enforced and named in no
    header. `keys` maps a secret to its state or plan; other keys count as `ok` when `accept_unknown_keys`.
    `models`: the names served, None for the row's. `faults` maps a fault (see `faults.FAULTS`) to its
    probability; `script` names the fault of the first call, of the second and so on, "" for none.
    `answer_tokens` is the range of an answer's length when nothing else bounds it.
    """

    limits: tuple[LimitRow, ...] | None = None
    hidden_limits: tuple[LimitRow, ...] = ()
    keys: dict[str, KeyState | KeyPlan] = {}
    accept_unknown_keys: bool = True
    models: tuple[str, ...] | None = None
    faults: dict[str, float] = {}
    script: tuple[str, ...] = ()
    latency: Latency | None = None
    answer_tokens: tuple[int, int] = (24, 96)


class Scenario(Plan, frozen=True):
    """The whole plan. Providers that it does not name are served by their rows alone.

    The same `seed`, requests and clock give the same answers. `time_scale` is the speed of the clock on which
    limits are counted (used when the simulator is given no clock). `recorded_calls` bounds the judge's memory.
    """

    seed: int = 1
    time_scale: float = 1.0
    latency: Latency = Latency()
    providers: dict[str, ProviderPlan] = {}
    recorded_calls: int = 200_000


class Change(Plan, frozen=True):
    """What may change while the simulator runs; a field left out stays as it is.

    `provider` is a provider's id. `keys` maps a secret or a label to a new state. `refuse_connections` closes
    that many next connections, to whatever provider, right after accepting them.
    """

    provider: str = ""
    faults: dict[str, float] | None = None
    script: tuple[str, ...] | None = None
    keys: dict[str, KeyState | KeyPlan] = {}
    limits: tuple[LimitRow, ...] | None = None
    latency: Latency | None = None
    refuse_connections: int = 0


def load_scenario(path: Path) -> Scenario:
    """Read a scenario from a `.toml` or `.json` file; msgspec's ValidationError says what is wrong and where."""
    data = path.read_bytes()
    if path.suffix == ".json":
        return msgspec.json.decode(data, type=Scenario)
    return msgspec.convert(tomllib.loads(data.decode()), Scenario)
