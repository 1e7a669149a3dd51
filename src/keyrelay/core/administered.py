"""What people administer while Keyrelay runs: keys, providers, routes, clients and settings that the store keeps.

Each is an entry with a document that holds no secret. The secret of a key is beside it, sealed wherever it is kept.
Together they are one value, `Administered`: it is read as a whole, changed as a whole, and becomes part of the
configuration between the file and the environment.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeVar

import msgspec

from keyrelay.core.alerts import Channel, Hush, QuietHours, RuleChange
from keyrelay.core.configuration import CacheMode
from keyrelay.core.secrets import Secret

EntryKind = Literal["key", "provider", "route", "client", "setting", "user", "token", "alert", "pepper", "usage"]
"""What there are entries of."""

ENTRY_KINDS: tuple[EntryKind, ...] = (
    "key",
    "provider",
    "route",
    "client",
    "setting",
    "user",
    "token",
    "alert",
    "pepper",
    "usage",
)

Role = Literal["viewer", "operator", "administrator"]
"""What a person may do: look; also end what is wrong and try things out; also change keys, clients and people."""

ROLES: tuple[Role, ...] = ("viewer", "operator", "administrator")
"""The roles, each of which may do what those before it may."""


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider's key, or what is said of one that the environment holds (`referenced`).

    `account` is the quota domain, by default the key's own. `limits` are written out as in `<PROVIDER>_LIMITS` and bind
    this key alone. Among the keys of a provider the lower `priority` is taken first; those that are `backup` serve only
    when no other can. `fingerprint` and `tail` tell which secret it is. While a key is rotated, the new one beside it
    `replaces` its label; after that the old one stays beside the new one until `retire_s`. `origin` is where it may be
    sent: the address that was administered when it was entered or confirmed, empty for that of the environment or the
    catalogue. What was used before `counted_from_s` is left out of `/api/v1/credits`. Times are epoch seconds; 0: none.
    """

    provider: str
    label: str
    account: str = ""
    referenced: bool = False
    enabled: bool = True
    backup: bool = False
    priority: int = 0
    weight: float | None = None
    limits: tuple[str, ...] = ()
    notes: str = ""
    fingerprint: str = ""
    tail: str = ""
    origin: str = ""
    expires_s: float = 0.0
    created_s: float = 0.0
    rotated_s: float = 0.0
    set_by: str = ""
    replaces: str = ""
    tested_s: float = 0.0
    retire_s: float = 0.0
    counted_from_s: float = 0.0

    @property
    def id(self) -> str:
        """The key's name everywhere."""
        return f"{self.provider}/{self.label}"


class ProviderEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of a provider, of the catalogue or not; what is empty is left as it was.

    `limits` are written out as in `<PROVIDER>_LIMITS`, `models` in order, the default one first.
    """

    id: str
    base_url: str = ""
    dialect: str = ""
    enabled: bool | None = None
    priority: int | None = None
    tier: str = ""
    margin: float | None = None
    models: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    notes: str = ""


class RouteEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A route, as `[routes.NAME]` in the file says it."""

    name: str
    targets: tuple[str, ...]
    policy: str | None = None
    fallback: tuple[str, ...] | None = None
    cache: CacheMode | None = None
    notes: str = ""

    @property
    def id(self) -> str:
        """The route's name."""
        return self.name


class CountMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """From when on (epoch) a client's limit is counted, and what had been used by then of one that never resets."""

    since_s: float
    before: int = 0


class ClientEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An application that calls Keyrelay. `digest` (hex) is the keyed digest of its secret.

    `limits` are its limits and budgets, written out as those of keys (`60 requests per 60s`, `5 usd per month`), and
    `marks` say by unit and window since when each is counted. `models` are the names that it may ask for, with `*` for
    any letters; none: all. `previous` is the digest of a secret that holds until `previous_until_s`. A client that was
    `revoked_s` is let in by no secret that it had by then. Times are epoch seconds; 0: none.
    """

    label: str
    digest: str
    enabled: bool = True
    limits: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    priority: str = ""
    notes: str = ""
    tail: str = ""
    created_s: float = 0.0
    expires_s: float = 0.0
    rotated_s: float = 0.0
    revoked_s: float = 0.0
    previous: str = ""
    previous_until_s: float = 0.0
    marks: Mapping[str, CountMark] = {}
    set_by: str = ""

    @property
    def id(self) -> str:
        """The client's label."""
        return self.label


class SettingEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of `keyrelay.settings` by its name, as the text that the environment would hold."""

    name: str
    text: str

    @property
    def id(self) -> str:
        """The setting's name."""
        return self.name


class UserEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person who signs in. `password` is an Argon2id hash in PHC form; times are epoch seconds."""

    name: str
    role: Role
    password: str
    enabled: bool = True
    created_s: float = 0.0
    changed_s: float = 0.0

    @property
    def id(self) -> str:
        """The name that the person signs in with."""
        return self.name


class TokenEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API token of a person or a program. `digest` (hex) is the SHA-256 of its secret; times are epoch seconds.

    `scopes` narrow what its role may do down to some kinds of entries; none: all that the role may.
    """

    name: str
    role: Role
    digest: str
    user: str = ""
    scopes: tuple[str, ...] = ()
    tail: str = ""
    created_s: float = 0.0
    expires_s: float = 0.0

    @property
    def id(self) -> str:
        """The token's name."""
        return self.name


class AlertEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is said of alerts; its id says which.

    `rule:NAME` is what is changed of a rule, `channel:NAME` where messages go, `hush:ID` what a person has said of one
    alert, `quiet` when only what is critical is told.
    """

    id: str
    rule: RuleChange | None = None
    channel: Channel | None = None
    hush: Hush | None = None
    quiet: QuietHours | None = None


class PepperEntry(msgspec.Struct, frozen=True, kw_only=True):
    """That there is a pepper: its secret is what the digests of others are made with, those of `clients`."""

    id: str
    created_s: float = 0.0


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What had been used of a key before Keyrelay had it, by `at_s` (epoch): it counts as if it had been used here."""

    provider: str
    label: str
    at_s: float
    requests: int = 0
    tokens: int = 0
    source: str = ""

    @property
    def id(self) -> str:
        """The key's id."""
        return f"{self.provider}/{self.label}"


Entry = (
    KeyEntry
    | ProviderEntry
    | RouteEntry
    | ClientEntry
    | SettingEntry
    | UserEntry
    | TokenEntry
    | AlertEntry
    | PepperEntry
    | UsageEntry
)

ENTRY_TYPES: Mapping[EntryKind, type[Entry]] = MappingProxyType(
    {
        "key": KeyEntry,
        "provider": ProviderEntry,
        "route": RouteEntry,
        "client": ClientEntry,
        "setting": SettingEntry,
        "user": UserEntry,
        "token": TokenEntry,
        "alert": AlertEntry,
        "pepper": PepperEntry,
        "usage": UsageEntry,
    }
)

EntryType = TypeVar("EntryType", bound=Entry)

Place = tuple[EntryKind, str]
"""Kind and id of an entry."""


def place_of(entry: Entry) -> Place:
    """Kind and id of an entry."""
    kind = next(kind for kind, known in ENTRY_TYPES.items() if type(entry) is known)
    return kind, entry.id


class Administered(msgspec.Struct, frozen=True, kw_only=True):
    """All entries by kind and id, as of a revision of the store; `secrets` are those of keys and channels.

    Changing it makes another one.
    """

    revision: int = 0
    entries: Mapping[Place, Entry] = MappingProxyType({})
    secrets: Mapping[Place, Secret] = MappingProxyType({})

    def all(self, kind: type[EntryType]) -> tuple[EntryType, ...]:
        """The entries of a type, in the order of their ids."""
        found = [(place, entry) for place, entry in self.entries.items() if isinstance(entry, kind)]
        return tuple(entry for _, entry in sorted(found))

    def get(self, kind: type[EntryType], entry_id: str) -> EntryType | None:
        """An entry; None when there is none."""
        names = (name for name, known in ENTRY_TYPES.items() if known is kind)
        entry = self.entries.get((next(names), entry_id))
        return entry if isinstance(entry, kind) else None

    def put(self, entry: Entry, secret: Secret | None = None) -> "Administered":
        """With this entry in place of the one of its id; a secret that is not given stays as it was."""
        place = place_of(entry)
        secrets = self.secrets if secret is None else {**self.secrets, place: secret}
        return msgspec.structs.replace(self, entries={**self.entries, place: entry}, secrets=secrets)

    def without(self, kind: EntryKind, entry_id: str) -> "Administered":
        """Without this entry and its secret."""
        place = kind, entry_id
        return msgspec.structs.replace(
            self,
            entries={known: entry for known, entry in self.entries.items() if known != place},
            secrets={known: secret for known, secret in self.secrets.items() if known != place},
        )


NOTHING = Administered()
"""What is administered where nothing is."""
