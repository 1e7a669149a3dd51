"""Why parts of a LiteLLM configuration stay behind, by their names."""

from collections.abc import Mapping
from types import MappingProxyType

STAYS = "Keyrelay has nothing of this name."

_CALLBACKS = "Keyrelay reports by its log, its metrics and its alerts."
_RETRIES = "See the settings `retry_attempts` and `retry_budget_percent`."
_TIMEOUTS = "See the settings that end in `_timeout_s`."
_REDIS = "Name the Redis in KEYRELAY_REDIS_URL, in the environment of the process."
_REST = "Keys rest for as long as their provider says."
_CACHE = "See the settings that begin with `cache`."
_PRICES = "Say other prices in keyrelay.toml, under [prices]."
_BEARERS = "Clients are made by `keyrelay clients new`, each with limits and a budget of its own."
_FIXED = "Callers say this in each request."

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "allowed_fails": _REST,
        "api_version": "Keyrelay uses the version that its catalogue names.",
        "cache": _CACHE,
        "cache_params": _CACHE,
        "callbacks": _CALLBACKS,
        "content_policy_fallbacks": "A refused content is not sent elsewhere.",
        "context_window_fallbacks": "A model whose context is too small is passed over by itself.",
        "cooldown_time": _REST,
        "database_url": "Name the database in KEYRELAY_DATABASE_URL, in the environment of the process.",
        "drop_params": "What a provider does not take is translated or left out by itself.",
        "failure_callback": _CALLBACKS,
        "guardrails": "Keyrelay does not look into contents.",
        "input_cost_per_token": _PRICES,
        "max_budget": _BEARERS,
        "max_tokens": _FIXED,
        "mcp_servers": "Keyrelay serves models, no tools.",
        "num_retries": _RETRIES,
        "output_cost_per_token": _PRICES,
        "redis_host": _REDIS,
        "redis_password": _REDIS,
        "redis_port": _REDIS,
        "redis_url": _REDIS,
        "request_timeout": _TIMEOUTS,
        "retry_after": _RETRIES,
        "set_verbose": "See the setting `log_level`.",
        "stream_timeout": _TIMEOUTS,
        "success_callback": _CALLBACKS,
        "temperature": _FIXED,
        "timeout": _TIMEOUTS,
    }
)
"""By the last part of a name."""

_CLOUD = "Its requests are signed by an account of a cloud, which Keyrelay does not do."

NO_PROVIDER: Mapping[str, str] = MappingProxyType(
    {
        "azure_ai": "Add it as a provider of your own by its base URL.",
        "bedrock": _CLOUD,
        "sagemaker": _CLOUD,
        "vertex_ai": _CLOUD,
        "vertex_ai_beta": _CLOUD,
    }
)
"""By LiteLLM's name of a provider that the catalogue does not have."""
