"""How providers with OpenAI's error shape, or nearly, say no."""

from keyrelay.simulator.errors import shapes
from keyrelay.simulator.errors.reasons import INVALID, Reason, Voice

_RETRY = (("retry-after", "{retry_s}"),)

_OPENAI_KEY = (
    "Incorrect API key provided: {key_masked}. You can find your API key at "
    "https://platform.openai.com/account/api-keys."
)
_OPENAI_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)
_OPENAI_RATE = (
    "Rate limit reached for {model} in organization {org} on {per}: Limit {limit}, Used {used}, Requested {needed}. "
    "Please try again in {retry_go}. Visit https://platform.openai.com/account/rate-limits to learn more."
)
_OPENAI_MONTH = "Your organization has reached its monthly spend limit."

OPENAI = Voice(
    shapes.wrapped,
    {
        "missing_key": Reason(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY).",
            INVALID,
        ),
        "invalid_key": Reason(
            401,
            "",
            body={
                "error": {"message": _OPENAI_KEY, "type": INVALID, "code": "invalid_api_key", "param": None},
                "status": 401,
            },
        ),
        "banned": Reason(
            401, "Your account has been deactivated, please check your email.", INVALID, "account_deactivated"
        ),
        "no_permission": Reason(
            403,
            "You have insufficient permissions for this operation. Missing scopes: model.request.",
            INVALID,
            "missing_scope",
        ),
        "no_credit": Reason(429, _OPENAI_QUOTA, "insufficient_quota", "insufficient_quota"),
        "month": Reason(429, _OPENAI_MONTH, "insufficient_quota", "organization_spend_limit_exceeded"),
        "day": Reason(429, _OPENAI_RATE, "={unit}", "rate_limit_exceeded", headers=_RETRY),
        "rate": Reason(
            429,
            _OPENAI_RATE,
            "={unit}",
            "rate_limit_exceeded",
            headers=(*_RETRY, ("retry-after-ms", "{retry_ms}")),
        ),
        "overloaded": Reason(
            503,
            "The server is currently overloaded with other requests.",
            "service_unavailable_error",
            "server_is_overloaded",
        ),
    },
)

_GROQ_RATE = (
    "Rate limit reached for model `{model}` in organization `{org}` service tier `on_demand` on {per}: Limit {limit}, "
    "Used {used}, Requested {needed}. Please try again in {retry_go}. Need more tokens? Upgrade to Dev Tier today at "
    "https://console.groq.com/settings/billing"
)
_GROQ_LARGE = (
    "Request too large for model `{model}` in organization `{org}` service tier `on_demand` on {per}: Limit {limit}, "
    "Requested {needed}, please reduce your message size and try again."
)

GROQ = Voice(
    shapes.wrapped,
    {
        "invalid_key": Reason(401, "Invalid API Key", INVALID, "invalid_api_key"),
        "banned": Reason(
            400,
            "Organization has been restricted. Please reach out to support if you believe this was in error.",
            INVALID,
            "organization_restricted",
        ),
        "no_permission": Reason(
            403,
            "The model `{model}` is blocked at the organization level.",
            "permissions_error",
            "model_permission_blocked_org",
        ),
        "no_credit": Reason(402, "Your organization's balance is used up.", "billing_error", "billing_error"),
        "day": Reason(429, _GROQ_RATE, "={unit}", "rate_limit_exceeded", headers=_RETRY),
        "rate": Reason(429, _GROQ_RATE, "={unit}", "rate_limit_exceeded", headers=_RETRY),
        "too_large": Reason(413, _GROQ_LARGE, "={unit}", "rate_limit_exceeded"),
        "context": Reason(
            400,
            "Please reduce the length of the messages or completion.",
            INVALID,
            "context_length_exceeded",
            "messages",
        ),
        "overloaded": Reason(498, "Flex tier capacity exceeded, please try again.", "capacity_exceeded"),
        "unavailable": Reason(503, "Service Unavailable", "internal_server_error"),
    },
)

DEEPSEEK = Voice(
    shapes.wrapped,
    {
        "invalid_key": Reason(
            401,
            "Authentication Fails, Your api key: {key_masked} is invalid",
            "authentication_error",
            INVALID,
        ),
        "no_credit": Reason(402, "Insufficient Balance", "unknown_error", INVALID),
        "rate": Reason(429, "Too many concurrent requests.", "rate_limit_error", INVALID),
        "unknown_model": Reason(400, "Model Not Exist", INVALID, INVALID),
        "blocked": Reason(400, "Content Exists Risk", INVALID, INVALID),
        "malformed": Reason(422, "Failed to deserialize the JSON body: {field}: {problem}", INVALID, INVALID),
        "overloaded": Reason(503, "Service is too busy. Please try again later.", "service_unavailable_error"),
    },
)

_AZURE_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)

AZURE = Voice(
    shapes.wrapped,
    {
        "invalid_key": Reason(401, "", body={"error": {"code": "401", "message": _AZURE_KEY}}),
        "no_credit": Reason(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
        "rate": Reason(
            429,
            "",
            body={"error": {"code": "429", "message": "Rate limit exceeded. Please retry after {retry_s} seconds."}},
            headers=(*_RETRY, ("retry-after-ms", "{retry_ms}")),
        ),
        "unknown_model": Reason(
            404,
            "",
            body={
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
        ),
        "blocked": Reason(
            400,
            "",
            body={
                "error": {
                    "message": "The response was filtered.",
                    "type": None,
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
                }
            },
        ),
    },
)

VLLM = Voice(
    shapes.wrapped_with_status,
    {
        "invalid_key": Reason(401, "Unauthorized", "Unauthorized"),
        "unknown_model": Reason(404, "The model `{model}` does not exist.", "NotFoundError"),
        "context": Reason(
            400,
            "This model's maximum context length is {context} tokens. However, you requested {input} tokens.",
            "BadRequestError",
        ),
        "malformed": Reason(400, "{field}: {problem}", "BadRequestError"),
    },
)

OLLAMA = Voice(
    shapes.wrapped,
    {
        "invalid_key": Reason(401, "unauthorized", "authentication_error"),
        "no_permission": Reason(
            403, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade", "api_error"
        ),
        "no_credit": Reason(402, "your balance is used up", "api_error"),
        "rate": Reason(
            429,
            "you (user) have reached your session usage limit, upgrade for higher limits: https://ollama.com/upgrade",
            "api_error",
        ),
        "day": Reason(
            429,
            "you (user) have reached your weekly usage limit, upgrade for higher limits: https://ollama.com/upgrade",
            "api_error",
        ),
        "unknown_model": Reason(404, "model '{model}' not found", "not_found_error"),
        "context": Reason(400, "prompt too long; exceeded max context length by {over} tokens", INVALID),
        "overloaded": Reason(503, "server busy, please try again. maximum pending requests exceeded", "api_error"),
    },
)

OLLAMA_NATIVE = Voice(
    shapes.bare_string,
    {
        **OLLAMA.reasons,
        "invalid_key": Reason(
            401, "", body={"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=simulated"}
        ),
        "malformed": Reason(400, "{problem}"),
        "not_found": Reason(404, "404 page not found"),
    },
)
