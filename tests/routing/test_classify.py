"""Classification, and real error bodies of the providers on their way from bytes to a failure.

The bodies are those of the fact sheet of providers, §2; `tests/upstream_catalogue/test_failure_tables.py` has every
row of every provider, on what is extracted from a body.
"""

import datetime as dt
import math
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.failures import Failure, FailureKind, FailureScope, ProviderError
from keyrelay.core.providers import FailureRow
from keyrelay.routing.classify import BACKOFF, Classifier, Moment, duration_s, rest_until
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.wire.errors import read_error
from tests.routing.helpers import NOW_S

CATALOGUE = load_catalogue()
NOON = Moment(now_s=NOW_S)

MINUTE, HOUR = 60.0, 3600.0
TO_MIDNIGHT_UTC = 12 * HOUR
TO_MIDNIGHT_PACIFIC = 20 * HOUR
TO_DECEMBER_UTC = 9.5 * 24 * HOUR
NEVER = math.inf


def row(rest: str = "none", rest_default: str = "30s") -> FailureRow:
    return FailureRow(kind=FailureKind.RATE, scope=FailureScope.PAIR, rest=rest, rest_default=rest_default)


def epoch_s(zone: str, *wall_clock: int) -> float:
    return dt.datetime(*wall_clock, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type, misc]


class TestRestUntil:
    def test_none_rests_nothing_and_manual_for_ever(self) -> None:
        assert rest_until(row("none"), 5.0, NOON) is None
        assert rest_until(row("manual"), 5.0, NOON) == math.inf

    @pytest.mark.parametrize(("rest", "seconds"), [("30s", 30.0), ("10m", 600.0), ("6h", 21_600.0), ("1d", 86_400.0)])
    def test_a_duration_is_one_whatever_the_hint(self, rest: str, seconds: float) -> None:
        assert rest_until(row(rest), None, NOON) == NOW_S + seconds
        assert rest_until(row(rest), 5.0, NOON) == NOW_S + seconds

    def test_a_hint_is_followed(self) -> None:
        assert rest_until(row("hint"), 45.5, NOON) == NOW_S + 45.5

    @pytest.mark.parametrize(("hint_s", "latest_s"), [(5.0, 5.5), (10.0, 11.0), (3600.0, 3601.0)])
    def test_returns_are_spread_by_a_tenth_and_at_most_a_second(self, hint_s: float, latest_s: float) -> None:
        until_s = rest_until(row("hint"), hint_s, Moment(now_s=NOW_S, random=1.0))
        assert until_s == pytest.approx(NOW_S + latest_s)

    def test_without_a_hint_the_rows_default_counts(self) -> None:
        assert rest_until(row("hint", "10m"), None, NOON) == NOW_S + 600

    @pytest.mark.parametrize(
        ("strikes", "longest_s"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (100_000, 60)]
    )
    def test_backing_off_doubles_with_each_strike_up_to_a_minute(self, strikes: int, longest_s: float) -> None:
        def after(random: float) -> float | None:
            return rest_until(row("hint", BACKOFF), None, Moment(now_s=NOW_S, strikes=strikes, random=random))

        assert after(1.0) == NOW_S + longest_s
        assert after(0.0) == NOW_S + longest_s / 2

    @pytest.mark.parametrize(
        ("zone", "seconds"),
        [("UTC", TO_MIDNIGHT_UTC), ("America/Los_Angeles", TO_MIDNIGHT_PACIFIC), ("Asia/Shanghai", 4 * HOUR)],
    )
    def test_a_day_ends_at_the_providers_midnight_whatever_the_hint(self, zone: str, seconds: float) -> None:
        assert rest_until(row("day"), 45.0, Moment(now_s=NOW_S, zone=zone)) == NOW_S + seconds
        assert rest_until(row("day"), None, Moment(now_s=NOW_S, zone=zone, random=0.5)) == NOW_S + seconds + 0.5

    @pytest.mark.parametrize(
        ("now", "end", "hours"),
        [
            ((2026, 3, 8, 0, 30), (2026, 3, 9), 22.5),  # the clocks go forward at two
            ((2026, 3, 8, 3, 30), (2026, 3, 9), 20.5),
            ((2026, 11, 1, 0, 30), (2026, 11, 2), 24.5),  # and back at two
            ((2026, 11, 1, 12, 0), (2026, 11, 2), 12.0),
            ((2026, 7, 1, 0, 0), (2026, 7, 2), 24.0),
            ((2026, 12, 31, 23, 59), (2027, 1, 1), 1 / 60),
        ],
    )
    def test_days_on_which_the_clocks_change(self, now: tuple[int, ...], end: tuple[int, ...], hours: float) -> None:
        zone = "America/Los_Angeles"
        now_s = epoch_s(zone, *now)
        until_s = rest_until(row("day"), 45.0, Moment(now_s=now_s, zone=zone))
        assert until_s == epoch_s(zone, *end)
        assert until_s - now_s == pytest.approx(hours * HOUR)

    @pytest.mark.parametrize(
        ("now", "end"),
        [((2025, 11, 21), (2025, 12, 1)), ((2025, 12, 31, 23, 59), (2026, 1, 1)), ((2028, 2, 29), (2028, 3, 1))],
    )
    @pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles"])
    def test_a_month_ends_with_the_providers_month(self, now: tuple[int, ...], end: tuple[int, ...], zone: str) -> None:
        assert rest_until(row("month"), 45.0, Moment(now_s=epoch_s(zone, *now), zone=zone)) == epoch_s(zone, *end)


