"""What callers may look up with GET: which models there are, in the shape of whoever asks."""

from collections.abc import Callable, Mapping

from keyrelay.api import models
from keyrelay.api.callers import RequestHead, check_model
from keyrelay.api.local_answers import all_as_ollama
from keyrelay.api.models import Listed, all_listed, allowed_of, one_listed
from keyrelay.core.configuration import Client
from keyrelay.core.conversation import Dialect
from keyrelay.engine.gateway import Gateway, unknown_model
from keyrelay.ports import Clock
from keyrelay.wire.ollama import models as ollama
from keyrelay.wire.ollama.models import ListedModel

Lookup = Callable[[Dialect, Client], bytes]
"""Makes the body of an answer in a dialect for a client; raises CallerError."""

_READY_S = 300.0
"""Models are said to stay loaded for so long, which is what Ollama's own do."""

_OPENAI_LISTS = ("/v1/models", "/models")
_GEMINI_LISTS = ("/v1beta/models",)


class Lookups:
    """The answers to look-ups. `paths` are those without a name in them."""

    __slots__ = ("_clock", "_gateway", "paths")

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self.paths: Mapping[str, Lookup] = {
            **dict.fromkeys((*_OPENAI_LISTS, *_GEMINI_LISTS), self._list),
            "/api/tags": lambda _, client: ollama.tags_body(self._ollama(client)),
            "/api/ps": lambda _, client: ollama.running_body(self._ollama(client), clock.epoch_s() + _READY_S),
            "/api/version": lambda _, __: ollama.version_body(),
        }

    def one(self, path: str) -> Lookup | None:
        """The answer for one model, by the path that names it."""
        for prefix in (*_OPENAI_LISTS, *_GEMINI_LISTS):
            if path.startswith(f"{prefix}/"):
                name = path.removeprefix(f"{prefix}/")
                return lambda dialect, client: self._one(dialect, client, name)
        return None

    def dialect(self, path: str, head: RequestHead) -> Dialect:
        """The dialect of whoever asks: the path says it, or a header that only one kind of client sends."""
        if path.startswith("/api/"):
            return "ollama"
        if path.startswith("/v1beta/") or head.forwarded((b"x-goog-api-key",)):
            return "gemini"
        return "anthropic" if head.forwarded((b"anthropic-version",)) else "openai"

    def _all(self, client: Client) -> list[Listed]:
        """All names that a client may use."""
        listed = all_listed(self._gateway.pool, self._clock.epoch_s())
        if client.rules is None or client.rules.models is None:
            return listed
        return [part for each in listed for part in allowed_of(each, client.rules.models)]

    def _list(self, dialect: Dialect, client: Client) -> bytes:
        listed = self._all(client)
        if dialect == "anthropic":
            return models.anthropic_list(listed)
        return models.gemini_list(listed) if dialect == "gemini" else models.openai_list(listed)

    def _ollama(self, client: Client) -> tuple[ListedModel, ...]:
        return all_as_ollama(self._all(client), self._clock.epoch_s())

    def _one(self, dialect: Dialect, client: Client, name: str) -> bytes:
        check_model(client, name, self._gateway.pool.snapshot.providers)
        listed = one_listed(self._gateway.pool, name, self._clock.epoch_s())
        if listed is None:
            raise unknown_model(self._gateway.pool, name)
        if dialect == "anthropic":
            return models.anthropic_entry(listed)
        return models.gemini_entry(listed) if dialect == "gemini" else models.openai_entry(listed)
