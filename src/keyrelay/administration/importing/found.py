"""What a file of another system holds, whatever its format."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from keyrelay.administration.suggesting import Suggester
from keyrelay.configuration.providers import prefix_of
from keyrelay.core.administered import ProviderEntry, RouteEntry
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret

Format = Literal["env", "usage", "litellm"]
"""Formats that are read: an `.env`, an `api_usage.json`, a LiteLLM `config.yaml`."""

LONGEST_NAME = 100


class FoundKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, the place in the file where it stands, and what is said of it there."""

    source: str
    provider: str
    secret: Secret
    label: str = ""
    account: str = ""
    weight: float | None = None
    limits: tuple[str, ...] = ()


class FoundProvider(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a provider, and the places that say it."""

    source: str
    entry: ProviderEntry


class FoundRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use, and what stands for it."""

    source: str
    entry: RouteEntry


class FoundSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of Keyrelay's own."""

    source: str
    name: str
    text: str


class FoundClient(msgspec.Struct, frozen=True, kw_only=True):
    """An application that calls, and its secret."""

    source: str
    label: str
    secret: Secret


class FoundUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of a provider by `at_s` (epoch): requests or tokens."""

    source: str
    provider: str
    at_s: float
    requests: int = 0
    tokens: int = 0


class Left(msgspec.Struct, frozen=True):
    """What stays behind, and why; never what it is set to."""

    source: str
    reason: str


class Found(msgspec.Struct, kw_only=True):
    """Everything in one file. `unreadable` says why none of it can be read; empty: some of it can."""

    name: str
    keys: list[FoundKey] = []
    providers: list[FoundProvider] = []
    routes: list[FoundRoute] = []
    settings: list[FoundSetting] = []
    clients: list[FoundClient] = []
    usage: list[FoundUsage] = []
    left: list[Left] = []
    unreadable: str = ""

    def refuse(self, reason: str) -> None:
        """Say that nothing of the file can be read, and why."""
        self.unreadable = reason

    def leave(self, source: str, reason: str) -> None:
        """Name something that stays behind."""
        self.left.append(Left(shortened(source), reason))


class Known(msgspec.Struct, frozen=True):
    """The providers that there are: those of the catalogue, the operator's own by their ids, and the row of such."""

    catalogue: Mapping[str, ProviderRow]
    generic: ProviderRow
    own: frozenset[str] = frozenset()

    def __contains__(self, provider_id: object) -> bool:
        return provider_id in self.catalogue or provider_id in self.own

    def row_of(self, provider_id: str) -> ProviderRow:
        """A provider's row; for one of the operator's own the generic one, without an address."""
        own = msgspec.structs.replace(self.generic, id=provider_id, name=provider_id, base_url="", base_url_env=())
        return self.catalogue.get(provider_id, own)

    @property
    def prefixes(self) -> Mapping[str, str]:
        """Ids by what their variables begin with."""
        return MappingProxyType({prefix_of(provider_id): provider_id for provider_id in (*self.catalogue, *self.own)})

    def suggester(self) -> Suggester:
        """Who knows them by their looks."""
        return Suggester(self.catalogue.values(), self.own)


def shortened(name: str) -> str:
    """A name as it may be shown: printable, and not for ever."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in name[:LONGEST_NAME])
    return shown + ("…" if len(name) > LONGEST_NAME else "")


class ImportFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file: its format, its text, and what it is called in the answer."""

    kind: Format
    text: str
    name: str = "file"


Read = Callable[[ImportFile, Known, Mapping[str, str], float], Found]
"""Reads a file, given the providers that there are, the variables that it may name, and the time (epoch seconds)."""
