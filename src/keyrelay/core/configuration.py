"""The effective configuration as one immutable value.

The control side builds a `Snapshot` and swaps it in one assignment; a request reads the one it started with
to its end. Nothing here changes after it is made.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from keyrelay.core.limits import Limit
from keyrelay.core.model_names import ModelNames
from keyrelay.core.origins import Origin
from keyrelay.core.prices import NO_PRICES, PriceList
from keyrelay.core.providers import ModelRow, Operation, ProviderRow
from keyrelay.core.secrets import Secret

CacheMode = Literal["off", "deterministic", "all"]
"""Which answers may be given again: none, those to requests with temperature 0 or a seed, or all."""


class Tier(StrEnum):
    """What an account may do; `unknown` turns the catalogue's limits into beliefs."""

    FREE = "free"
    PAID = "paid"
    UNKNOWN = "unknown"


class Credential(msgspec.Struct, frozen=True):
    """A key as it is sent, `header: prefix + secret`, bound to the one origin that may ever see it."""

    origin: Origin
    header: str
    prefix: str
    secret: Secret


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One credential. `id` is `provider/label`; keys with the same `account` share that account's quota.

    Keys of lower `priority` are taken first, those that are `backup` only when no other can serve. `limits` bind this
    key alone.
    """

    provider_id: str
    label: str
    account: str
    secret: Secret | None
    weight: float = 1.0
    priority: int = 0
    backup: bool = False
    limits: tuple[Limit, ...] = ()

    @property
    def id(self) -> str:
        """Name of the key in logs, metrics and headers."""
        return f"{self.provider_id}/{self.label}"


class Withheld(msgspec.Struct, frozen=True):
    """A key that takes no requests: why, and who has said so (empty: nobody in particular).

    `other_host`: it was entered for another address than its provider's. `detail` then names both, and so it does for
    one that is out for another reason as well: such a key is never sent anywhere.
    """

    key: Key
    reason: Literal["disabled", "expired", "other_host"]
    set_by: str = ""
    detail: str = ""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A configured provider: its catalogue row with the operator's changes worked in.

    `base_path` is what the base URL has behind the origin, without a trailing slash. `limits` are those in
    force: the operator's, and the catalogue's as far as the tier lets them count, less the share `margin`. `prices`
    are those of its models in US dollars, `unit_prices` those in its own measure.
    """

    row: ProviderRow
    origin: Origin
    base_path: str
    priority: int
    tier: Tier
    limits: tuple[Limit, ...]
    models: dict[str, ModelRow]
    default_model: str = ""
    margin: float = 0.0
    prices: PriceList = NO_PRICES
    unit_prices: PriceList = NO_PRICES

    @property
    def id(self) -> str:
        """Name of the provider in the catalogue, or its environment prefix in lower case."""
        return self.row.id

    def path_of(self, operation: Operation) -> str:
        """Path of an operation behind the origin; empty when the provider does not have it."""
        path: str = getattr(self.row.paths, operation)
        return self.base_path + path if path else ""


class Target(msgspec.Struct, frozen=True):
    """A model at a provider. An empty model stands for the provider's default model."""

    provider_id: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider_id}/{self.model}" if self.model else self.provider_id


class PolicyName(StrEnum):
    """How candidates of equal priority are ordered; `priority` keeps the order in which they were configured."""

    PRIORITY = "priority"
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    LEAST_USED = "least_used"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use as `model`. `fallback` targets are tried when no target can serve.

    `cache` says which of its answers may be given again; None leaves that to the settings.
    """

    name: str
    targets: tuple[Target, ...]
    policy: PolicyName = PolicyName.ROUND_ROBIN
    fallback: tuple[Target, ...] = ()
    cache: CacheMode | None = None


class ClientLimit(msgspec.Struct, frozen=True):
    """A limit or budget of a client, counted from `since_s` (epoch) on.

    `before` is what had been used by then of a quota that never resets, and does not count.
    """

    limit: Limit
    since_s: float = 0.0
    before: int = 0


class ClientRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a client beyond its secret. `state` is empty while it may call, else why it may not.

    The secret holds until `expires_s` (epoch; 0: for ever); `replaced`: it has been replaced, and holds that long
    for those who still have it. `models` are those that it may ask for; None: all. `priority` is the class in which it
    waits unless it says another one, empty for the usual one.
    """

    state: Literal["", "disabled", "revoked"] = ""
    expires_s: float = 0.0
    replaced: bool = False
    models: ModelNames | None = None
    limits: tuple[ClientLimit, ...] = ()
    priority: str = ""


class Client(msgspec.Struct, frozen=True):
    """An application that calls Keyrelay; `digest` is the SHA-256 of its secret.

    `keyed`: it is the keyed digest of that (`core.secrets.keyed_digest`). `rules` are None for a client that may do
    everything.
    """

    label: str
    digest: bytes
    rules: ClientRules | None = None
    keyed: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the data plane reads. `fallback` serves any request that nothing else could.

    `withheld` are the keys that are configured and take no requests; a provider may have no others. `pepper` is what
    the keyed digests of clients' secrets are made with, None where there are none.
    """

    providers: dict[str, Provider]
    keys: tuple[Key, ...]
    routes: dict[str, Route]
    clients: dict[bytes, Client]
    policy: PolicyName = PolicyName.ROUND_ROBIN
    fallback: tuple[Target, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    pepper: Secret | None = None
