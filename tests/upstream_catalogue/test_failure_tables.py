"""Real error bodies meet the row that was meant for them, when the rows are walked in order.

Each case holds what the classifier extracts from a body: the codes in lower case, the message, and the
machine-readable details as text. `None` stands for "no row here; the generic table decides".
"""

import re
from typing import NamedTuple

import pytest

from keyrelay.core.providers import FailureRow
from keyrelay.upstream.catalogue import load_catalogue

CATALOGUE = load_catalogue()

GEMINI_SENTENCE = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. Please retry in 45.578569677s."
)
GROQ_PER_DAY = (
    "Rate limit reached for model `openai/gpt-oss-120b` in organization `org_01` service tier `on_demand` on tokens "
    "per day (TPD): Limit 200000, Used 197050, Requested 3619. Please try again in 9m38.016s."
)
GROQ_PER_MINUTE = (
    "Rate limit reached for model `openai/gpt-oss-120b` in organization `org_01` service tier `on_demand` on tokens "
    "per minute (TPM): Limit 8000, Used 7000, Requested 3619. Please try again in 19.6s."
)
COHERE_TRIAL = "You are using a Trial key, which is limited to {limit}. You can continue to use the Trial key for free."


class Case(NamedTuple):
    provider: str
    status: int
    codes: tuple[str, ...]
    message: str
    expected: tuple[str, str, str] | None  # kind, scope, rest
    detail: str = ""


def matches(row: FailureRow, case: Case) -> bool:
    """What FailureRow's docstring says: each empty test holds."""
    return (
        (not row.status or case.status in row.status)
        and (not row.code or bool(set(row.code) & set(case.codes)))
        and (not row.message or bool(re.search(row.message, case.message, re.IGNORECASE)))
        and (not row.detail or bool(re.search(row.detail, case.detail, re.IGNORECASE)))
    )


AUTH_KEY = ("auth", "key", "manual")
AUTH_ACCOUNT = ("auth", "account", "manual")
BILLING = ("billing", "account", "6h")
BILLING_MONTH = ("billing", "account", "month")
CONTEXT = ("context", "request", "none")
CONTENT = ("content", "request", "none")
RATE = ("rate", "pair", "hint")
RATE_ACCOUNT = ("rate", "account", "hint")
QUOTA_HINT = ("quota", "pair", "hint")
FULL_MODEL = ("overloaded", "model", "hint")
FULL_PROVIDER = ("overloaded", "provider", "hint")
NO_MODEL = ("model", "model", "6h")
NO_MODEL_HERE = ("model", "pair", "6h")
AGAIN = ("service", "request", "none")

OPENAI_CODES = ("rate_limit_exceeded", "tokens")
GEMINI = ("429", "resource_exhausted")
DEEPSEEK = ("invalid_request_error",)