class TestDuration:
    @given(st.integers(0, 999_999_999), st.sampled_from("smhd"))
    def test_it_is_read(self, amount: int, unit: str) -> None:
        assert duration_s(f"{amount}{unit}") == amount * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]

    @pytest.mark.parametrize("text", ["", "30", "s", "1.5s", "-1s", "30 s", "1w", "backoff", "9" * 400 + "d"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not one of 30s, 10m, 6h, 1d"):
            duration_s(text)


class TestClassifier:
    OWN = (
        FailureRow(kind=FailureKind.MODEL, scope=FailureScope.MODEL, status=(400, 404), code=("a", "b"), rest="6h"),
        FailureRow(kind=FailureKind.CONTENT, scope=FailureScope.REQUEST, message="un(safe|wise)"),
        FailureRow(kind=FailureKind.QUOTA, scope=FailureScope.PAIR, detail="PerDay", rest="day"),
        FailureRow(kind=FailureKind.SERVICE, scope=FailureScope.REQUEST, status=(500,)),
    )

    @pytest.mark.parametrize(
        ("error", "index"),
        [
            (ProviderError(status=404, codes=("b", "c")), 0),
            (ProviderError(status=400, codes=("x", "a"), message="unsafe"), 0),
            (ProviderError(status=404, codes=("x",), message="It is UNSAFE."), 1),
            (ProviderError(status=401, codes=("a",), message="unwise"), 1),
            (ProviderError(status=429, detail="RequestsPerDayPerModel=20"), 2),
            (ProviderError(status=429, detail="requestsperday", message="unsafe"), 1),
            (ProviderError(status=500), 3),
        ],
    )
    def test_the_first_row_whose_tests_all_hold_decides(self, error: ProviderError, index: int) -> None:
        assert Classifier(self.OWN).row_for(error) is self.OWN[index]

    def test_behind_its_own_rows_stand_the_generic_ones(self) -> None:
        error = ProviderError(status=404, message="gone")
        assert Classifier(self.OWN).row_for(error) is Classifier().row_for(error)

    def test_a_failure_says_what_was_said(self) -> None:
        error = ProviderError(status=404, codes=("b", "c"), message="No such model.", hint_s=5.0)
        assert Classifier(self.OWN).classify(error, NOON) == Failure(
            kind=FailureKind.MODEL,
            scope=FailureScope.MODEL,
            message="No such model.",
            status=404,
            code="b",
            until_s=NOW_S + 6 * HOUR,
            reached=False,
        )

    def test_without_a_word_it_names_the_status(self) -> None:
        failure = Classifier().classify(ProviderError(status=503), NOON)
        assert (failure.message, failure.code) == ("HTTP 503", "")

    @pytest.mark.parametrize(("should_retry", "kind"), [(None, "service"), (True, "service"), (False, "request")])
    def test_a_fault_of_the_request_that_must_not_be_tried_again_is_the_callers(
        self, *, should_retry: bool | None, kind: str
    ) -> None:
        error = ProviderError(status=500, should_retry=should_retry)
        assert Classifier(self.OWN).classify(error, NOON).kind == kind
        assert Classifier().classify(error, NOON).kind == "service"

    @pytest.mark.parametrize("kind", FailureKind)
    def test_what_a_provider_turned_away_at_the_door_used_nothing_up(self, kind: FailureKind) -> None:
        classifier = Classifier([FailureRow(kind=kind, scope=FailureScope.REQUEST)])
        turned_away = kind in {"auth", "permission", "model", "request", "context"}
        assert classifier.classify(ProviderError(status=400), NOON).reached is not turned_away

    def test_its_repr_counts_the_rows(self) -> None:
        generic = int(repr(Classifier()).split()[2])
        assert repr(Classifier(self.OWN)) == f"<Classifier of {generic + 4} rows>"


class Case(NamedTuple):
    provider: str
    status: int
    body: Any
    kind: str
    scope: str
    rest_s: float | None
    headers: dict[str, str] = {}


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
    Case("openai", 401, openai("Incorrect API key provided: sk-thisi****lkey.", "invalid_api_key"), "auth", "key", NEVER),
    Case("openai", 429, openai("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"), "billing", "account", 6 * HOUR),
    Case("openai", 429, openai("Limit.", "project_spend_limit_exceeded"), "billing", "key", TO_DECEMBER_UTC),
    Case("openai", 429, openai("Rate limit reached for gpt-6-luna in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, Requested 1200. Please try again in 3.89s.", "rate_limit_exceeded", "tokens"), "rate", "pair", 3.89),
    Case("openai", 429, openai("Rate limit reached.", "rate_limit_exceeded", "requests"), "rate", "pair", 2.5, {"retry-after-ms": "2500", "retry-after": "3"}),
    Case("openai", 429, openai("Request too large for gpt-6-luna on tokens per min (TPM): Limit 30000, Requested 41000.", "rate_limit_exceeded", "tokens"), "context", "request", None),
    Case("openai", 404, openai("The model `x` does not exist or you do not have access to it.", "model_not_found"), "model", "pair", 6 * HOUR),
    Case("openai", 400, openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded"), "context", "request", None),
    Case("openai", 400, openai("Your request was rejected.", "content_policy_violation"), "content", "request", None),
    Case("openai", 400, openai("Unknown parameter: 'API key invalid'.", None, param="x"), "request", "request", None),
    Case("openai", 500, openai("The server had an error.", None, "server_error"), "service", "provider", None),
    # Anthropic
    Case("anthropic", 401, anthropic("authentication_error", "invalid x-api-key"), "auth", "key", NEVER),
    Case("anthropic", 400, anthropic("invalid_request_error", "This organization has been disabled.", "organization_on_hold"), "auth", "account", NEVER),
    Case("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."), "billing", "account", 6 * HOUR),
    Case("anthropic", 429, anthropic("rate_limit_error", "Spend limit.", "enforced_spend_limit_reached"), "billing", "account", TO_DECEMBER_UTC),
    Case("anthropic", 429, anthropic("rate_limit_error", "Too fast."), "rate", "pair", 12.0, {"retry-after": "12"}),
    Case("anthropic", 404, anthropic("not_found_error", "model: x"), "model", "model", 6 * HOUR),
    Case("anthropic", 400, anthropic("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"), "context", "request", None),
    Case("anthropic", 413, anthropic("request_too_large", "Request exceeds the maximum size"), "context", "request", None),
    Case("anthropic", 500, anthropic("api_error", "Internal server error"), "service", "provider", None),
    # Gemini
    Case("gemini", 400, gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason("API_KEY_INVALID")), "auth", "key", NEVER),
    Case("gemini", 400, [gemini(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.")], "auth", "key", NEVER),
    Case("gemini", 403, gemini(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."), "auth", "key", NEVER),
    Case("gemini", 403, gemini(403, "PERMISSION_DENIED", "Permission denied.", reason("CONSUMER_SUSPENDED")), "auth", "account", NEVER),
    Case("gemini", 402, gemini(402, "RESOURCE_EXHAUSTED", "Your Prepay credit balance is depleted"), "billing", "account", 6 * HOUR),
    Case("gemini", 429, gemini_quota(PER_DAY), "quota", "pair", TO_MIDNIGHT_PACIFIC),
    Case("gemini", 429, gemini_quota(PER_MINUTE, PER_DAY), "quota", "pair", TO_MIDNIGHT_PACIFIC, {"retry-after": "1"}),
    Case("gemini", 429, gemini_quota(PER_MINUTE), "rate", "pair", 45.0),
    Case("gemini", 429, gemini_quota(TOKENS_PER_MINUTE, delay="7s"), "rate", "pair", 7.0),
    Case("gemini", 429, gemini_quota((PER_DAY[0], "0")), "model", "pair", 24 * HOUR),
    Case("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", GEMINI_SENTENCE), "rate", "pair", 45.578569677),
    Case("gemini", 404, gemini(404, "NOT_FOUND", "models/x is not found for API version v1beta, or is not supported for generateContent."), "model", "model", 6 * HOUR),
    Case("gemini", 400, gemini(400, "INVALID_ARGUMENT", "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."), "context", "request", None),
    Case("gemini", 503, gemini(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), "overloaded", "model", 30.0),
    Case("gemini", 500, gemini(500, "INTERNAL", "An internal error has occurred."), "service", "provider", None),
    Case("gemini", 400, gemini(400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "x".'), "request", "request", None),
    # DeepSeek
    Case("deepseek", 401, openai("Authentication Fails, Your api key: ****lkey is invalid", "invalid_request_error", "authentication_error"), "auth", "key", NEVER),
    Case("deepseek", 402, openai("Insufficient Balance", "invalid_request_error", "unknown_error"), "billing", "account", 6 * HOUR),
    Case("deepseek", 400, openai("Content Exists Risk", "invalid_request_error"), "content", "request", None),
    Case("deepseek", 400, openai("Model Not Exist", "invalid_request_error"), "model", "model", 6 * HOUR),
    # Groq
    Case("groq", 401, openai("Invalid API Key", "invalid_api_key"), "auth", "key", NEVER),
    Case("groq", 400, openai("Organization has been restricted.", "organization_restricted"), "auth", "account", NEVER),
    Case("groq", 429, openai(GROQ_DAY, "rate_limit_exceeded", "tokens"), "quota", "pair", 578.016),
    Case("groq", 413, openai(GROQ_TOO_LARGE, "rate_limit_exceeded", "tokens"), "context", "request", None),
    Case("groq", 400, openai("The model `x` has been decommissioned.", "model_decommissioned"), "model", "model", 24 * HOUR),
    # Mistral
    Case("mistral", 401, {"detail": "Invalid API Key"}, "auth", "key", NEVER),
    Case("mistral", 401, {"message": "Unauthorized", "request_id": "x"}, "auth", "key", NEVER),
    Case("mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, "model", "model", 6 * HOUR),
    Case("mistral", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs are not permitted", "input": "API key invalid, out of credits"}]}, "request", "request", None),
    # Cohere
    Case("cohere", 401, {"id": "x", "message": "invalid api token"}, "auth", "key", NEVER),
    Case("cohere", 429, {"id": "x", "message": COHERE_TRIAL.format("1000 API calls / month")}, "quota", "account", TO_DECEMBER_UTC),
    Case("cohere", 429, {"id": "x", "message": COHERE_TRIAL.format("20 API calls / minute")}, "rate", "pair", MINUTE),
    Case("cohere", 402, {"id": "x", "message": "Maximum billing reached for this API key; it will reset at the beginning of next month"}, "billing", "account", TO_DECEMBER_UTC),
    # AI21, Hugging Face
    Case("ai21", 422, {"detail": "Unprocessable"}, "request", "request", None),
    Case("huggingface", 401, {"error": "Invalid credentials in Authorization header"}, "auth", "key", NEVER),
    Case("huggingface", 402, {"error": "You have depleted your monthly included credits."}, "billing", "account", TO_DECEMBER_UTC),
    Case("huggingface", 400, openai("The requested model 'x' does not exist.", "model_not_found"), "model", "model", 6 * HOUR),
    # OpenRouter
    Case("openrouter", 401, openrouter(401, "User not found."), "auth", "key", NEVER),
    Case("openrouter", 402, openrouter(402, "Too much.", limit_source="in_flight_budget_exhausted"), "rate", "key", 3.0, {"retry-after": "3"}),
    Case("openrouter", 402, openrouter(402, "You requested up to 8192 tokens, but can only afford 12"), "context", "request", None),
    Case("openrouter", 403, openrouter(403, "Budget exceeded.", limit_source="openrouter_workspace_budget", resets_at="2025-11-21T13:00:00Z"), "billing", "key", HOUR),
    Case("openrouter", 403, openrouter(403, "Your input was flagged.", reasons=["violence"]), "content", "request", None),
    Case("openrouter", 429, openrouter(429, "Rate limit exceeded: free-models-per-day. Add 10 credits.", headers={"X-RateLimit-Reset": "1763769600000"}), "quota", "pair", TO_MIDNIGHT_UTC),
    Case("openrouter", 429, openrouter(429, "Rate limit exceeded: free-models-per-min. ", headers={"X-RateLimit-Reset": f"{(NOW_S + 40) * 1000:.0f}"}), "rate", "pair", 40.0),
    Case("openrouter", 429, openrouter(429, "Provider returned error", raw="your API key is invalid, out of credits"), "overloaded", "model", 30.0),
    # Cerebras
    Case("cerebras", 401, cerebras("Wrong API Key", "wrong_api_key", "invalid_request_error", "api_key"), "auth", "key", NEVER),
    Case("cerebras", 402, cerebras("Please add a payment method.", "payment_required", "payment_required_error"), "billing", "account", 6 * HOUR),
    Case("cerebras", 429, cerebras("We're experiencing high traffic right now!", "queue_exceeded", "too_many_requests_error", "queue"), "overloaded", "provider", 30.0),
    Case("cerebras", 429, cerebras("Requests per minute limit exceeded - too many requests sent.", "request_quota_exceeded", "too_many_requests_error"), "rate", "pair", 30.5, {"x-ratelimit-remaining-requests-minute": "0", "x-ratelimit-reset-requests-minute": "30.5"}),
    Case("cerebras", 400, cerebras("Please reduce the length of the messages or completion.", "context_length_exceeded", "invalid_request_error"), "context", "request", None),
    # SambaNova, Together, Fireworks
    Case("sambanova", 429, openai("Request would exceed rate limit. Violated duration_s: 60, current usage: 20, limit: 20"), "rate", "pair", MINUTE),
    Case("together", 403, openai("The input (265330 tokens) is longer than the model's context length (262144 tokens).", None, id="x"), "context", "request", None),
    Case("together", 402, openai("Credit limit exceeded.", None, "credit_limit", id="x"), "billing", "account", 6 * HOUR),
    Case("fireworks", 412, {"error": {"message": "Account x is suspended, possibly due to reaching the monthly spending limit", "code": "PRECONDITION_FAILED"}}, "billing", "account", 6 * HOUR),
    # xAI
    Case("xai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***na."}, "auth", "key", NEVER),
    Case("xai", 403, {"code": "permission-denied", "error": XAI_CREDITS}, "billing", "account", 6 * HOUR),
    Case("xai", 429, {"code": "resource-exhausted", "error": XAI_CREDITS}, "billing", "account", 6 * HOUR),
    Case("xai", 400, {"code": "invalid-argument", "error": "This model's maximum prompt length is 500000 but the request contains 637815 tokens."}, "context", "request", None),
    # NVIDIA
    Case("nvidia", 404, {"status": 404, "title": "Not Found", "detail": "Function '1-2': Not found for account 'a'"}, "model", "pair", 24 * HOUR),
    Case("nvidia", 403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}, "permission", "pair", 10 * MINUTE),
    Case("nvidia", 410, b"", "model", "model", 24 * HOUR),
    # Cloudflare
    Case("cloudflare", 401, cloudflare(10000, "Authentication error"), "auth", "key", NEVER),
    Case("cloudflare", 429, cloudflare(3036, "You have used up your daily free allocation of 10,000 neurons"), "quota", "account", TO_MIDNIGHT_UTC),
    Case("cloudflare", 429, cloudflare(3040, "Out of capacity"), "overloaded", "model", 30.0),
    # DeepInfra, Perplexity
    Case("deepinfra", 402, {"detail": {"error": "You need positive balance to do inference."}}, "billing", "account", 6 * HOUR),
    Case("perplexity", 401, PERPLEXITY_PAGE, "auth", "key", 6 * HOUR),
    # Azure
    Case("azure", 400, {"error": {"code": "content_filter", "message": "No.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content", "request", None),
    Case("azure", 429, {"error": {"code": "429", "message": "Requests have exceeded the rate limit. Please retry after 6 seconds."}}, "rate", "pair", 6.0),
    Case("azure", 404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}, "model", "pair", 5 * MINUTE),
    # Ollama, vLLM, llama.cpp
    Case("ollama", 404, {"error": "model 'x' not found"}, "model", "model", 30.0),
    Case("openai_compatible", 400, openai("This model's maximum context length is 4096 tokens.", 400, "BadRequestError"), "context", "request", None),
    Case("openai_compatible", 400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}, "context", "request", None),
]  # fmt: skip


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
