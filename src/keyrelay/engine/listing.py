"""Asking a provider which models it has, in whichever form its dialect lists them."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from keyrelay.core.configuration import Key, Provider
from keyrelay.core.probes import Listing
from keyrelay.core.providers import ProviderDialect
from keyrelay.core.records import milliseconds
from keyrelay.core.redaction import Redactor
from keyrelay.engine.attempts import fault_failure
from keyrelay.engine.probing import free_call
from keyrelay.ports import Clock, Fault, Upstream
from keyrelay.wire.errors import read_error

LISTING_TIMEOUT_S = 15.0
MAX_MODELS = 5_000
"""Of a longer list, so many are taken."""

_GOOD = range(200, 300)
_LONGEST_NAME = 256
_PREFIX = "models/"
"""What Gemini puts before its models' names, in both of its dialects."""

_PATHS: Mapping[ProviderDialect, str] = MappingProxyType(
    {
        "anthropic": "/v1/models?limit=1000",
        "gemini": "/v1beta/models?pageSize=1000",
        "cohere": "/v1/models?page_size=1000",
        "ollama": "/api/tags",
    }
)
"""Where those list their models that do not speak OpenAI's dialect; the first page holds all that anybody has."""

_MEMBERS = ("data", "models")
_NAMES = ("id", "name", "model")


class Lister:
    """Asks providers for their models, each time anew."""

    __slots__ = ("_clock", "_upstream")

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock

    async def models(self, provider: Provider, key: Key) -> Listing:
        """What the provider lists for this key. Never raises for what the other side does."""
        path = listing_path(provider)
        if not path:
            return Listing(problem=f"{provider.row.name} has no list of models.")
        started_at = self._clock.monotonic_s()
        call = free_call(provider, key, (provider.origin, path), "GET", started_at + LISTING_TIMEOUT_S)
        answer = await self._upstream.send(call)
        ms = milliseconds(self._clock.monotonic_s() - started_at)
        if isinstance(answer, Fault):
            problem = f"{provider.row.name} could not be asked: {fault_failure(answer, 0.0).message}."
            return Listing(problem=problem, ms=ms)
        status, body, headers = answer.status, answer.body, answer.headers
        answer.close()
        if status in _GOOD:
            listing = _read(provider, body)
        else:
            said = read_error(status, body, headers, self._clock.epoch_s()).message
            listing = Listing(problem=f"{provider.row.name} answered {status}: {said}")
        redactor = Redactor(() if key.secret is None else (key.secret.reveal(),))
        return msgspec.structs.replace(listing, problem=redactor.redact(listing.problem), status=status, ms=ms)

    def __repr__(self) -> str:
        return f"<Lister over {self._upstream!r}>"


def listing_path(provider: Provider) -> str:
    """Where a provider lists its models, behind its origin; empty when it does so nowhere."""
    row = provider.row
    path = row.paths.models if row.dialect == "openai" else _PATHS[row.dialect]
    return provider.base_path + path if path else ""


def _read(provider: Provider, body: bytes) -> Listing:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Listing(problem=f"{provider.row.name} answered something else than JSON.")
    found = document
    if isinstance(document, dict):
        found = next((document[name] for name in _MEMBERS if isinstance(document.get(name), list)), None)
    if not isinstance(found, list):
        return Listing(problem=f"{provider.row.name} answered JSON that is no list of models.")
    return Listing(models=tuple(dict.fromkeys(_names(found[:MAX_MODELS]))))


def _names(entries: Iterable[object]) -> Iterable[str]:
    for entry in entries:
        members = entry if isinstance(entry, dict) else {"id": entry}
        name = str(next((members[each] for each in _NAMES if isinstance(members.get(each), str)), ""))
        name = name.removeprefix(_PREFIX)
        if 0 < len(name) <= _LONGEST_NAME and all("!" <= letter <= "~" and letter != "," for letter in name):
            yield name