CASES = [
    # OpenAI
    Case("openai", 401, ("invalid_api_key", "invalid_request_error"), "Incorrect API key provided: sk-th****ey.", None),
    Case("openai", 403, ("missing_scope",), "You have insufficient permissions.", ("permission", "pair", "10m")),
    Case(
        "openai",
        401,
        (),
        "You have insufficient permissions for this operation. Missing scopes: model.request",
        ("permission", "pair", "10m"),
    ),
    Case(
        "openai",
        401,
        ("invalid_request_error",),
        "You must be a member of an organization to use the API.",
        ("permission", "key", "manual"),
    ),
    Case("openai", 403, ("account_deactivated",), "Your account has been deactivated.", AUTH_ACCOUNT),
    Case("openai", 429, ("insufficient_quota",), GEMINI_SENTENCE, BILLING),
    Case("openai", 429, ("credit_balance_exhausted",), "Your credit balance is used up.", BILLING),
    Case("openai", 429, ("organization_spend_limit_exceeded",), "Limit reached.", BILLING_MONTH),
    Case("openai", 429, ("project_spend_limit_exceeded",), "Limit reached.", ("billing", "key", "month")),
    Case(
        "openai",
        429,
        OPENAI_CODES,
        "Request too large for gpt-6-luna in organization org-1 on tokens per min (TPM): Limit 30000, Requested 41000.",
        CONTEXT,
    ),
    Case(
        "openai",
        429,
        OPENAI_CODES,
        "Rate limit reached for gpt-6-luna in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, "
        "Requested 1200. Please try again in 3.89s.",
        RATE,
    ),
    Case(
        "openai",
        429,
        ("rate_limit_exceeded", "requests"),
        "Rate limit reached for gpt-6-luna on requests per day (RPD): Limit 200, Used 200, Requested 1.",
        QUOTA_HINT,
    ),
    Case("openai", 429, ("slow_down", "rate_limit_error"), "Please reduce your request rate.", FULL_PROVIDER),
    Case("openai", 404, ("model_not_found",), "The model `x` does not exist or you do not have access.", NO_MODEL_HERE),
    Case("openai", 400, ("content_policy_violation",), "violating our usage policy", CONTENT),
    Case("openai", 503, ("server_is_overloaded",), "The server is overloaded.", FULL_PROVIDER),
    Case("openai", 400, ("invalid_request_error",), "Unknown parameter: 'x'.", None),
    Case("openai", 403, ("unsupported_country_region_territory",), "Not here.", ("permission", "provider", "10m")),
    # Gemini
    Case(
        "gemini", 400, ("api_key_invalid", "invalid_argument"), "API key not valid. Please pass a valid one.", AUTH_KEY
    ),
    Case("gemini", 400, ("invalid_argument",), "API key expired. Please renew the API key.", AUTH_KEY),
    Case("gemini", 403, ("permission_denied",), "Your API key was reported as leaked. Please use another.", AUTH_KEY),
    Case("gemini", 401, ("access_token_type_unsupported",), "Request had invalid credentials.", AUTH_KEY),
    Case("gemini", 403, ("consumer_suspended",), "Permission denied: Consumer has been suspended.", AUTH_ACCOUNT),
    Case("gemini", 403, ("permission_denied",), "Your project has been denied access.", AUTH_ACCOUNT),
    Case("gemini", 403, ("service_disabled",), "The API has not been used before.", ("permission", "key", "manual")),
    Case(
        "gemini",
        400,
        ("failed_precondition",),
        "User location is not supported for the API use.",
        ("permission", "account", "6h"),
    ),
    Case("gemini", 402, ("resource_exhausted",), "Your Prepay credit balance is depleted.", BILLING),
    Case(
        "gemini",
        429,
        GEMINI,
        GEMINI_SENTENCE,
        ("quota", "pair", "day"),
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier=20",
    ),
    Case(
        "gemini",
        429,
        GEMINI,
        GEMINI_SENTENCE,
        ("quota", "pair", "day"),
        "GenerateRequestsPerMinutePerProjectPerModel-FreeTier=5 GenerateRequestsPerDayPerProjectPerModel-FreeTier=20",
    ),
    Case("gemini", 429, GEMINI, GEMINI_SENTENCE, RATE, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier=5"),
    Case("gemini", 429, GEMINI, GEMINI_SENTENCE, RATE, "GenerateContentInputTokensPerModelPerMinute-FreeTier=250000"),
    Case("gemini", 429, GEMINI, GEMINI_SENTENCE, RATE),
    Case(
        "gemini",
        429,
        GEMINI,
        GEMINI_SENTENCE,
        ("model", "pair", "24h"),
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier=0",
    ),
    Case(
        "gemini",
        429,
        GEMINI,
        GEMINI_SENTENCE + " Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: gemini-4",
        ("model", "pair", "24h"),
    ),
    Case("gemini", 429, GEMINI, "Resource has been exhausted (e.g. check quota).", FULL_MODEL),
    Case("gemini", 429, GEMINI, "Spend limit reached for the last 10 minutes.", ("rate", "account", "10m")),
    Case("gemini", 429, GEMINI, "Your project reached its monthly spending cap.", BILLING_MONTH),
    Case(
        "gemini",
        404,
        ("not_found",),
        "models/x is not found for API version v1beta, or is not supported for generateContent.",
        NO_MODEL,
    ),
    Case(
        "gemini",
        400,
        ("invalid_argument",),
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        CONTEXT,
    ),
    Case("gemini", 503, ("unavailable",), "The model is overloaded. Please try again later.", FULL_MODEL),
    Case("gemini", 400, ("invalid_argument",), 'Invalid JSON payload received. Unknown name "x".', None),
    Case("gemini", 499, ("cancelled",), "The operation was cancelled.", AGAIN),
    # DeepSeek
    Case("deepseek", 401, ("authentication_error",), "Authentication Fails, Your api key: ****ey is invalid", AUTH_KEY),
    Case("deepseek", 402, ("unknown_error", *DEEPSEEK), "Insufficient Balance", BILLING),
    Case("deepseek", 400, DEEPSEEK, "Content Exists Risk", CONTENT),
    Case("deepseek", 400, DEEPSEEK, "Model Not Exist", NO_MODEL),
    Case("deepseek", 400, DEEPSEEK, "This model's maximum context length is 1000000 tokens.", CONTEXT),
    Case("deepseek", 429, (), "Too many requests", RATE_ACCOUNT),
    Case("deepseek", 400, DEEPSEEK, "The reasoning_content in the thinking mode must be passed back to the API.", None),
    # Groq
    Case("groq", 401, ("invalid_api_key",), "Invalid API Key", None),
    Case("groq", 400, ("organization_restricted",), "Organization has been restricted.", AUTH_ACCOUNT),
    Case("groq", 400, ("json_validate_failed",), "Failed to generate JSON.", AGAIN),
    Case("groq", 400, ("tool_use_failed",), "Failed to call a function. Please adjust your prompt.", AGAIN),
    Case("groq", 400, (), "Tool choice is required, but model did not call a tool", AGAIN),
    Case(
        "groq",
        413,
        OPENAI_CODES,
        "Request too large for model `x` on tokens per minute (TPM): Limit 8000, Requested 14368",
        CONTEXT,
    ),
    Case("groq", 429, OPENAI_CODES, GROQ_PER_DAY, QUOTA_HINT),
    Case("groq", 429, OPENAI_CODES, GROQ_PER_MINUTE, RATE),
    Case("groq", 400, ("model_decommissioned",), "The model `x` has been decommissioned.", ("model", "model", "24h")),
    Case("groq", 404, ("model_not_found",), "The model `x` does not exist or you do not have access to it.", NO_MODEL),
    Case("groq", 403, ("model_terms_required",), "The model `x` requires terms acceptance.", NO_MODEL_HERE),
    Case("groq", 403, (), "The model `x` is blocked at the organization level.", NO_MODEL_HERE),
    Case("groq", 498, ("capacity_exceeded",), "Flex tier capacity exceeded.", FULL_MODEL),
    Case("groq", 400, ("invalid_request_error",), "'messages' is required", None),
    Case("groq", 403, (), "Organization has been restricted. Please reach out to support.", AUTH_ACCOUNT),
    Case("groq", 424, (), "Failed dependency", AGAIN),
    # Mistral
    Case("mistral", 401, (), "Unauthorized", AUTH_KEY),
    Case("mistral", 429, ("3505",), "Service tier capacity exceeded for this model.", FULL_MODEL),
    Case("mistral", 429, ("rate_limited",), "Service tier capacity exceeded for this model.", FULL_MODEL),
    Case("mistral", 429, ("rate_limited", "1300"), "Rate limit exceeded", RATE),
    Case("mistral", 429, (), "Requests rate limit exceeded", RATE),
    Case("mistral", 400, ("invalid_model", "1500"), "Invalid model: x", NO_MODEL),
    Case(
        "mistral",
        400,
        (),
        "Prompt contains 300000 tokens, too large for model with 131072 maximum context length",
        CONTEXT,
    ),
    Case("mistral", 422, ("extra_forbidden",), "Extra inputs are not permitted", None),
    # Cohere
    Case("cohere", 401, (), "invalid api token", AUTH_KEY),
    Case("cohere", 429, (), COHERE_TRIAL.format(limit="1000 API calls / month"), ("quota", "account", "month")),
    Case("cohere", 429, (), COHERE_TRIAL.format(limit="20 API calls / minute"), RATE),
    Case("cohere", 429, (), "trial token rate limit exceeded, limit is 100000 tokens per minute", RATE),
    Case(
        "cohere",
        402,
        (),
        "Maximum billing reached for this API key; it will reset at the beginning of next month",
        BILLING_MONTH,
    ),
    Case("cohere", 402, (), "Please add or update your payment method to continue", BILLING),
    Case("cohere", 404, (), "model 'xyz' not found, make sure the correct model ID was used", NO_MODEL),
    Case("cohere", 400, (), "too many tokens: size limit exceeded by 11326 tokens", CONTEXT),
    Case("cohere", 498, (), "blocked input", CONTENT),
    Case("cohere", 499, (), "request cancelled", AGAIN),
    # AI21
    Case("ai21", 401, (), "Unauthorized", AUTH_KEY),
    Case("ai21", 403, (), "Your trial credit is used up", BILLING),
    Case("ai21", 403, (), "Forbidden", None),
    Case("ai21", 424, (), "model error", AGAIN),
    Case("ai21", 404, (), "Not Found", ("model", "model", "24h")),
    # Hugging Face
    Case("huggingface", 401, (), "Invalid credentials in Authorization header", AUTH_KEY),
    Case(
        "huggingface",
        403,
        (),
        "This authentication method does not have sufficient permissions to call Inference Providers",
        ("permission", "key", "manual"),
    ),
    Case(
        "huggingface",
        402,
        (),
        "You have depleted your monthly included credits. Purchase pre-paid credits to continue.",
        BILLING_MONTH,
    ),
    Case("huggingface", 400, ("model_not_found",), "The requested model 'x' does not exist.", NO_MODEL),
    Case("huggingface", 400, (), "Model not supported by provider hf-inference", NO_MODEL),
    Case("huggingface", 429, (), "Rate limit exceeded", FULL_MODEL),
    # OpenRouter
    Case("openrouter", 401, ("401",), "User not found.", AUTH_KEY),
    Case("openrouter", 402, ("402", "in_flight_budget_exhausted"), "Too much in flight.", ("rate", "key", "hint")),
    Case("openrouter", 402, ("402",), "Budget held by in-flight requests.", ("rate", "key", "hint")),
    Case(
        "openrouter",
        402,
        ("402",),
        "This request requires more credits. You requested up to 8192 tokens, but can only afford 12",
        CONTEXT,
    ),
    Case("openrouter", 402, ("weight_exceeds_budget",), "Too expensive.", CONTEXT),
    Case(
        "openrouter",
        402,
        ("402", "payment_required"),
        "Insufficient credits. This account never purchased credits.",
        BILLING,
        "limit_source=openrouter_credits",
    ),
    Case(
        "openrouter",
        402,
        ("402",),
        "Key limit exceeded.",
        ("billing", "key", "hint"),
        "limit_source=openrouter_key_limit",
    ),
    Case(
        "openrouter",
        403,
        ("403",),
        "Budget exceeded.",
        ("billing", "key", "hint"),
        "limit_source=openrouter_workspace_budget",
    ),
    Case("openrouter", 403, ("content_policy_violation",), "Your input was flagged.", CONTENT),
    Case(
        "openrouter",
        429,
        ("429",),
        "Rate limit exceeded: free-models-per-day. Add 10 credits.",
        ("quota", "pair", "day"),
    ),
    Case("openrouter", 429, ("429",), "Rate limit exceeded: free-models-per-min.", RATE),
    Case("openrouter", 429, ("429",), "Provider returned error", FULL_MODEL),
    Case("openrouter", 404, ("404",), "No endpoints found for x/y.", NO_MODEL),
    Case("openrouter", 404, ("404",), "This model is unavailable for free.", ("model", "pair", "24h")),
    Case("openrouter", 400, ("400", "context_length_exceeded"), "maximum context length is 131072 tokens", CONTEXT),
    Case("openrouter", 402, ("402",), "Try later.", ("rate", "key", "hint"), "in_flight_budget_exhausted"),
    Case("openrouter", 403, ("403",), "Input was flagged by moderation.", CONTENT),
    Case("openrouter", 503, ("503", "provider_overloaded"), "The provider is overloaded.", FULL_MODEL),
    # Cerebras
    Case("cerebras", 401, ("wrong_api_key",), "Wrong API Key", AUTH_KEY),
    Case("cerebras", 402, ("payment_required",), "Please add a payment method to unlock your free credits.", BILLING),
    Case(
        "cerebras",
        429,
        ("queue_exceeded", "too_many_requests_error"),
        "We're experiencing high traffic right now! Please try again soon.",
        FULL_PROVIDER,
    ),
    Case("cerebras", 429, ("token_quota_exceeded",), "Tokens per day limit exceeded - too many tokens.", QUOTA_HINT),
    Case("cerebras", 429, ("request_quota_exceeded",), "Requests per minute limit exceeded.", RATE),
    Case("cerebras", 404, ("not_found_error",), "Model x does not exist", ("model", "model", "24h")),
    Case("cerebras", 429, ("token_quota_exceeded",), "Tokens per hour limit exceeded.", RATE),
    # SambaNova
    Case(
        "sambanova",
        429,
        (),
        "Request would exceed rate limit. Violated duration_s: 86400, current usage: 196279, limit: 200000",
        QUOTA_HINT,
    ),
    Case("sambanova", 429, (), "Request would exceed rate limit. Violated duration_s: 60, current usage: 20", RATE),
    Case("sambanova", 402, ("payment_method_required",), "A payment method is required.", BILLING),
    Case("sambanova", 410, (), "", ("model", "model", "24h")),
    # Together
    Case("together", 401, ("invalid_api_key",), "Invalid API key provided.", AUTH_KEY),
    Case(
        "together",
        403,
        ("invalid_request_error",),
        "The input (265330 tokens) is longer than the model's context length (262144 tokens).",
        CONTEXT,
    ),
    Case("together", 402, ("credit_limit",), "Credit limit exceeded.", BILLING),
    Case("together", 429, ("credit_limit",), "You have been rate limited.", RATE),
    Case("together", 503, (), "The server is overloaded.", FULL_MODEL),
    # Fireworks
    Case("fireworks", 401, (), "unauthorized", AUTH_KEY),
    Case(
        "fireworks",
        412,
        ("precondition_failed",),
        "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.",
        BILLING,
    ),
    Case("fireworks", 404, (), "Model not found, inaccessible, and/or not deployed", NO_MODEL_HERE),
    Case("fireworks", 429, (), "Too many requests", RATE_ACCOUNT),
    Case("fireworks", 400, (), "The prompt is too long for the model maximum context length", CONTEXT),
    # xAI
    Case(
        "xai",
        400,
        ("client specified an invalid argument",),
        "Incorrect API key provided: xa***na. You can obtain an API key from https://console.x.ai.",
        AUTH_KEY,
    ),
    Case("xai", 400, (), "Incorrect%20API%20key%20provided:%20xa***na.", AUTH_KEY),
    Case("xai", 403, (), "Your team 1 has either used all available credits or reached its monthly limit.", BILLING),
    Case("xai", 429, (), "Your team 1 has either used all available credits or reached its monthly limit.", BILLING),
    Case("xai", 429, (), "Too many requests", RATE),
    Case("xai", 403, (), "Content violates usage guidelines.", CONTENT),
    Case("xai", 403, (), "Your API key is blocked.", AUTH_KEY),
    Case("xai", 403, (), "The caller does not have permission.", ("permission", "pair", "10m")),
    Case("xai", 404, (), "The model x does not exist or your team 1 does not have access to it.", NO_MODEL_HERE),
    Case(
        "xai",
        400,
        ("invalid-argument",),
        "This model's maximum prompt length is 500000 but the request contains 637815 tokens.",
        CONTEXT,
    ),
    # NVIDIA
    Case("nvidia", 401, ("401",), "Authentication failed", ("auth", "key", "10m")),
    Case("nvidia", 403, ("403",), "Authorization failed", ("permission", "pair", "10m")),
    Case("nvidia", 404, ("404",), "Function '1-2': Not found for account 'abc'", ("model", "pair", "24h")),
    Case("nvidia", 410, (), "", ("model", "model", "24h")),
    Case(
        "nvidia",
        400,
        (),
        "Function id '1-2': DEGRADED function cannot be invoked",
        ("overloaded", "model", "60s"),
    ),
    Case("nvidia", 429, ("429",), "Too Many Requests", RATE_ACCOUNT),
    # Cloudflare
    Case("cloudflare", 401, ("10000",), "Authentication error", AUTH_KEY),
    Case("cloudflare", 403, ("3023",), "Account blocked", AUTH_ACCOUNT),
    Case("cloudflare", 403, ("5018",), "This account is not allowed to access this model.", NO_MODEL_HERE),
    Case("cloudflare", 429, ("3036",), "You have used up your daily free allocation.", ("quota", "account", "day")),
    Case("cloudflare", 429, ("4006",), "daily free allocation of 10,000 neurons", ("quota", "account", "day")),
    Case("cloudflare", 429, ("3040",), "Out of capacity", FULL_MODEL),
    Case("cloudflare", 429, (), "Too many requests", RATE_ACCOUNT),
    Case("cloudflare", 400, ("5007",), "No such model", NO_MODEL),
    Case("cloudflare", 413, ("3006",), "Request is too large", CONTEXT),
    Case("cloudflare", 408, ("3007",), "Timeout", ("timeout", "request", "none")),
    Case("cloudflare", 400, ("5004",), "Invalid data", ("request", "request", "none")),
    Case(
        "cloudflare",
        429,
        (),
        "you have used up your daily free allocation of 10,000 neurons",
        ("quota", "account", "day"),
    ),
    # DeepInfra
    Case("deepinfra", 401, ("invalid_request_error",), "Not authenticated", AUTH_KEY),
    Case("deepinfra", 402, (), "You need positive balance to do inference. Please add balance manually.", BILLING),
    Case("deepinfra", 429, (), "Model busy, retry later", FULL_MODEL),
    Case("deepinfra", 429, (), "Rate limited", RATE),
    # Perplexity
    Case("perplexity", 401, (), "401 Authorization Required openresty", ("auth", "key", "6h")),
    Case("perplexity", 400, ("invalid_model", "400"), "Invalid model 'x'.", NO_MODEL),
    Case("perplexity", 429, (), "", RATE),
    # Azure
    Case(
        "azure",
        401,
        ("401",),
        "Access denied due to invalid subscription key or wrong API endpoint.",
        AUTH_KEY,
    ),
    Case("azure", 404, ("deploymentnotfound",), "The deployment does not exist.", ("model", "pair", "5m")),
    Case("azure", 400, ("content_filter", "responsibleaipolicyviolation"), "The response was filtered.", CONTENT),
    Case("azure", 429, ("insufficient_quota",), "Quota exceeded.", BILLING),
    Case("azure", 429, ("429",), "The system is experiencing high demand.", FULL_MODEL),
    Case("azure", 429, ("ratelimitreached",), "Please retry after 6 seconds.", RATE),
    Case("azure", 403, (), "Access denied due to Virtual Network/Firewall rules.", ("permission", "key", "10m")),
    # Anthropic
    Case("anthropic", 400, ("organization_on_hold",), "This organization has been disabled.", AUTH_ACCOUNT),
    Case(
        "anthropic",
        400,
        ("invalid_request_error",),
        "Your credit balance is too low to access the Anthropic API.",
        BILLING,
    ),
    Case("anthropic", 400, (), "You have reached your specified API usage limits.", BILLING_MONTH),
    Case("anthropic", 429, ("rate_limit_error", "enforced_spend_limit_reached"), "Spend limit.", BILLING_MONTH),
    Case("anthropic", 429, (), "Extra usage is required for long context requests.", CONTEXT),
    Case("anthropic", 429, ("rate_limit_error", "ramp_limit_exceeded"), "Too fast.", RATE),
    Case("anthropic", 529, ("overloaded_error",), "Overloaded", FULL_PROVIDER),
    Case("anthropic", 404, ("not_found_error",), "model: claude-x", NO_MODEL),
    Case("anthropic", 400, (), "prompt is too long: 213462 tokens > 200000 maximum", CONTEXT),
    Case("anthropic", 400, (), "Output blocked by content filtering policy", CONTENT),
    Case("anthropic", 401, ("authentication_error",), "invalid x-api-key", None),
    Case("anthropic", 400, (), "This organization has been disabled.", AUTH_ACCOUNT),
    Case("anthropic", 529, (), "", FULL_PROVIDER),
    Case("anthropic", 409, ("conflict_error",), "Conflict", ("request", "request", "none")),
    # Ollama
    Case("ollama", 401, (), "unauthorized", AUTH_KEY),
    Case("ollama", 403, (), "this model requires a subscription, upgrade for access", NO_MODEL_HERE),
    Case(
        "ollama",
        429,
        (),
        "you (user) have reached your session usage limit, upgrade for higher limits",
        ("quota", "account", "hint"),
    ),
    Case("ollama", 429, (), "you (user) have reached your monthly usage limit", ("quota", "account", "month")),
    Case("ollama", 404, ("not_found_error",), "model 'x' not found", ("model", "model", "30s")),
    Case("ollama", 400, (), "prompt too long; exceeded max context length by 12 tokens", CONTEXT),
    Case("ollama", 400, (), "x does not support tools", None),
    Case("ollama", 429, (), "you (user) have reached your weekly usage limit", ("quota", "account", "hint")),
    Case("ollama", 410, (), "this model is gone", ("model", "model", "24h")),
    Case("ollama", 503, (), "server busy, please try again", ("overloaded", "provider", "5s")),
    # vLLM, llama.cpp, LM Studio
    Case("openai_compatible", 503, ("unavailable_error",), "Loading model", ("overloaded", "provider", "5s")),
    Case("openai_compatible", 400, ("exceed_context_size_error",), "the request exceeds the size", CONTEXT),
    Case(
        "openai_compatible", 400, ("badrequesterror",), "This model's maximum context length is 4096 tokens.", CONTEXT
    ),
    Case(
        "openai_compatible",
        400,
        (),
        "tokens to keep from the initial prompt is greater than the context length",
        CONTEXT,
    ),
    Case("openai_compatible", 501, ("not_supported_error",), "not supported", ("request", "request", "none")),
    Case("openai_compatible", 400, ("badrequesterror",), "messages is required", None),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.provider} {case.status} {case.message[:40]}" for case in CASES])
def test_the_first_row_that_matches_is_the_one_meant(case: Case) -> None:
    rows = CATALOGUE[case.provider].failures
    row = next((row for row in rows if matches(row, case)), None)
    assert (row and (row.kind, row.scope, row.rest)) == case.expected


@pytest.mark.parametrize("provider_id", CATALOGUE)
def test_every_provider_has_cases(provider_id: str) -> None:
    assert sum(case.provider == provider_id for case in CASES) >= 3


def test_every_row_is_met_by_a_case() -> None:
    met = {
        (case.provider, next((index for index, row in enumerate(rows) if matches(row, case)), -1))
        for case in CASES
        for rows in [CATALOGUE[case.provider].failures]
    }
    unmet = [
        f"{provider_id}: failures[{index}]"
        for provider_id, row in CATALOGUE.items()
        for index in range(len(row.failures))
        if (provider_id, index) not in met
    ]
    assert unmet == []
