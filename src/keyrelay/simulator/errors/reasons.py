"""Why a simulated provider refuses a call, in its own words: the types of the tables.

Texts hold `{facts}` which are filled in when an answer is made; a string that starts with `=` stands for a fact as
it is, a number for instance. Bodies are those of the providers' documentation and of captured answers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

ErrorCase = Literal[
    "missing_key",
    "invalid_key",
    "banned",
    "leaked",
    "no_permission",
    "no_credit",
    "month",
    "day",
    "rate",
    "rate_bare",
    "too_large",
    "unknown_model",
    "context",
    "malformed",
    "blocked",
    "overloaded",
    "server_error",
    "unavailable",
    "not_found",
]
"""What is wrong. `month`, `day` and `rate` are quotas by the length of their window, `rate_bare` the same without a
hint when to come back, `too_large` a request that no empty window would hold."""

JSON = "application/json"
HTML = "text/html"


class Reason(msgspec.Struct, frozen=True):
    """One refusal: status, text and codes for the provider's usual shape.

    `details` are Gemini's machine-readable details. `body` replaces the shape altogether; a string is sent as HTML.
    """

    status: int
    message: str
    kind: str = ""
    code: Any = None
    param: str | None = None
    details: tuple[dict[str, Any], ...] = ()
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


Shape = Callable[[Reason], Any]


class Voice(msgspec.Struct, frozen=True):
    """How one provider says no: the shape of its bodies, and its own words where they differ from the usual ones."""

    shape: Shape
    reasons: dict[ErrorCase, Reason] = {}

    def reason(self, case: ErrorCase) -> Reason:
        """The provider's own words for the case, else those of a similar case, else the usual ones."""
        own = self.reasons.get(case) or self.reasons.get(_SIMILAR.get(case, case))
        return own or USUAL[case]

    def body(self, case: ErrorCase) -> Any:
        """The body's template."""
        reason = self.reason(case)
        return self.shape(reason) if reason.body is None else reason.body


_SIMILAR: dict[ErrorCase, ErrorCase] = {
    "missing_key": "invalid_key",
    "leaked": "invalid_key",
    "banned": "invalid_key",
    "month": "no_credit",
    "day": "rate",
    "unavailable": "overloaded",
}

INVALID = "invalid_request_error"
_RATE = "Rate limit reached for {model} in organization {org} on {per}: Limit {limit}, Used {used}, Requested {needed}."
_AGAIN = f"{_RATE} Please try again in {{retry_go}}."

USUAL: dict[ErrorCase, Reason] = {
    "missing_key": Reason(401, "You didn't provide an API key.", INVALID),
    "invalid_key": Reason(401, "Incorrect API key provided: {key_masked}.", INVALID, "invalid_api_key"),
    "banned": Reason(403, "Your account has been deactivated.", "authentication_error", "account_deactivated"),
    "leaked": Reason(401, "Incorrect API key provided: {key_masked}.", INVALID, "invalid_api_key"),
    "no_permission": Reason(403, "Your key is not allowed to use {model}.", "permission_error", "permission_denied"),
    "no_credit": Reason(402, "Insufficient balance.", "billing_error", "insufficient_balance"),
    "month": Reason(402, "Your account has reached its monthly spending limit.", "billing_error", "month_limit"),
    "day": Reason(429, _AGAIN, "={unit}", "rate_limit_exceeded", headers=(("retry-after", "{retry_s}"),)),
    "rate": Reason(429, _AGAIN, "={unit}", "rate_limit_exceeded", headers=(("retry-after", "{retry_s}"),)),
    "rate_bare": Reason(429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    "too_large": Reason(
        429,
        "Request too large for {model} in organization {org} on {per}: Limit {limit}, Requested {needed}.",
        "={unit}",
        "rate_limit_exceeded",
    ),
    "unknown_model": Reason(
        404, "The model `{model}` does not exist or you do not have access to it.", INVALID, "model_not_found"
    ),
    "context": Reason(
        400,
        "This model's maximum context length is {context} tokens. However, your messages resulted in {input} tokens.",
        INVALID,
        "context_length_exceeded",
        "messages",
    ),
    "malformed": Reason(400, "{problem}", INVALID, param="{field}"),
    "blocked": Reason(
        400, "Your request was rejected as violating our usage policy.", INVALID, "content_policy_violation"
    ),
    "overloaded": Reason(503, "The server is overloaded, please try again later.", "service_unavailable_error"),
    "server_error": Reason(500, "The server had an error while processing your request.", "server_error"),
    "unavailable": Reason(503, "The service is unavailable.", "service_unavailable_error"),
    "not_found": Reason(404, "Invalid URL ({method} {path})", INVALID),
}
"""What an OpenAI-like API says."""


def fill(template: Any, facts: Mapping[str, Any]) -> Any:
    """The template with its facts filled in."""
    if isinstance(template, str):
        if template.startswith("={"):
            return facts[template[2:-1]]
        return template.format_map(facts) if "{" in template else template
    if isinstance(template, dict):
        return {name: fill(value, facts) for name, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill(value, facts) for value in template]
    return template
