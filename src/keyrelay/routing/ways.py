"""How a key is called: in which dialect, where, and with what.

A provider may speak two dialects, its own and OpenAI's. A request goes to it in the dialect that it came in where it
speaks that; any other is translated into the provider's own, which says most. Only requests in OpenAI's dialect go to a
compatible endpoint, because there they pass as they are.
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from keyrelay.core.configuration import Credential, Key, Provider
from keyrelay.core.conversation import Dialect
from keyrelay.core.providers import (
    FORM_OPERATIONS,
    NATIVE,
    OPAQUE_OPERATIONS,
    OPERATIONS,
    AuthRow,
    Operation,
    ProviderDialect,
)
from keyrelay.core.secrets import Secret

_EVERY = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
_TRANSLATABLE = tuple(operation for operation in OPERATIONS if operation not in OPAQUE_OPERATIONS)


class Way(msgspec.Struct, frozen=True, eq=False):
    """One operation of a provider, in one dialect, with one key.

    `path` is behind the origin; it and `stream_path` may hold `{model}`. `translated`: even a request in OpenAI's
    dialect has to be brought into another form, if only because the provider answers legacy completions as a chat.
    `insists`: the provider wants its own words back in a conversation with tools (see `ProviderRow.insists`).
    `plain`: requests in OpenAI's dialect pass as they are, whatever they hold.
    """

    dialect: ProviderDialect
    path: str
    stream_path: str
    credential: Credential | None
    headers: tuple[tuple[str, str], ...]
    translated: bool = False
    insists: bool = False
    plain: bool = False

    def path_for(self, model: str, *, stream: bool) -> str:
        """The path of a call."""
        path = self.stream_path if stream else self.path
        if "{" not in path:
            return path
        return path.replace("{model}", quote(model.removeprefix("models/"), safe=""))  # callers make names up


class KeyWays(msgspec.Struct, frozen=True, eq=False):
    """The ways of one key: those of requests in OpenAI's dialect, and those of all others."""

    openai: Mapping[Operation, Way]
    others: Mapping[Operation, Way]

    def of(self, dialect: Dialect) -> Mapping[Operation, Way]:
        """The ways of a caller's dialect."""
        return self.openai if dialect == "openai" else self.others


def ways_of(provider: Provider, key: Key) -> KeyWays:
    """The ways of a key."""
    row = provider.row
    openai = _compatible(provider, key) if row.dialect == "openai" else _native(provider, key, row.dialect)
    own = openai if row.native_dialect == row.dialect else _native(provider, key, row.native_dialect)
    opaque = _opaque(provider, key)
    return KeyWays({**openai, **opaque} if opaque else openai, own)


def _compatible(provider: Provider, key: Key) -> dict[Operation, Way]:
    row = provider.row
    credential, headers = _credential(provider, row.auth, key.secret), tuple({**_EVERY, **row.extra_headers}.items())
    paths = {operation: provider.path_of(operation) for operation in _TRANSLATABLE}
    ways = {
        operation: Way("openai", path, path, credential, headers, insists=row.insists, plain=not row.insists)
        for operation, path in paths.items()
        if path
    }
    return _with_completions(ways)


def _opaque(provider: Provider, key: Key) -> dict[Operation, Way]:
    """The ways of what only goes through, whatever dialects the provider speaks. The type of a form is its own."""
    row = provider.row
    credential, accept = _credential(provider, row.auth, key.secret), {"accept": "*/*", **row.extra_headers}
    ways: dict[Operation, Way] = {}
    for operation in OPAQUE_OPERATIONS:
        path = provider.path_of(operation)
        if path:
            in_json = operation != "files" and operation not in FORM_OPERATIONS
            headers = {"content-type": _EVERY["content-type"], **accept} if in_json else accept
            ways[operation] = Way("openai", path, path, credential, tuple(headers.items()))
    return ways


def _native(provider: Provider, key: Key, dialect: ProviderDialect) -> dict[Operation, Way]:
    if dialect == "openai":
        return _compatible(provider, key)
    native, base, extra = NATIVE[dialect], provider.base_path, provider.row.extra_headers
    auth = native.auth if provider.row.auth.header == "authorization" else provider.row.auth
    credential = _credential(provider, auth, key.secret)
    headers = tuple({**_EVERY, **native.headers, **extra}.items())
    chat, stream = base + native.chat, base + (native.stream or native.chat)
    ways: dict[Operation, Way] = {"chat": Way(dialect, chat, stream, credential, headers, translated=True)}
    if native.embeddings:
        path = base + native.embeddings
        ways["embeddings"] = Way(dialect, path, path, credential, headers, translated=True)
    return _with_completions(ways)


def _with_completions(ways: dict[Operation, Way]) -> dict[Operation, Way]:
    """Legacy completions are answered as a chat where nothing else is there."""
    if "completions" not in ways and "chat" in ways:
        ways["completions"] = msgspec.structs.replace(ways["chat"], translated=True, plain=False)
    return ways


def _credential(provider: Provider, auth: AuthRow, secret: Secret | None) -> Credential | None:
    return None if secret is None else Credential(provider.origin, auth.header, auth.prefix, secret)
