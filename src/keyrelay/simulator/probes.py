"""Model lists and the calls that prove a key at no cost, as a table of path endings."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.simulator.keys import Key
from keyrelay.simulator.styles import style_of

_CREATED = 1_760_000_000


def model_list(row: ProviderRow, models: Iterable[str], *, native: bool) -> Any:
    """The provider's list of models, in its own format where `native`."""
    style = style_of(row.id)
    if native and row.native_dialect == "gemini":
        return {"models": [{"name": f"models/{m}", "displayName": m} for m in models]}
    if native and row.native_dialect == "cohere":
        return {"models": [{"name": m, "endpoints": ["chat"]} for m in models]}
    if row.native_dialect == "anthropic":
        listed = [{"type": "model", "id": m, "display_name": m, "created_at": "2026-01-01T00:00:00Z"} for m in models]
        return {"data": listed, "has_more": False, "first_id": None, "last_id": None}
    listed = [model_object(f"{style.model_list_prefix}{m}", row.id) for m in models]
    return listed if style.bare_model_list else {"object": "list", "data": listed}


def model_object(model: str, owner: str) -> dict[str, Any]:
    """One model as OpenAI lists it."""
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": owner}


def _balance(_: Key) -> Any:
    money = {"currency": "USD", "total_balance": "10.00", "granted_balance": "0.00", "topped_up_balance": "10.00"}
    return {"is_available": True, "balance_infos": [money]}


def _openrouter_key(key: Key) -> Any:
    daily = {"limit": 50, "used": 0, "remaining": 50}
    return {
        "data": {
            "label": key.label,
            "limit": None,
            "limit_remaining": None,
            "usage": 0,
            "is_free_tier": True,
            "free_model_daily_requests": daily,
            "rate_limit": {"requests": -1, "interval": "10s"},
        }
    }


def _whoami(key: Key) -> Any:
    role = {"displayName": key.label, "role": "read"}
    return {"type": "user", "name": "simulated", "auth": {"type": "access_token", "accessToken": role}}


def _cohere_key(_: Key) -> Any:
    return {"valid": True, "organization_id": "org_simulated", "owner_id": "user_simulated"}


def _xai_key(key: Key) -> Any:
    return {"name": key.label, "api_key_blocked": False, "api_key_disabled": False, "team_blocked": False}


def _cloudflare_token(_: Key) -> Any:
    return {"success": True, "errors": [], "messages": [], "result": {"id": "simulated", "status": "active"}}


PROBES: tuple[tuple[str, Callable[[Key], Any]], ...] = (
    ("/user/balance", _balance),
    ("/whoami-v2", _whoami),
    ("/check-api-key", _cohere_key),
    ("/api-key", _xai_key),
    ("/tokens/verify", _cloudflare_token),
    ("/v1/me", lambda key: {"uid": "simulated", "display_name": key.label}),
    ("/me/rate_limit", lambda _: {"rate_limit": 200}),
    ("/api/version", lambda _: {"version": "0.14.0"}),
    ("/api/tags", lambda _: {"models": []}),
    ("/api/usage", lambda _: {"limits": {"monthly": {"used": 0.1}}}),
    ("/health", lambda _: {"status": "ok"}),
    ("/key", _openrouter_key),
)


def probe(path: str, key: Key) -> bytes | None:
    """The answer to a probe of a living key; None for a path that no provider has."""
    for ending, answer in PROBES:
        if path.endswith(ending):
            return msgspec.json.encode(answer(key))
    return None


class Catalogue:
    """The models that a simulated provider serves."""

    def __init__(self, row: ProviderRow, served: tuple[str, ...] | None) -> None:
        self._prefix = row.quirks.model_prefix
        self._open = served is None and (row.open_models or not row.models)
        known = {name: model for model in row.models for name in (model.id, *model.aliases)}
        if served is None:
            self._models = known
        else:
            self._models = {name: known.get(name) or ModelRow(id=name) for name in served}

    def find(self, name: str) -> ModelRow | None:
        """The model that the caller names, with or without the provider's prefix; None if it is not served."""
        for candidate in (name, name.removeprefix("models/"), name.removeprefix(self._prefix), self._prefix + name):
            if candidate in self._models:
                return self._models[candidate]
        return ModelRow(id=name) if self._open else None

    def names(self) -> list[str]:
        """The ids of all models served, each once."""
        return list(dict.fromkeys(model.id for model in self._models.values()))
