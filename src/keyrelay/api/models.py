"""Lists of models: every name that a caller may use, resting or not, in the shape of each dialect."""

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from keyrelay.core.configuration import Provider
from keyrelay.core.model_names import ModelNames
from keyrelay.core.moments import rfc3339
from keyrelay.core.providers import ModelRow
from keyrelay.engine.pool import Pool
from keyrelay.routing.candidates import Candidate, gate
from keyrelay.routing.resolve import canonical_model

_OWNER = "keyrelay"
_NEVER = dt.datetime.fromtimestamp(0, dt.UTC).isoformat().replace("+00:00", "Z")
_CONTEXT_TOKENS = 128_000
_OUTPUT_TOKENS = 16_384
"""What is said of a model of which nothing is known, to clients that take nothing or 0 for none at all."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One name. `row` is what the catalogue knows of the model, None for a route and for a model it does not list.

    `until_s` (epoch) is None while it can serve as far as is known, else when it may be back (infinity: unknown).
    """

    name: str
    providers: tuple[str, ...] = ()
    row: ModelRow | None = None
    is_route: bool = False
    until_s: float | None = None

    @property
    def context_tokens(self) -> int:
        """How much it takes; a usual amount when nobody knows."""
        return (self.row and self.row.context_tokens) or _CONTEXT_TOKENS

    @property
    def output_tokens(self) -> int:
        """How much it gives; a usual amount when nobody knows."""
        return (self.row and self.row.max_output_tokens) or _OUTPUT_TOKENS

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors and no words."""
        return self.row is not None and "embeddings" in self.row.capabilities and "chat" not in self.row.capabilities


def all_listed(pool: Pool, now_s: float) -> list[Listed]:
    """Routes first, then each model once, those of the providers that are tried first in front."""
    snapshot = pool.snapshot
    by_model: dict[str, list[Provider]] = {}
    serving = {key.provider_id for key in snapshot.keys}
    for provider in sorted((each for each in snapshot.providers.values() if each.id in serving), key=_priority):
        for model in provider.models:
            by_model.setdefault(model, []).append(provider)
    known: dict[str, list[Candidate]] = {}
    for candidate in pool.candidates():
        known.setdefault(candidate.model, []).append(candidate)
    routes = [Listed(name=name, is_route=True) for name in snapshot.routes]
    return routes + [
        _listed(model, providers, _resting_until(known.get(model, ()), now_s)) for model, providers in by_model.items()
    ]


def allowed_of(listed: Listed, models: ModelNames) -> Iterator[Listed]:
    """A name, if it may be asked for; else those of its names at single providers that may."""
    if models.allow(listed.name):
        yield listed
        return
    for provider in listed.providers:
        name = f"{provider}/{listed.name}"
        if models.allow(name):
            yield msgspec.structs.replace(listed, name=name, providers=(provider,))


def one_listed(pool: Pool, name: str, now_s: float) -> Listed | None:
    """One name; None for one that nothing configured answers to."""
    if name in pool.snapshot.routes:
        return Listed(name=name, is_route=True)
    plan = pool.plan(name)
    if plan is None:
        return None
    candidates = tuple(plan.candidates())
    if not candidates:  # all keys of its providers are withheld
        return None
    providers = list({candidate.provider.id: candidate.provider for candidate in candidates}.values())
    return _listed(name, providers, _resting_until(candidates, now_s))


def openai_list(listed: Iterable[Listed]) -> bytes:
    """`GET /v1/models`."""
    return msgspec.json.encode({"object": "list", "data": [_openai(each) for each in listed]})


def openai_entry(listed: Listed) -> bytes:
    """`GET /v1/models/{id}`."""
    return msgspec.json.encode(_openai(listed))


def anthropic_list(listed: Iterable[Listed]) -> bytes:
    """The same for those who say an `anthropic-version`: all on one page."""
    data = [_anthropic(each) for each in listed]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return msgspec.json.encode({"data": data, "has_more": False, **ends})


def anthropic_entry(listed: Listed) -> bytes:
    """One of them."""
    return msgspec.json.encode(_anthropic(listed))


def gemini_list(listed: Iterable[Listed]) -> bytes:
    """`GET /v1beta/models`: all on one page."""
    return msgspec.json.encode({"models": [_gemini(each) for each in listed]})


def gemini_entry(listed: Listed) -> bytes:
    """`GET /v1beta/models/{model}`."""
    return msgspec.json.encode(_gemini(listed))


def _listed(name: str, providers: list[Provider], until_s: float | None) -> Listed:
    row = next((row for provider in providers if (row := _row(provider, name)) is not None), None)
    return Listed(name=name, providers=tuple(each.id for each in providers), row=row, until_s=until_s)


def _row(provider: Provider, name: str) -> ModelRow | None:
    return provider.models.get(canonical_model(provider, name.removeprefix(f"{provider.id}/")))


def _priority(provider: Provider) -> int:
    return provider.priority


def _resting_until(candidates: Iterable[Candidate], now_s: float) -> float | None:
    """When the first of them may serve again; None when one can now, or nothing is known of any."""
    times = []
    for candidate in candidates:
        dropped = gate(candidate, now_s)
        if dropped is None:
            return None
        times.append(math.inf if dropped.until_s is None else dropped.until_s)
    return min(times, default=None)


def _openai(listed: Listed) -> dict[str, Any]:
    owner = listed.providers[0] if listed.providers else _OWNER
    entry = {"id": listed.name, "object": "model", "created": 0, "owned_by": owner}
    return entry | {"keyrelay": _about(listed)}


def _about(listed: Listed) -> Mapping[str, Any]:
    if listed.is_route:
        return {"route": True}
    about: dict[str, Any] = {"providers": listed.providers, "available": listed.until_s is None}
    if listed.until_s is not None and math.isfinite(listed.until_s):
        about["available_at"] = rfc3339(listed.until_s)
    if listed.row is not None:
        about["capabilities"] = listed.row.capabilities
        if listed.row.context_tokens:
            about["context_tokens"] = listed.row.context_tokens
    return about


def _anthropic(listed: Listed) -> dict[str, Any]:
    return {
        "type": "model",
        "id": listed.name,
        "display_name": listed.name,
        "created_at": _NEVER,
        "max_input_tokens": listed.context_tokens,
        "max_tokens": listed.output_tokens,
        "keyrelay": _about(listed),
    }


def _gemini(listed: Listed) -> dict[str, Any]:
    chat = ["generateContent", "streamGenerateContent", "countTokens"]
    return {
        "name": f"models/{listed.name}",
        "version": "001",
        "displayName": listed.name,
        "description": f"Served by {', '.join(listed.providers) or 'whatever the route says'}.",
        "inputTokenLimit": listed.context_tokens,
        "outputTokenLimit": listed.output_tokens,
        "supportedGenerationMethods": ["embedContent", "batchEmbedContents"] if listed.embeds else chat,
    }
