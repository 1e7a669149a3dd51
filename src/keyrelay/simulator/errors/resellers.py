"""How resellers of other people's models say no: OpenAI's shape, with additions."""

from keyrelay.simulator.errors import shapes
from keyrelay.simulator.errors.reasons import INVALID, Reason, Voice

_FREE_RATE = {"limit_source": "openrouter_free_tier"}
_EPOCH = {
    "headers": {"X-RateLimit-Limit": "{limit}", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{reset_epoch_ms}"}
}
_EPOCH_HEADERS = (
    ("X-RateLimit-Limit", "{limit}"),
    ("X-RateLimit-Remaining", "0"),
    ("X-RateLimit-Reset", "{reset_epoch_ms}"),
)

OPENROUTER = Voice(
    shapes.openrouter,
    {
        "missing_key": Reason(401, "Missing Authentication header", code="authentication"),
        "invalid_key": Reason(401, "User not found.", code="authentication"),
        "no_permission": Reason(403, "This key is not allowed to use {model}.", code="permission_denied"),
        "no_credit": Reason(
            402,
            "Insufficient credits. This account never purchased credits. Make sure your key is on the correct account "
            "or org, and if so, purchase more at https://openrouter.ai/settings/credits",
            code="payment_required",
            details=({"limit_source": "openrouter_credits"},),
        ),
        "month": Reason(
            403,
            "Key limit exceeded (monthly limit).",
            code="permission_denied",
            details=({"limit_source": "openrouter_key_limit", "resets_at": "{reset_rfc3339}"},),
        ),
        "day": Reason(
            429,
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
            code="rate_limit_exceeded",
            details=({**_FREE_RATE, **_EPOCH},),
            headers=_EPOCH_HEADERS,
        ),
        "rate": Reason(
            429,
            "Rate limit exceeded: free-models-per-min.",
            code="rate_limit_exceeded",
            details=({**_FREE_RATE, **_EPOCH},),
            headers=_EPOCH_HEADERS,
        ),
        "rate_bare": Reason(
            429,
            "Provider returned error",
            code="rate_limit_exceeded",
            details=({"provider_name": "Simulated", "raw": "rate-limited upstream"},),
        ),
        "unknown_model": Reason(404, "No endpoints found for {model}.", code="not_found"),
        "context": Reason(
            400,
            "This endpoint's maximum context length is {context} tokens. However, you requested about {input} tokens.",
            code="context_length_exceeded",
        ),
        "blocked": Reason(
            403,
            "{model} requires moderation. Your input was flagged.",
            code="content_policy_violation",
            details=({"reasons": ["violence"]},),
        ),
        "malformed": Reason(400, "{field}: {problem}", code="invalid_request"),
        "overloaded": Reason(529, "Provider overloaded", code="provider_overloaded"),
        "unavailable": Reason(503, "No available provider", code="provider_unavailable"),
        "server_error": Reason(500, "Internal Server Error", code="server"),
    },
)

_HF_BOUGHT = (
    "You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference "
    "Providers. Alternatively, subscribe to PRO to get 20x more included credits."
)

HUGGINGFACE = Voice(
    shapes.wrapped,
    {
        "invalid_key": Reason(401, "", body={"error": "Invalid credentials in Authorization header"}),
        "no_permission": Reason(
            403,
            "",
            body={
                "error": "This authentication method does not have sufficient permissions to call Inference Providers "
                "on behalf of user simulated"
            },
        ),
        "no_credit": Reason(402, "", body={"error": _HF_BOUGHT}),
        "unknown_model": Reason(
            400, "The requested model '{model}' does not exist.", INVALID, "model_not_found", "model"
        ),
    },
)

_SAMBANOVA_RATE = (
    "Request would exceed rate limit. Violated duration_s: {window_s}, current usage: {used}, limit: {limit}"
)

SAMBANOVA = Voice(
    shapes.wrapped_with_request_id,
    {
        "invalid_key": Reason(401, "Invalid API key.", "authentication_error", "invalid_api_key"),
        "no_credit": Reason(402, "A payment method is required.", "payment_required", "payment_method_required"),
        "rate": Reason(429, _SAMBANOVA_RATE, "rate_limit_error", "rate_limit_exceeded"),
        "unknown_model": Reason(404, "Model not found: {model}", INVALID, "model_not_found", "model"),
    },
)

TOGETHER = Voice(
    shapes.wrapped_with_id,
    {
        "invalid_key": Reason(401, "Invalid API key provided.", INVALID, "invalid_api_key"),
        "no_credit": Reason(
            402,
            "Credit limit exceeded. Please navigate to https://api.together.xyz/settings/billing to add credit.",
            "credit_limit",
        ),
        "rate": Reason(429, "You have been rate limited. Your limit is {limit} {unit}.", "rate_limit", None),
        "unknown_model": Reason(404, "Unable to access model {model}.", INVALID, "model_not_available"),
        "context": Reason(
            403,
            "The input ({input} tokens) is longer than the model's context length ({context} tokens).",
            INVALID,
        ),
    },
)

FIREWORKS = Voice(
    shapes.wrapped,
    {
        "invalid_key": Reason(403, "unauthorized", "error", "UNAUTHORIZED"),
        "banned": Reason(412, "Account {org} is suspended.", "error", "PRECONDITION_FAILED"),
        "no_credit": Reason(
            412,
            "Account {org} is suspended, possibly due to reaching the monthly spending limit or failure to pay past "
            "invoices. Please go to https://fireworks.ai/account/billing for more information.",
            "error",
            "PRECONDITION_FAILED",
        ),
        "no_permission": Reason(404, "Model not found, inaccessible, and/or not deployed", "error", "NOT_FOUND"),
        "unknown_model": Reason(404, "Model not found, inaccessible, and/or not deployed", "error", "NOT_FOUND"),
        "rate": Reason(429, "Rate limit exceeded.", "error", "RATE_LIMIT_EXCEEDED"),
        "context": Reason(400, "The prompt is too long: {input}, model maximum context length: {context}", INVALID),
    },
)
