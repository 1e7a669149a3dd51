"""The generic table, for a provider without rows of its own."""

import math
from typing import Any, NamedTuple

import msgspec
import pytest

from keyrelay.core.failures import FailureKind
from keyrelay.routing.classify import Classifier, Moment, duration_s
from keyrelay.routing.failure_table import GENERIC_FAILURES
from keyrelay.wire.errors import read_error
from tests.routing.helpers import NOW_S

HOUR = 3600.0
TO_MIDNIGHT = 12 * HOUR
TO_DECEMBER = 9.5 * 24 * HOUR
NEVER = math.inf

GENERIC = Classifier()


class Case(NamedTuple):
    status: int
    body: Any
    kind: str
    scope: str
    rest_s: float | None


def said(message: str, **more: Any) -> Any:
    return {"error": {"message": message, **more}}


def coded(code: str) -> Any:
    return {"error": {"message": "No.", "code": code}}


AUTH = [
    *(Case(status, coded("invalid_api_key"), "auth", "key", NEVER) for status in (400, 401, 403)),
    Case(400, said("No.", details=[{"reason": "API_KEY_INVALID"}]), "auth", "key", NEVER),
    Case(401, said("No.", type="authentication_error"), "auth", "key", NEVER),
    Case(401, coded("wrong_api_key"), "auth", "key", NEVER),
    Case(401, coded("token_expired"), "auth", "key", NEVER),
    *(
        Case(403, said(words), "auth", "key", NEVER)
        for words in (
            "API key not valid. Please pass a valid API key.",
            "API key expired. Please renew the API key.",
            "API Key not found.",
            "Your API key was reported as leaked.",
            "API key is invalid",
            "Invalid API Key",
            "invalid api token",
            "Incorrect API key provided: sk-***.",
            "Wrong API Key",
            "Invalid credentials in Authorization header",
            "invalid x-api-key",
            "Authentication Fails, Your api key: ****key is invalid",
            "Your API key has expired.",
        )
    ),
    Case(400, said("Invalid API Key"), "auth", "key", None),
    Case(401, coded("organization_restricted"), "auth", "account", NEVER),
    Case(400, coded("organization_on_hold"), "auth", "account", NEVER),
    Case(403, said("x", details=[{"reason": "CONSUMER_SUSPENDED"}]), "auth", "account", NEVER),
    Case(403, coded("account_deactivated"), "auth", "account", NEVER),
    Case(403, said("Organization has been restricted."), "auth", "account", NEVER),
    Case(403, said("This organization has been disabled."), "auth", "account", NEVER),
    Case(403, said("The account is suspended, for its balance is gone."), "auth", "account", NEVER),
    Case(403, said("Your project has been denied access."), "auth", "account", NEVER),
    Case(401, said("Unauthorized"), "auth", "key", NEVER),
    Case(401, {"detail": "Not authenticated"}, "auth", "key", NEVER),
    Case(401, said("User not found."), "auth", "key", NEVER),
    Case(401, b"<h1>401 Authorization Required</h1>", "permission", "pair", 900.0),
]

BILLING = [
    *(Case(status, coded("insufficient_quota"), "billing", "account", 6 * HOUR) for status in (400, 402, 403, 429)),
    Case(429, said("No.", type="insufficient_quota"), "billing", "account", 6 * HOUR),
    Case(429, coded("credit_balance_exhausted"), "billing", "account", 6 * HOUR),
    Case(429, coded("organization_spend_limit_exceeded"), "billing", "account", 6 * HOUR),
    Case(402, said("No.", type="billing_error"), "billing", "account", 6 * HOUR),
    Case(402, said("Insufficient Balance"), "billing", "account", 6 * HOUR),
    Case(402, b"", "billing", "account", 6 * HOUR),
    Case(
        403,
        said("Your team has either used all available credits or reached its limit."),
        "billing",
        "account",
        6 * HOUR,
    ),
    Case(429, said("You reached your monthly spending limit."), "billing", "account", 6 * HOUR),
    Case(402, said("Your Prepay credit balance is depleted"), "billing", "account", 6 * HOUR),
    Case(429, {"error": "You have depleted your monthly included credits."}, "billing", "account", 6 * HOUR),
    Case(403, {"detail": {"error": "You need positive balance"}}, "billing", "account", 6 * HOUR),
    Case(400, said("Your credit balance is too low"), "billing", "account", None),
]

