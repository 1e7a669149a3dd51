"""How the other providers with error shapes of their own say no."""

from keyrelay.simulator.errors import shapes
from keyrelay.simulator.errors.reasons import INVALID, Reason, Voice

_XAI_CREDIT = (
    "Your team {org} has either used all available credits or reached its monthly spending limit. To continue making "
    "API requests, please purchase more credits or raise your spending limit."
)

XAI = Voice(
    shapes.xai,
    {
        "missing_key": Reason(
            401, "No authorization header or an invalid authorization token is provided.", code="unauthenticated"
        ),
        "invalid_key": Reason(
            400,
            "Incorrect API key provided: {key_masked}. You can obtain an API key from https://console.x.ai.",
            code="Client specified an invalid argument",
        ),
        "banned": Reason(403, "Your team {org} is blocked.", code="permission-denied"),
        "no_permission": Reason(
            403, "The API key does not have permission to perform this action.", code="permission-denied"
        ),
        "no_credit": Reason(403, _XAI_CREDIT, code="permission-denied"),
        "month": Reason(429, _XAI_CREDIT, code="resource-exhausted"),
        "rate": Reason(
            429,
            "Too many requests for team {org} and model {model}. Your team's rate limit is {limit} {per}.",
            code="resource-exhausted",
        ),
        "rate_bare": Reason(429, "Too many requests.", code="resource-exhausted"),
        "too_large": Reason(429, "Too many tokens for team {org} and model {model}.", code="resource-exhausted"),
        "unknown_model": Reason(
            404,
            "The model {model} does not exist or your team {org} does not have access to it.",
            code="not-found",
        ),
        "context": Reason(
            400,
            "This model's maximum prompt length is {context} but the request contains {input} tokens.",
            code="invalid-argument",
        ),
        "malformed": Reason(400, "{field}: {problem}", code="invalid-argument"),
        "blocked": Reason(403, "Content violates usage guidelines.", code="permission-denied"),
        "overloaded": Reason(503, "The service is at capacity.", code="unavailable"),
        "server_error": Reason(500, "Internal error.", code="internal"),
        "not_found": Reason(404, "Not found.", code="not-found"),
    },
)

NVIDIA = Voice(
    shapes.problem,
    {
        "invalid_key": Reason(401, "Authentication failed", "Unauthorized"),
        "banned": Reason(403, "Authorization failed", "Forbidden"),
        "no_permission": Reason(404, "Function '{id}': Not found for account '{org}'", "Not Found"),
        "no_credit": Reason(402, "Account '{org}': Cloud credits expired", "Payment Required"),
        "rate": Reason(429, "", body={"status": 429, "title": "Too Many Requests"}),
        "rate_bare": Reason(429, "", body={"status": 429, "title": "Too Many Requests"}),
        "unknown_model": Reason(404, "Function '{id}': Not found for account '{org}'", "Not Found"),
        "malformed": Reason(422, "{field}: {problem}", "Unprocessable Entity"),
        "overloaded": Reason(503, "Worker local total request limit reached", "Service Unavailable"),
        "server_error": Reason(500, "Inference connection error", "Internal Server Error"),
        "not_found": Reason(404, "", body="404 page not found\n"),
    },
)

DEEPINFRA = Voice(
    shapes.detail_error,
    {
        "invalid_key": Reason(
            401,
            "",
            body={"error": {"message": "Not authenticated", "type": INVALID, "param": None, "code": None}},
        ),
        "no_credit": Reason(
            402,
            "You need positive balance to do inference. Please add balance manually or setup top-up",
        ),
        "rate": Reason(429, "Model busy, retry later"),
    },
)

AI21 = Voice(
    shapes.detail,
    {
        "invalid_key": Reason(401, "Forbidden: Bad or missing API token."),
        "malformed": Reason(422, "{field}: {problem}"),
        "rate": Reason(429, "Rate limit exceeded"),
    },
)

CLOUDFLARE = Voice(
    shapes.cloudflare,
    {
        "missing_key": Reason(401, "Authentication error", code=10000),
        "invalid_key": Reason(401, "Invalid API Token", code=1000),
        "banned": Reason(403, "Account blocked", code=3023),
        "no_permission": Reason(403, "Not allowed to use this model", code=5018),
        "no_credit": Reason(
            429,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers "
            "Paid plan if you would like to continue usage.",
            code=4006,
        ),
        "day": Reason(
            429,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers "
            "Paid plan if you would like to continue usage.",
            code=4006,
        ),
        "rate": Reason(429, "Too many requests", code=971),
        "rate_bare": Reason(429, "Too many requests", code=971),
        "unknown_model": Reason(400, "No such model {model} or task", code=5007),
        "context": Reason(413, "Request is too large: {input} tokens > {context}", code=3006),
        "malformed": Reason(400, "Bad input: {field}: {problem}", code=5004),
        "overloaded": Reason(429, "Capacity temporarily exceeded, please try again.", code=3040),
        "server_error": Reason(500, "Internal server error", code=3001),
        "not_found": Reason(404, "Unknown route", code=7000),
    },
)

_OPENRESTY = (
    "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 Authorization "
    "Required</h1></center>\r\n<hr><center>openresty/1.25.3.1</center>\r\n</body>\r\n</html>\r\n"
)

PERPLEXITY = Voice(
    shapes.wrapped_with_status,
    {
        "invalid_key": Reason(401, "", body=_OPENRESTY),
        "no_credit": Reason(401, "", body=_OPENRESTY),
        "rate": Reason(429, "Request rate limit exceeded, please try again later.", "request_rate_limit_exceeded"),
        "unknown_model": Reason(400, "Invalid model '{model}'.", "invalid_model"),
        "malformed": Reason(400, "{field}: {problem}", "bad_request"),
    },
)
