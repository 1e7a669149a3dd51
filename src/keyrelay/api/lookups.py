"""What callers may look up with GET: which models there are, in the shape of whoever asks."""

from collections.abc import Callable, Mapping

from keyrelay.api import models
from keyrelay.api.callers import RequestHead
from keyrelay.api.local_answers import all_as_ollama
from keyrelay.api.models import all_listed, one_listed
from keyrelay.core.conversation import Dialect
from keyrelay.engine.gateway import Gateway, unknown_model
from keyrelay.ports import Clock
from keyrelay.wire.ollama import models as ollama
from keyrelay.wire.ollama.models import ListedModel

Lookup = Callable[[Dialect], bytes]
"""Makes the body of an answer in a dialect; raises CallerError."""

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
            "/api/tags": lambda _: ollama.tags_body(self._ollama()),
            "/api/ps": lambda _: ollama.running_body(self._ollama(), clock.epoch_s() + _READY_S),
            "/api/version": lambda _: ollama.version_body(),
        }

    def one(self, path: str) -> Lookup | None:
        """The answer for one model, by the path that names it."""
        for prefix in (*_OPENAI_LISTS, *_GEMINI_LISTS):
            if path.startswith(f"{prefix}/"):
                name = path.removeprefix(f"{prefix}/")
                return lambda dialect: self._one(dialect, name)
        return None

    def dialect(self, path: str, head: RequestHead) -> Dialect:
        """The dialect of whoever asks: the path says it, or a header that only one kind of client sends."""
        if path.startswith("/api/"):
            return "ollama"
        if path.startswith("/v1beta/") or head.forwarded((b"x-goog-api-key",)):
            return "gemini"
        return "anthropic" if head.forwarded((b"anthropic-version",)) else "openai"

    def _list(self, dialect: Dialect) -> bytes:
        listed = all_listed(self._gateway.pool, self._clock.epoch_s())
        if dialect == "anthropic":
            return models.anthropic_list(listed)
        return models.gemini_list(listed) if dialect == "gemini" else models.openai_list(listed)

    def _ollama(self) -> tuple[ListedModel, ...]:
        now_s = self._clock.epoch_s()
        return all_as_ollama(all_listed(self._gateway.pool, now_s), now_s)

    def _one(self, dialect: Dialect, name: str) -> bytes:
        listed = one_listed(self._gateway.pool, name, self._clock.epoch_s())
        if listed is None:
            raise unknown_model(self._gateway.pool, name)
        if dialect == "anthropic":
            return models.anthropic_entry(listed)
        return models.gemini_entry(listed) if dialect == "gemini" else models.openai_entry(listed)