CONTEXT = [
    *(
        Case(status, coded("context_length_exceeded"), "context", "request", None)
        for status in (400, 413, 422, 429, 500)
    ),
    Case(400, said("x", type="exceed_context_size_error"), "context", "request", None),
    Case(
        429,
        said("Request too large for x: Limit 1, Requested 2", code="rate_limit_exceeded"),
        "context",
        "request",
        None,
    ),
    Case(
        413,
        said("Request too large for x: Limit 1, Requested 2", code="rate_limit_exceeded"),
        "context",
        "request",
        None,
    ),
    Case(413, b"<html>413 Payload Too Large</html>", "context", "request", None),
    *(
        Case(400, said(words), "context", "request", None)
        for words in (
            "prompt is too long: 213462 tokens > 200000 maximum",
            "Your input exceeds the context window of this model",
            "This model's maximum context length is 8192 tokens.",
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
            "Please reduce the length of the messages or completion",
            "The input (265330 tokens) is longer than the model's context length (262144 tokens).",
            "Prompt contains 300000 tokens, too large for model with 131072 maximum context length",
            "too many tokens: size limit exceeded by 11326 tokens",
            "the request exceeds the available context size",
            "tokens to keep from the initial prompt is greater than the context length",
            "prompt too long; exceeded max context length by 12 tokens",
            "Input is too long for requested model.",
            "Your request exceeded model token limit: 262144 (requested: 300000)",
            "context window exceeds limit",
            "Range of input length should be [1, 129024]",
            "model_context_window_exceeded",
            "Requested token count exceeds the model's maximum context length of 4096 tokens",
        )
    ),
]

LOOK_ALIKES = [
    Case(429, said("Throttling error: Too many tokens, please wait before trying again."), "rate", "pair", 0.5),
    Case(503, said("Service unavailable: too many tokens"), "overloaded", "provider", None),
    Case(429, said("Rate limit reached: token limit exceeded for this minute"), "rate", "pair", 0.5),
    Case(429, said("This model's maximum context length is 8192 tokens."), "rate", "pair", 0.5),
    Case(
        429, said("You exceeded your current quota, please check your plan and billing details."), "rate", "pair", 0.5
    ),
]

LIMITS = [
    Case(429, coded("slow_down"), "overloaded", "provider", None),
    Case(429, coded("queue_exceeded"), "overloaded", "provider", None),
    Case(498, coded("capacity_exceeded"), "overloaded", "provider", None),
    Case(429, said("Service tier capacity exceeded for this model."), "overloaded", "provider", None),
    Case(429, said("We're experiencing high traffic right now!"), "overloaded", "provider", None),
    Case(503, said("The model is overloaded."), "overloaded", "provider", None),
    Case(429, said("Limited to 1000 API calls / month"), "quota", "pair", TO_DECEMBER),
    Case(429, said("5 requests per month, 1 per day. Try again in 20s"), "quota", "pair", TO_DECEMBER),
    *(
        Case(429, said(f"{words}. Please try again in 20s."), "quota", "pair", TO_MIDNIGHT)
        for words in (
            "Rate limit reached on tokens per day (TPD)",
            "Rate limit reached on requests (RPD)",
            "50/day",
            "daily limit",
            "free-models-per-day",
            "Violated duration_s: 86400",
            "10,000 neurons",
        )
    ),
    Case(
        429,
        said("x", details=[{"violations": [{"quotaId": "RequestsPerDay", "quotaValue": "2"}]}]),
        "quota",
        "pair",
        TO_MIDNIGHT,
    ),
    Case(429, said("Please try again in 20s."), "rate", "pair", 20.0),
    Case(429, said("Rate limit reached on requests per minute (RPM)."), "rate", "pair", 0.5),
    Case(429, b"", "rate", "pair", 0.5),
]

