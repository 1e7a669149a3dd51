"""What the tests of the configuration share: rows made by hand, and the shapes of the fixtures."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Protocol

from keyrelay.configuration import Configuration
from keyrelay.configuration.environment import Environment
from keyrelay.core.limits import ScopePart, Unit
from keyrelay.core.providers import AuthRow, LimitRow, ModelRow, PathsRow, ProviderRow


class Load(Protocol):
    def __call__(self, overrides: Mapping[str, str] | None = None, /, **environ: str) -> Configuration: ...


class MakeEnvironment(Protocol):
    def __call__(self, **variables: str) -> Environment: ...


def provider_row(provider_id: str = "groq", **changes: Any) -> ProviderRow:
    values: dict[str, Any] = {
        "id": provider_id,
        "name": provider_id.title(),
        "base_url": f"https://api.{provider_id}.example/v1",
        "verified_at": dt.date(2026, 11, 21),
        "priority": 10,
        "default_model": "small",
        "models": (ModelRow(id="small", aliases=("little",)), ModelRow(id="large")),
        "limits": (
            LimitRow(unit=Unit.REQUESTS, amount=30, window="60s"),
            LimitRow(unit=Unit.REQUESTS, amount=14_400, window="24h"),
        ),
    }
    return ProviderRow(**(values | changes))


def _local(provider_id: str, **changes: Any) -> ProviderRow:
    bare: dict[str, Any] = {"default_model": "", "models": (), "limits": ()}
    return provider_row(
        provider_id,
        auth=AuthRow(optional=True),
        local=True,
        first_byte_timeout_s=300.0,
        open_models=True,
        **(bare | changes),
    )


ROWS = (
    provider_row("groq", priority=3),
    provider_row(
        "gemini",
        priority=6,
        native_dialect="gemini",
        base_url="https://gemini.example",
        paths=PathsRow(chat="/v1beta/openai/chat/completions"),
        key_env=("GOOGLE_API_KEY",),
        base_url_env=("GOOGLE_GEMINI_BASE_URL",),
        day_zone="America/Los_Angeles",
        limits=(
            LimitRow(unit=Unit.INPUT_TOKENS, amount=250_000, window="60s"),
            LimitRow(unit=Unit.REQUESTS, amount=20, window="day@America/Los_Angeles"),
        ),
    ),
    provider_row(
        "cohere",
        priority=1,
        paths=PathsRow(chat=""),
        limits=(LimitRow(unit=Unit.REQUESTS, amount=1000, window="month@UTC", scope=(ScopePart.ACCOUNT,)),),
    ),
    provider_row(
        "cloudflare",
        base_url="https://cf.example/accounts/{account_id}/ai/v1",
        variables={"account_id": "CLOUDFLARE_ACCOUNT_ID"},
    ),
    _local(
        "ollama",
        priority=90,
        base_url="http://localhost:11434",
        native_dialect="ollama",
        paths=PathsRow(chat="/v1/chat/completions"),
        base_url_env=("OLLAMA_HOST",),
    ),
    provider_row("gone", enabled=False, retired_on=dt.date(2026, 7, 30)),
    _local("openai_compatible", priority=50, base_url="http://localhost:8000/v1"),
)
