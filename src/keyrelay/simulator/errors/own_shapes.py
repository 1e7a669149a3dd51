"""How providers with error shapes of their own say no."""

from typing import Any

from keyrelay.simulator.errors import shapes
from keyrelay.simulator.errors.reasons import INVALID, Reason, Voice

_RETRY = (("retry-after", "{retry_s}"),)
_TYPE = "type.googleapis.com/google.rpc."


def _google_info(reason: str) -> tuple[dict[str, Any], ...]:
    return (
        {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"},
        {"@type": f"{_TYPE}LocalizedMessage", "locale": "en-US", "message": "See the reason."},
    )


_GOOGLE_QUOTA: tuple[dict[str, Any], ...] = (
    {
        "@type": f"{_TYPE}QuotaFailure",
        "violations": [
            {
                "quotaMetric": "generativelanguage.googleapis.com/{quota_metric}",
                "quotaId": "{quota_id}",
                "quotaDimensions": {"location": "global", "model": "{model}"},
                "quotaValue": "{limit}",
            }
        ],
    },
    {
        "@type": f"{_TYPE}Help",
        "links": [
            {
                "description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
            }
        ],
    },
    {"@type": f"{_TYPE}RetryInfo", "retryDelay": "{google_retry_s}s"},
)
_GOOGLE_RATE = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: "
    "generativelanguage.googleapis.com/{quota_metric}, limit: {limit}, model: {model}\n"
    "Please retry in {google_retry_long_s}s."
)

GEMINI = Voice(
    shapes.google,
    {
        "missing_key": Reason(
            400, "Missing or invalid Authorization header.", details=_google_info("CREDENTIALS_MISSING")
        ),
        "invalid_key": Reason(
            400, "API key not valid. Please pass a valid API key.", details=_google_info("API_KEY_INVALID")
        ),
        "leaked": Reason(403, "Your API key was reported as leaked. Please use another API key."),
        "banned": Reason(
            403,
            "Permission denied: Consumer 'projects/{org}' has been suspended.",
            details=_google_info("CONSUMER_SUSPENDED"),
        ),
        "no_permission": Reason(
            403,
            "Requests to this API generativelanguage.googleapis.com method are blocked.",
            details=_google_info("API_KEY_SERVICE_BLOCKED"),
        ),
        "no_credit": Reason(402, "Your Prepay credit balance is depleted. Please add credit to continue."),
        "day": Reason(429, _GOOGLE_RATE, details=_GOOGLE_QUOTA),
        "rate": Reason(429, _GOOGLE_RATE, details=_GOOGLE_QUOTA),
        "rate_bare": Reason(429, "Resource has been exhausted (e.g. check quota)."),
        "too_large": Reason(429, _GOOGLE_RATE, details=_GOOGLE_QUOTA),
        "unknown_model": Reason(
            404, "models/{model} is not found for API version v1beta, or is not supported for generateContent."
        ),
        "context": Reason(
            400, "The input token count ({input}) exceeds the maximum number of tokens allowed ({context})."
        ),
        "malformed": Reason(400, "Invalid value at '{field}': {problem}"),
        "overloaded": Reason(503, "The model is overloaded. Please try again later."),
        "server_error": Reason(500, "An internal error has occurred. Please retry."),
        "not_found": Reason(404, "Requested entity was not found."),
    },
)

GEMINI_NATIVE = Voice(
    shapes.google_bare,
    {
        **GEMINI.reasons,
        "malformed": Reason(
            400,
            "{problem}",
            details=(
                {
                    "@type": f"{_TYPE}BadRequest",
                    "fieldViolations": [{"field": "{field}", "description": "{problem}"}],
                },
            ),
        ),
    },
)

ANTHROPIC = Voice(
    shapes.anthropic,
    {
        "missing_key": Reason(401, "x-api-key header is required", "authentication_error"),
        "invalid_key": Reason(401, "invalid x-api-key", "authentication_error"),
        "banned": Reason(400, "This organization has been disabled.", INVALID, "organization_on_hold"),
        "no_permission": Reason(
            403, "Your API key does not have permission to use the specified resource.", "permission_error"
        ),
        "no_credit": Reason(
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
            INVALID,
        ),
        "month": Reason(
            429,
            "Your organization has reached its monthly spend limit.",
            "rate_limit_error",
            "enforced_spend_limit_reached",
        ),
        "rate": Reason(
            429,
            "This request would exceed your organization's rate limit of {limit} {per}.",
            "rate_limit_error",
            headers=_RETRY,
        ),
        "rate_bare": Reason(429, "This request would exceed your organization's rate limit.", "rate_limit_error"),
        "too_large": Reason(
            429, "This request would exceed your organization's rate limit of {limit} {per}.", "rate_limit_error"
        ),
        "unknown_model": Reason(404, "model: {model}", "not_found_error"),
        "context": Reason(400, "prompt is too long: {input} tokens > {context} maximum", INVALID),
        "malformed": Reason(400, "{field}: {problem}", INVALID),
        "blocked": Reason(400, "Output blocked by content filtering policy", INVALID),
        "overloaded": Reason(529, "Overloaded", "overloaded_error"),
        "unavailable": Reason(503, "Service unavailable", "api_error"),
        "server_error": Reason(500, "Internal server error", "api_error"),
        "not_found": Reason(404, "Not found", "not_found_error"),
    },
)

