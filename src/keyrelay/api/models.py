"""`GET /v1/models`: every name that a caller may use, resting or not."""

from typing import Any

import msgspec

from keyrelay.core.configuration import Provider, Snapshot
from keyrelay.core.providers import ModelRow
from keyrelay.engine.pool import Pool
from keyrelay.routing.resolve import canonical_model

_OWNER = "keyrelay"


def model_list(snapshot: Snapshot) -> bytes:
    """Routes first, then each model once, in OpenAI's shape with a `keyrelay` member."""
    entries = [_route_entry(name) for name in snapshot.routes]
    by_model: dict[str, list[Provider]] = {}
    for provider in sorted(snapshot.providers.values(), key=_priority):
        for model in provider.models:
            by_model.setdefault(model, []).append(provider)
    entries += [_model_entry(model, providers) for model, providers in by_model.items()]
    return msgspec.json.encode({"object": "list", "data": entries})


def model_entry(pool: Pool, name: str) -> bytes | None:
    """One entry; None for a name that nothing configured answers to."""
    snapshot = pool.snapshot
    if name in snapshot.routes:
        return msgspec.json.encode(_route_entry(name))
    plan = pool.plan(name)
    if plan is None:
        return None
    providers = list({candidate.provider.id: candidate.provider for candidate in plan.candidates()}.values())
    return msgspec.json.encode(_model_entry(name, providers))


def _row(provider: Provider, name: str) -> ModelRow | None:
    return provider.models.get(canonical_model(provider, name.removeprefix(f"{provider.id}/")))


def _priority(provider: Provider) -> int:
    return provider.priority


def _route_entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER, "keyrelay": {"route": True}}


def _model_entry(model: str, providers: list[Provider]) -> dict[str, Any]:
    about: dict[str, Any] = {"providers": [provider.id for provider in providers]}
    row = next((row for provider in providers if (row := _row(provider, model)) is not None), None)
    if row is not None:
        about["capabilities"] = row.capabilities
        if row.context_tokens:
            about["context_tokens"] = row.context_tokens
    owner = providers[0].id if providers else _OWNER
    return {"id": model, "object": "model", "created": 0, "owned_by": owner, "keyrelay": about}
