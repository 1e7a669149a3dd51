"""Real error bodies of the providers on their way from bytes to a failure, through each one's own table.

The bodies were captured from the providers; `tests/upstream_catalogue/test_failure_tables.py` has every
row of every provider, on what is extracted from a body. It is noon in UTC, four o'clock in the morning in California.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.routing.classify import Classifier, Moment
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.wire.errors import read_error
from tests.routing.helpers import NOW_S

CATALOGUE = load_catalogue()

MINUTE, HOUR = 60.0, 3600.0
TO_MIDNIGHT_UTC = 12 * HOUR
TO_MIDNIGHT_PACIFIC = 20 * HOUR
TO_DECEMBER_UTC = 9.5 * 24 * HOUR
NEVER = math.inf


class Case(NamedTuple):
    provider: str
    status: int
    body: Any
    kind: str
    scope: str
    rest_s: float | None
    headers: Mapping[str, str] = MappingProxyType({})


def openai(message: str, code: str | int | None = None, kind: str = "invalid_request_error", **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}, **more}


GEMINI_SENTENCE = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits. Please retry in 45.578569677s."
)


def gemini_quota(*quotas: tuple[str, str], delay: str = "45s") -> Any:
    violations = [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": quota_id,
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": value,
        }
        for quota_id, value in quotas
    ]
    return gemini(
        429,
        "RESOURCE_EXHAUSTED",
        GEMINI_SENTENCE,
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "x", "url": "https://x"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    )


def gemini(code: int, status: str, message: str, *details: Any) -> Any:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def reason(name: str) -> Any:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": name, "domain": "googleapis.com"}


PER_DAY = ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20")
PER_MINUTE = ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "5")
TOKENS_PER_MINUTE = ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000")
OPENAI_MINUTE = (
    "Rate limit reached for gpt-6-luna in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, "
    "Requested 1200. Please try again in 3.89s."
)
OPENAI_TOO_LARGE = "Request too large for gpt-6-luna on tokens per min (TPM): Limit 30000, Requested 41000."
GROQ_DAY = (
    "Rate limit reached for model `x` in organization `org_1` service tier `on_demand` on tokens per day (TPD): Limit "
    "100000, Used 97050, Requested 3619. Please try again in 9m38.016s."
)
GROQ_TOO_LARGE = (
    "Request too large for model `x` in organization `org_1` on tokens per minute (TPM): Limit 6000, Requested 14368"
)
COHERE_TRIAL = "You are using a Trial key, which is limited to {}. You can continue to use the Trial key for free."
XAI_CREDITS = (
    "Your team 1 has either used all available credits or reached its monthly spending limit. To continue making API "
    "requests, please purchase more credits or raise your spending limit."
)
ANTHROPIC = {"type": "error", "request_id": "req_1"}


def anthropic(kind: str, message: str, error_code: str | None = None) -> Any:
    details = {"details": {"error_code": error_code}} if error_code else {}
    return {**ANTHROPIC, "error": {"type": kind, "message": message, **details}}


def openrouter(code: int, message: str, **metadata: Any) -> Any:
    return {"error": {"code": code, "message": message, "metadata": metadata}, "user_id": "user_1"}


def cerebras(message: str, code: str, kind: str, param: str = "quota") -> Any:
    return {"message": message, "type": kind, "param": param, "code": code}


def cloudflare(code: int, message: str) -> Any:
    return {"result": None, "success": False, "errors": [{"code": code, "message": message}], "messages": []}


PERPLEXITY_PAGE = (
    b"<html><head><title>401 Authorization Required</title></head><body><center><h1>401 Authorization Required</h1>"
    b"</center><hr><center>openresty</center></body></html>"
)

CASES = [
    # OpenAI
    Case(
        "openai", 401, openai("Incorrect API key provided: sk-thisi****lkey.", "invalid_api_key"), "auth", "key", NEVER
    ),
    Case(
        "openai",
        429,
        openai(GEMINI_SENTENCE, "insufficient_quota", "insufficient_quota"),
        "billing",
        "account",
        6 * HOUR,
    ),
    Case("openai", 429, openai("Limit.", "project_spend_limit_exceeded"), "billing", "key", TO_DECEMBER_UTC),
    Case("openai", 429, openai(OPENAI_MINUTE, "rate_limit_exceeded", "tokens"), "rate", "pair", 3.89),
    Case(
        "openai",
        429,
        openai("Rate limit reached.", "rate_limit_exceeded", "requests"),
        "rate",
        "pair",
        2.5,
        {"retry-after-ms": "2500", "retry-after": "3"},
    ),
    Case("openai", 429, openai(OPENAI_TOO_LARGE, "rate_limit_exceeded", "tokens"), "context", "request", None),
    Case(
        "openai",
        404,
        openai("The model `x` does not exist or you do not have access to it.", "model_not_found"),
        "model",
        "pair",
        6 * HOUR,
    ),
    Case(
        "openai",
        400,
        openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
        "context",
        "request",
        None,
    ),
    Case("openai", 400, openai("Your request was rejected.", "content_policy_violation"), "content", "request", None),
    Case("openai", 400, openai("Unknown parameter: 'x'."), "request", "request", None),
    Case("openai", 500, openai("The server had an error.", None, "server_error"), "service", "provider", None),
    # Anthropic
    Case("anthropic", 401, anthropic("authentication_error", "invalid x-api-key"), "auth", "key", NEVER),
    Case(
        "anthropic",
        400,
        anthropic("invalid_request_error", "This organization has been disabled.", "organization_on_hold"),
        "auth",
        "account",
        NEVER,
    ),
    Case(
        "anthropic",
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        "billing",
        "account",
        6 * HOUR,
    ),
    Case(
        "anthropic",
        429,
        anthropic("rate_limit_error", "Spend limit.", "enforced_spend_limit_reached"),
        "billing",
        "account",
        TO_DECEMBER_UTC,
    ),
    Case("anthropic", 429, anthropic("rate_limit_error", "Too fast."), "rate", "pair", 12.0, {"retry-after": "12"}),
    Case("anthropic", 404, anthropic("not_found_error", "model: x"), "model", "model", 6 * HOUR),
    Case(
        "anthropic",
        400,
        anthropic("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
        "context",
        "request",
        None,
    ),
    Case(
        "anthropic", 413, anthropic("request_too_large", "Request exceeds the maximum size"), "context", "request", None
    ),
    Case("anthropic", 500, anthropic("api_error", "Internal server error"), "service", "provider", None),
    # Gemini
    Case(
        "gemini",
        400,
        gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason("API_KEY_INVALID")),
        "auth",
        "key",
        NEVER,
    ),
    Case(
        "gemini",
        400,
        [gemini(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.")],
        "auth",
        "key",
        NEVER,
    ),
    Case(
        "gemini",
        403,
        gemini(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        "auth",
        "key",
        NEVER,
    ),
    Case(
        "gemini",
        403,
        gemini(403, "PERMISSION_DENIED", "Permission denied.", reason("CONSUMER_SUSPENDED")),
        "auth",
        "account",
        NEVER,
    ),
    Case(
        "gemini",
        402,
        gemini(402, "RESOURCE_EXHAUSTED", "Your Prepay credit balance is depleted"),
        "billing",
        "account",
        6 * HOUR,
    ),
    Case("gemini", 429, gemini_quota(PER_DAY), "quota", "pair", TO_MIDNIGHT_PACIFIC),
    Case("gemini", 429, gemini_quota(PER_MINUTE, PER_DAY), "quota", "pair", TO_MIDNIGHT_PACIFIC, {"retry-after": "1"}),
    Case("gemini", 429, gemini_quota(PER_MINUTE), "rate", "pair", 45.0),
    Case("gemini", 429, gemini_quota(TOKENS_PER_MINUTE, delay="7s"), "rate", "pair", 7.0),
    Case("gemini", 429, gemini_quota((PER_DAY[0], "0")), "model", "pair", 24 * HOUR),
    Case("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", GEMINI_SENTENCE), "rate", "pair", 45.578569677),
    Case(
        "gemini",
        404,
        gemini(404, "NOT_FOUND", "models/x is not found for API version v1beta, or is not supported."),
        "model",
        "model",
        6 * HOUR,
    ),
    Case(
        "gemini",
        400,
        gemini(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        ),
        "context",
        "request",
        None,
    ),
    Case(
        "gemini",
        503,
        gemini(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        "overloaded",
        "model",
        30.0,
    ),
    Case("gemini", 500, gemini(500, "INTERNAL", "An internal error has occurred."), "service", "provider", None),
    Case(
        "gemini",
        400,
        gemini(400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "x".'),
        "request",
        "request",
        None,
    ),
    # DeepSeek
    Case(
        "deepseek",
        401,
        openai(
            "Authentication Fails, Your api key: ****lkey is invalid", "invalid_request_error", "authentication_error"
        ),
        "auth",
        "key",
        NEVER,
    ),
    Case(
        "deepseek",
        402,
        openai("Insufficient Balance", "invalid_request_error", "unknown_error"),
        "billing",
        "account",
        6 * HOUR,
    ),
    Case("deepseek", 400, openai("Content Exists Risk", "invalid_request_error"), "content", "request", None),
    Case("deepseek", 400, openai("Model Not Exist", "invalid_request_error"), "model", "model", 6 * HOUR),
    # Groq
    Case("groq", 401, openai("Invalid API Key", "invalid_api_key"), "auth", "key", NEVER),
    Case("groq", 400, openai("Organization has been restricted.", "organization_restricted"), "auth", "account", NEVER),
    Case("groq", 429, openai(GROQ_DAY, "rate_limit_exceeded", "tokens"), "quota", "pair", 578.016),
    Case("groq", 413, openai(GROQ_TOO_LARGE, "rate_limit_exceeded", "tokens"), "context", "request", None),
    Case(
        "groq",
        400,
        openai("The model `x` has been decommissioned.", "model_decommissioned"),
        "model",
        "model",
        24 * HOUR,
    ),
    # Mistral
    Case("mistral", 401, {"detail": "Invalid API Key"}, "auth", "key", NEVER),
    Case("mistral", 401, {"message": "Unauthorized", "request_id": "x"}, "auth", "key", NEVER),
    Case(
        "mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"},
        "model",
        "model",
        6 * HOUR,
    ),
    Case(
        "mistral",
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "x"],
                    "msg": "Extra inputs are not permitted",
                    "input": "API key invalid, out of credits",
                }
            ]
        },
        "request",
        "request",
        None,
    ),
    # Cohere
    Case("cohere", 401, {"id": "x", "message": "invalid api token"}, "auth", "key", NEVER),
    Case(
        "cohere",
        429,
        {"id": "x", "message": COHERE_TRIAL.format("1000 API calls / month")},
        "quota",
        "account",
        TO_DECEMBER_UTC,
    ),
    Case("cohere", 429, {"id": "x", "message": COHERE_TRIAL.format("20 API calls / minute")}, "rate", "pair", MINUTE),
    Case(
        "cohere",
        402,
        {
            "id": "x",
            "message": "Maximum billing reached for this API key; it will reset at the beginning of next month",
        },
        "billing",
        "account",
        TO_DECEMBER_UTC,
    ),
    # AI21, Hugging Face
    Case("ai21", 422, {"detail": "Unprocessable"}, "request", "request", None),
    Case("huggingface", 401, {"error": "Invalid credentials in Authorization header"}, "auth", "key", NEVER),
    Case(
        "huggingface",
        402,
        {"error": "You have depleted your monthly included credits."},
        "billing",
        "account",
        TO_DECEMBER_UTC,
    ),
    Case(
        "huggingface",
        400,
        openai("The requested model 'x' does not exist.", "model_not_found"),
        "model",
        "model",
        6 * HOUR,
    ),
    # OpenRouter
    Case("openrouter", 401, openrouter(401, "User not found."), "auth", "key", NEVER),
    Case(
        "openrouter",
        402,
        openrouter(402, "Too much.", limit_source="in_flight_budget_exhausted"),
        "rate",
        "key",
        3.0,
        {"retry-after": "3"},
    ),
    Case(
        "openrouter",
        402,
        openrouter(402, "You requested up to 8192 tokens, but can only afford 12"),
        "context",
        "request",
        None,
    ),
    Case(
        "openrouter",
        403,
        openrouter(
            403, "Budget exceeded.", limit_source="openrouter_workspace_budget", resets_at="2025-11-21T13:00:00Z"
        ),
        "billing",
        "key",
        HOUR,
    ),
    Case(
        "openrouter", 403, openrouter(403, "Your input was flagged.", reasons=["violence"]), "content", "request", None
    ),
    Case(
        "openrouter",
        429,
        openrouter(
            429,
            "Rate limit exceeded: free-models-per-day. Add 10 credits.",
            headers={"X-RateLimit-Reset": "1763769600000"},
        ),
        "quota",
        "pair",
        TO_MIDNIGHT_UTC,
    ),
    Case(
        "openrouter",
        429,
        openrouter(
            429,
            "Rate limit exceeded: free-models-per-min. ",
            headers={"X-RateLimit-Reset": f"{(NOW_S + 40) * 1000:.0f}"},
        ),
        "rate",
        "pair",
        40.0,
    ),
    Case(
        "openrouter",
        429,
        openrouter(429, "Provider returned error", raw="your API key is invalid, out of credits"),
        "overloaded",
        "model",
        30.0,
    ),
    # Cerebras
    Case(
        "cerebras",
        401,
        cerebras("Wrong API Key", "wrong_api_key", "invalid_request_error", "api_key"),
        "auth",
        "key",
        NEVER,
    ),
    Case(
        "cerebras",
        402,
        cerebras("Please add a payment method.", "payment_required", "payment_required_error"),
        "billing",
        "account",
        6 * HOUR,
    ),
    Case(
        "cerebras",
        429,
        cerebras("We're experiencing high traffic right now!", "queue_exceeded", "too_many_requests_error", "queue"),
        "overloaded",
        "provider",
        30.0,
    ),
    Case(
        "cerebras",
        429,
        cerebras(
            "Requests per minute limit exceeded - too many requests sent.",
            "request_quota_exceeded",
            "too_many_requests_error",
        ),
        "rate",
        "pair",
        30.5,
        {"x-ratelimit-remaining-requests-minute": "0", "x-ratelimit-reset-requests-minute": "30.5"},
    ),
    Case(
        "cerebras",
        400,
        cerebras(
            "Please reduce the length of the messages or completion.",
            "context_length_exceeded",
            "invalid_request_error",
        ),
        "context",
        "request",
        None,
    ),
    # SambaNova, Together, Fireworks
    Case(
        "sambanova",
        429,
        openai("Request would exceed rate limit. Violated duration_s: 60, current usage: 20, limit: 20"),
        "rate",
        "pair",
        MINUTE,
    ),
    Case(
        "together",
        403,
        openai("The input (265330 tokens) is longer than the model's context length (262144 tokens).", None, id="x"),
        "context",
        "request",
        None,
    ),
    Case(
        "together", 402, openai("Credit limit exceeded.", None, "credit_limit", id="x"), "billing", "account", 6 * HOUR
    ),
    Case(
        "fireworks",
        412,
        {
            "error": {
                "message": "Account x is suspended, possibly due to reaching the monthly spending limit",
                "code": "PRECONDITION_FAILED",
            }
        },
        "billing",
        "account",
        6 * HOUR,
    ),
    # xAI
    Case(
        "xai",
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***na."},
        "auth",
        "key",
        NEVER,
    ),
    Case("xai", 403, {"code": "permission-denied", "error": XAI_CREDITS}, "billing", "account", 6 * HOUR),
    Case("xai", 429, {"code": "resource-exhausted", "error": XAI_CREDITS}, "billing", "account", 6 * HOUR),
    Case(
        "xai",
        400,
        {
            "code": "invalid-argument",
            "error": "This model's maximum prompt length is 500000 but the request contains 637815 tokens.",
        },
        "context",
        "request",
        None,
    ),
    # NVIDIA
    Case(
        "nvidia",
        404,
        {"status": 404, "title": "Not Found", "detail": "Function '1-2': Not found for account 'a'"},
        "model",
        "pair",
        24 * HOUR,
    ),
    Case(
        "nvidia",
        403,
        {"status": 403, "title": "Forbidden", "detail": "Authorization failed"},
        "permission",
        "pair",
        10 * MINUTE,
    ),
    Case("nvidia", 410, b"", "model", "model", 24 * HOUR),
    # Cloudflare
    Case("cloudflare", 401, cloudflare(10000, "Authentication error"), "auth", "key", NEVER),
    Case(
        "cloudflare",
        429,
        cloudflare(3036, "You have used up your daily free allocation of 10,000 neurons"),
        "quota",
        "account",
        TO_MIDNIGHT_UTC,
    ),
    Case("cloudflare", 429, cloudflare(3040, "Out of capacity"), "overloaded", "model", 30.0),
    # DeepInfra, Perplexity
    Case(
        "deepinfra",
        402,
        {"detail": {"error": "You need positive balance to do inference."}},
        "billing",
        "account",
        6 * HOUR,
    ),
    Case("perplexity", 401, PERPLEXITY_PAGE, "auth", "key", 6 * HOUR),
    # Azure
    Case(
        "azure",
        400,
        {"error": {"code": "content_filter", "message": "No.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        "content",
        "request",
        None,
    ),
    Case(
        "azure",
        429,
        {"error": {"code": "429", "message": "Requests have exceeded the rate limit. Please retry after 6 seconds."}},
        "rate",
        "pair",
        6.0,
    ),
    Case(
        "azure",
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}},
        "model",
        "pair",
        5 * MINUTE,
    ),
    # Ollama, vLLM, llama.cpp
    Case("ollama", 404, {"error": "model 'x' not found"}, "model", "model", 30.0),
    Case(
        "openai_compatible",
        400,
        openai("This model's maximum context length is 4096 tokens.", 400, "BadRequestError"),
        "context",
        "request",
        None,
    ),
    Case(
        "openai_compatible",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
            }
        },
        "context",
        "request",
        None,
    ),
]


def classify(case: Case) -> Failure:
    provider = CATALOGUE[case.provider]
    body = case.body if isinstance(case.body, bytes) else msgspec.json.encode(case.body)
    error = read_error(case.status, body, case.headers, NOW_S)
    return Classifier(provider.failures).classify(error, Moment(now_s=NOW_S, zone=provider.day_zone))


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.provider} {case.status} {index}" for index, case in enumerate(CASES)]
)
def test_a_real_answer_means_what_the_fact_sheet_says(case: Case) -> None:
    failure = classify(case)
    assert (failure.kind, failure.scope) == (case.kind, case.scope)
    if case.rest_s is None:
        assert failure.until_s is None
    else:
        assert failure.until_s == pytest.approx(NOW_S + case.rest_s)


def test_the_text_trap_the_same_sentence_is_a_rate_at_gemini_and_an_empty_account_at_openai() -> None:
    at_gemini = classify(Case("gemini", 429, gemini_quota(PER_MINUTE), "", "", None))
    at_openai = classify(Case("openai", 429, openai(GEMINI_SENTENCE, "insufficient_quota"), "", "", None))
    assert at_gemini.message == at_openai.message == GEMINI_SENTENCE
    assert (at_gemini.kind, at_gemini.scope) == (FailureKind.RATE, FailureScope.PAIR)
    assert (at_openai.kind, at_openai.scope) == (FailureKind.BILLING, FailureScope.ACCOUNT)


def test_without_a_code_the_sentence_is_a_rate_everywhere() -> None:
    unsigned = Case("openai", 429, {"error": {"message": GEMINI_SENTENCE}}, "", "", None)
    assert classify(unsigned).kind is FailureKind.RATE


@pytest.mark.parametrize("provider_id", CATALOGUE)
@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=40)
    | st.dictionaries(st.sampled_from(["error", "message", "code"]), st.text(max_size=20)).map(msgspec.json.encode),
)
def test_any_answer_is_classified(provider_id: str, status: int, body: bytes) -> None:
    failure = classify(Case(provider_id, status, body, "", "", None))
    assert failure.until_s is None or failure.until_s > NOW_S
    assert failure.message


HOSTILE_WORDS = [
    "API key not valid",
    "API key expired",
    "Incorrect API key",
    "invalid x-api-key",
    "organization has been restricted",
    "organization has been disabled",
    "credit balance is too low",
    "insufficient balance",
    "used all available credits",
    "positive balance",
    "the model x does not exist",
    "Model Not Exist",
    "free tier is not available",
    "DEGRADED function",
]


@pytest.mark.parametrize("provider_id", CATALOGUE)
@pytest.mark.parametrize("status", [400, 422])
def test_bug_a_caller_could_put_keys_to_rest_by_the_name_of_a_field(provider_id: str, status: int) -> None:
    for words in HOSTILE_WORDS:
        for message in (
            f"Unknown parameter: '{words}'.",
            f'Invalid JSON payload received. Unknown name "{words}": Cannot find field.',
            f"Unrecognized request argument supplied: {words}",
        ):
            failure = classify(Case(provider_id, status, openai(message), "", "", None))
            assert failure.until_s is None, failure