_REQUEST_QUOTA = ("too_many_requests_error", "request_quota_exceeded", "quota")
_CEREBRAS_RATE = "{Unit} per {span} limit exceeded - too many {unit_done}."

CEREBRAS = Voice(
    shapes.flat,
    {
        "missing_key": Reason(403, "", body={"detail": "Not authenticated"}),
        "invalid_key": Reason(401, "Wrong API Key", INVALID, "wrong_api_key", "api_key"),
        "no_permission": Reason(403, "You do not have access to {model}.", "permission_error", "forbidden", "model"),
        "no_credit": Reason(
            402,
            "Please add a payment method to unlock your free credits.",
            "payment_required_error",
            "payment_required",
        ),
        "rate": Reason(429, _CEREBRAS_RATE, "too_many_{unit}_error", "{unit_one}_quota_exceeded", "quota"),
        "rate_bare": Reason(
            429,
            "Requests per minute limit exceeded - too many requests sent.",
            _REQUEST_QUOTA[0],
            _REQUEST_QUOTA[1],
            _REQUEST_QUOTA[2],
        ),
        "too_large": Reason(429, _CEREBRAS_RATE, "too_many_{unit}_error", "{unit_one}_quota_exceeded", "quota"),
        "unknown_model": Reason(
            404,
            "Model {model} does not exist or you do not have access to it.",
            "not_found_error",
            "model_not_found",
            "model",
        ),
        "context": Reason(
            400,
            "Please reduce the length of the messages or completion. Current length is {input} while limit is "
            "{context}",
            INVALID,
            "context_length_exceeded",
            "messages",
        ),
        "overloaded": Reason(
            429,
            "We're experiencing high traffic right now! Please try again soon.",
            "too_many_requests_error",
            "queue_exceeded",
            "queue",
        ),
        "unavailable": Reason(503, "Service unavailable.", "service_unavailable_error"),
    },
)

_INVALID_FIELD = {"detail": [{"type": "value_error", "loc": ["body", "{field}"], "msg": "{problem}", "input": None}]}

MISTRAL = Voice(
    shapes.mistral,
    {
        "missing_key": Reason(401, "", body={"message": "Unauthorized", "request_id": "{id}"}),
        "invalid_key": Reason(401, "", body={"detail": "Invalid API Key"}),
        "banned": Reason(403, "", body={"message": "Your account is suspended", "request_id": "{id}"}),
        "no_permission": Reason(403, "Access to {model} is forbidden", "forbidden", "1600"),
        "no_credit": Reason(402, "Payment required: your credits are used up", "payment_required", "1900"),
        "rate": Reason(
            429,
            "",
            body={
                "object": "error",
                "message": "Rate limit exceeded",
                "type": "rate_limited",
                "param": None,
                "code": "1300",
                "raw_status_code": 429,
            },
        ),
        "rate_bare": Reason(429, "", body={"message": "Requests rate limit exceeded"}),
        "too_large": Reason(
            429,
            "",
            body={
                "object": "error",
                "message": "Rate limit exceeded",
                "type": "rate_limited",
                "param": None,
                "code": "1300",
                "raw_status_code": 429,
            },
        ),
        "unknown_model": Reason(400, "Invalid model: {model}", "invalid_model", "1500"),
        "context": Reason(
            400,
            "Prompt contains {input} tokens, too large for model with {context} maximum context length",
            "invalid_request_prompt",
            "3051",
        ),
        "malformed": Reason(422, "", body=_INVALID_FIELD),
        "blocked": Reason(403, "The content was refused by the moderation policy", "moderation", "1700"),
        "overloaded": Reason(429, "Service tier capacity exceeded for this model.", "service_tier_capacity", "3505"),
        "unavailable": Reason(503, "Service unavailable.", "unreachable_backend", "1100"),
        "server_error": Reason(500, "Internal server error", "internal_server_error", "1000"),
    },
)

_TRIAL = (
    "You are using a Trial key, which is limited to {limit} API calls / {span}. You can continue to use the Trial key "
    "for free or upgrade to a Production key with higher rate limits at "
    "'https://dashboard.cohere.com/api-keys'. Contact us on 'https://discord.gg/XW44jPfYJu' or email us at "
    "support@cohere.com with any questions"
)

COHERE = Voice(
    shapes.cohere,
    {
        "missing_key": Reason(401, "no api key supplied"),
        "invalid_key": Reason(401, "invalid api token"),
        "no_permission": Reason(403, "your api token does not have access to this resource"),
        "no_credit": Reason(402, "Please add or update your payment method at https://dashboard.cohere.com/billing"),
        "month": Reason(429, _TRIAL),
        "rate": Reason(429, _TRIAL),
        "rate_bare": Reason(429, "You are past the per minute request limit, please wait and try again later."),
        "too_large": Reason(429, "trial token rate limit exceeded, limit is {limit} tokens per minute"),
        "unknown_model": Reason(
            404, "model '{model}' not found, make sure the correct model ID was used and that you have access to it."
        ),
        "context": Reason(400, "too many tokens: size limit exceeded by {over} tokens."),
        "malformed": Reason(400, "invalid request: {field}: {problem}"),
        "blocked": Reason(498, "blocked input: the prompt violates our usage guidelines"),
        "overloaded": Reason(503, "service unavailable, please try again later"),
    },
)
