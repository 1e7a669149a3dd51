"""The models that a simulated provider serves, and the calls that prove a key at no cost."""

from collections.abc import Callable
from typing import Any

import msgspec

from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.simulator.keys import Key


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
    ("/api/ps", lambda _: {"models": []}),
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
        self._free = served is None
        self._open = self._free and (row.open_models or not row.models)
        known = {name: model for model in row.models for name in (model.id, *model.aliases)}
        if served is None:
            self._models = known
        else:
            self._models = {name: known.get(name) or ModelRow(id=name) for name in served}

    def find(self, name: str, *, listed: bool = True) -> ModelRow | None:
        """The model that the caller names, with or without the provider's prefix; None if it is not served.

        Unless it has to be `listed`, any name is served where the scenario names no models.
        """
        for candidate in (name, name.removeprefix("models/"), name.removeprefix(self._prefix), self._prefix + name):
            if candidate in self._models:
                return self._models[candidate]
        return ModelRow(id=name) if self._open or (self._free and not listed) else None

    def models(self) -> list[ModelRow]:
        """All models served, each once."""
        return list({model.id: model for model in self._models.values()}.values())