REQUEST = [
    Case(400, coded("content_filter"), "content", "request", None),
    Case(403, coded("content_policy_violation"), "content", "request", None),
    Case(400, said("Rejected for violating our usage policy."), "content", "request", None),
    Case(403, said("Content violates usage guidelines."), "content", "request", None),
    Case(400, said("Content Exists Risk"), "content", "request", None),
    Case(400, said("Output blocked by content filtering policy"), "content", "request", None),
    Case(404, coded("model_not_found"), "model", "pair", 600.0),
    Case(400, coded("invalid_model"), "model", "pair", 600.0),
    Case(403, coded("model_terms_required"), "model", "pair", 600.0),
    Case(404, said("The model `x` does not exist or you do not have access to it."), "model", "pair", 600.0),
    Case(404, {"detail": "Function '1-2': Not found for account 'a'"}, "model", "pair", 600.0),
    Case(403, said("Model not supported by provider hf-inference"), "model", "pair", 600.0),
    Case(400, said("Model Not Exist"), "model", "pair", None),
    Case(404, b"<html>404</html>", "model", "pair", 600.0),
    Case(410, b"", "model", "pair", 600.0),
    *(Case(status, b"", "permission", "pair", 900.0) for status in (401, 403, 407, 451)),
    *(Case(status, said("No."), "request", "request", None) for status in (400, 405, 415, 422, 431)),
]

FAULTS = [
    *(Case(status, b"", "timeout", "provider", None) for status in (408, 504, 522, 524)),
    *(Case(status, b"", "overloaded", "provider", None) for status in (503, 529)),
    *(Case(status, b"", "service", "provider", None) for status in (409, 424, 500, 501, 502, 520, 530)),
    *(Case(status, b"", "malformed", "provider", None) for status in (204, 301, 304, 418, 599)),
]

CASES = [*AUTH, *BILLING, *CONTEXT, *LOOK_ALIKES, *LIMITS, *REQUEST, *FAULTS]


def error_of(case: Case) -> Any:
    body = case.body if isinstance(case.body, bytes) else msgspec.json.encode(case.body)
    return read_error(case.status, body, {}, NOW_S)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.status} {index}" for index, case in enumerate(CASES)])
def test_an_answer_means_what_the_fact_sheet_says(case: Case) -> None:
    failure = GENERIC.classify(error_of(case), Moment(now_s=NOW_S))
    assert (failure.kind, failure.scope, failure.status) == (case.kind, case.scope, case.status)
    assert failure.until_s == (None if case.rest_s is None else NOW_S + case.rest_s)


def test_every_row_is_met_by_a_case() -> None:
    met = {id(GENERIC.row_for(error_of(case))) for case in CASES}
    assert [row for row in GENERIC_FAILURES if id(row) not in met] == []


@pytest.mark.parametrize("index", range(len(GENERIC_FAILURES)))
def test_every_row_says_why_it_stands_where_it_does(index: int) -> None:
    row = GENERIC_FAILURES[index]
    assert row.why
    assert row.code == tuple(code.lower() for code in row.code)
    assert row.rest in {"none", "hint", "day", "month", "manual"} or duration_s(row.rest) > 0
    assert row.rest_default == "backoff" or duration_s(row.rest_default) > 0


def test_the_last_row_matches_everything_and_no_other_does() -> None:
    *others, last = GENERIC_FAILURES
    assert (last.status, last.code, last.message, last.detail) == ((), (), "", "")
    assert last.kind is FailureKind.MALFORMED
    assert all(row.status or row.code or row.message or row.detail for row in others)


@pytest.mark.parametrize("status", range(400, 600))
def test_no_status_alone_kills_a_key(status: int) -> None:
    failure = GENERIC.classify(read_error(status, b"", {}, NOW_S), Moment(now_s=NOW_S))
    assert failure.until_s is None or failure.until_s < math.inf
