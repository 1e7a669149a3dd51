from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyrelay.core.failures import ProviderError
from keyrelay.core.limits import ScopePart, Unit, parse_window
from keyrelay.wire.errors import read_error
from keyrelay.wire.limit_errors import organisation, read_limit, read_named_limits
from keyrelay.wire.limit_headers import MOST, LimitWord

NOW_S = 1_763_726_400.0
DAY = parse_window("day@America/Los_Angeles")
ZONE = "America/Los_Angeles"
ROLLING_DAY = "86400s"
ACCOUNT = (ScopePart.ACCOUNT,)

Told = tuple[str, str, int | None, int | None]
"""Unit, window, amount, remaining."""


def error(message: str = "", *, status: int = 429, codes: tuple[str, ...] = (), detail: str = "") -> ProviderError:
    return ProviderError(status=status, message=message, codes=codes, detail=detail)


def told(word: LimitWord) -> Told:
    return str(word.unit), str(word.window), word.amount, word.remaining


class Case(NamedTuple):
    name: str
    body: Any
    told: list[Told]
    status: int = 429


def wrapped(message: str, kind: str = "", code: str = "") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def gemini(*quotas: tuple[str, str]) -> Any:
    violations = [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": quota_id,
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": value,
        }
        for quota_id, value in quotas
    ]
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45s"},
    ]
    message = "You exceeded your current quota, please check your plan and billing details. Please retry in 45.57s."
    return [{"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}]


TRIAL = "You are using a Trial key, which is limited to {}. You can continue to use the Trial key for free."

CASES = [
    Case(
        "openai",
        wrapped(
            "Rate limit reached for gpt-4o in organization org-abc on tokens per min (TPM): Limit 30000, Used 28000, "
            "Requested 5000. Please try again in 6s.",
            "tokens",
            "rate_limit_exceeded",
        ),
        [("tokens", "60s", 30_000, 2000)],
    ),
    Case(
        "openai day",
        wrapped("Rate limit reached for o3 in organization org-a on requests per day (RPD): Limit 200, Used 200."),
        [("requests", str(DAY), 200, 0)],
    ),
    Case(
        "openai bare", wrapped("Rate limit reached.", "tokens", "rate_limit_exceeded"), [("tokens", "None", None, None)]
    ),
    Case("openai billing", wrapped("You exceeded your current quota.", "insufficient_quota"), []),
    Case(
        "groq",
        wrapped(
            "Rate limit reached for model `x` in organization `org_1` service tier `on_demand` on tokens per day "
            "(TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.",
        ),
        [("tokens", str(DAY), 100_000, 2950)],
    ),
    Case(
        "groq, never fits",
        wrapped(
            "Request too large for model `x` in organization `org_1` on tokens per minute (TPM): Limit 6000, "
            "Requested 14368"
        ),
        [("tokens", "60s", 6000, None)],
        413,
    ),
    Case(
        "gemini day and minute",
        gemini(
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "5"),
            ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20"),
        ),
        [("requests", str(DAY), 20, 0), ("requests", "60s", 5, 0)],
    ),
    Case(
        "gemini tokens",
        gemini(("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000")),
        [("input_tokens", "60s", 250_000, None)],
    ),
    Case("gemini, none in this tier", gemini(("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0")), []),
    Case("gemini without value", gemini(("GenerateRequestsPerDayPerProject", "")), [("requests", str(DAY), None, 0)]),
    Case("gemini, another unit", gemini(("ImagesPerDayPerProject", "5")), []),
    Case(
        "cerebras",
        {
            "message": "Tokens per minute limit exceeded - too many tokens processed.",
            "type": "too_many_tokens_error",
            "param": "quota",
            "code": "token_quota_exceeded",
        },
        [("tokens", "60s", None, None)],
    ),
    Case(
        "cerebras hour",
        {"message": "Requests per hour limit exceeded - too many requests sent.", "code": "request_quota_exceeded"},
        [("requests", "3600s", None, 0)],
    ),
    Case(
        "sambanova",
        wrapped("Request would exceed rate limit. Violated duration_s: 86400, current usage: 196279, limit: 200000"),
        [("None", ROLLING_DAY, 200_000, 3721)],
    ),
    Case(
        "cohere month",
        {"id": "1", "message": TRIAL.format("1000 API calls / month")},
        [("requests", f"month@{ZONE}", 1000, 0)],
    ),
    Case("cohere minute", {"id": "1", "message": TRIAL.format("20 API calls / minute")}, [("requests", "60s", 20, 0)]),
    Case(
        "cohere tokens",
        {"message": "trial token rate limit exceeded, limit is 100000 tokens per minute"},
        [("tokens", "60s", 100_000, None)],
    ),
    Case(
        "cohere production",
        {"message": "You are past the per minute request limit, please wait."},
        [("requests", "60s", None, 0)],
    ),
    Case(
        "anthropic",
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "This request would exceed your organization's rate limit of 40,000 input tokens per minute",
            },
        },
        [("input_tokens", "60s", 40_000, None)],
    ),
    Case(
        "openrouter",
        {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day. Add 10 credits", "metadata": {}}},
        [("requests", str(DAY), None, 0)],
    ),
    Case("openrouter minute", wrapped("Rate limit exceeded: free-models-per-min."), [("requests", "60s", None, 0)]),
    Case("mistral", {"object": "error", "message": "Rate limit exceeded", "code": "1300"}, []),
    Case("mistral requests", {"message": "Requests rate limit exceeded"}, [("requests", "None", None, 0)]),
    Case(
        "xai",
        {"code": "resource-exhausted", "error": "Your team's rate limit is 60 requests per min (RPM)."},
        [("requests", "60s", 60, 0)],
    ),
    Case("together", wrapped("You have been rate limited. Your limit is 60 RPM."), [("requests", "60s", 60, 0)]),
    Case(
        "github",
        wrapped(
            "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 12345 seconds before retrying."
        ),
        [("None", ROLLING_DAY, 50, None)],
    ),
    Case(
        "cloudflare",
        {
            "success": False,
            "errors": [
                {
                    "code": 4006,
                    "message": "you have used up your daily free allocation of 10,000 neurons, please upgrade",
                }
            ],
        },
        [("units", str(DAY), 10_000, 0)],
    ),
    Case(
        "huggingface",
        {"error": "You have depleted your monthly included credits. Purchase pre-paid credits to continue."},
        [("usd_micros", f"month@{ZONE}", None, None)],
        402,
    ),
    Case(
        "ollama",
        {
            "error": "you (user) have reached your weekly usage limit, upgrade for higher limits: https://ollama.com/upgrade"
        },
        [("None", f"week@{ZONE}", None, None)],
    ),
    Case("nvidia", {"status": 429, "title": "Too Many Requests"}, []),
    Case("a marker alone", wrapped("quota exceeded: 3 / day"), [("None", str(DAY), None, None)]),
    Case("an absurd window", wrapped("Violated duration_s: 0, current usage: 5, limit: 4"), [("None", "None", 4, 0)]),
    Case("an absurd amount", wrapped(f"limited to {10**18} requests per minute"), [("requests", "60s", None, 0)]),
    Case("a limit of nothing", wrapped("limited to 0 requests per minute"), [("requests", "60s", None, 0)]),
    Case("a status that is no limit's", wrapped("limited to 5 requests per minute"), [], 400),
    Case("another one", wrapped("limited to 5 requests per minute"), [], 500),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_real_refusals_are_read(case: Case) -> None:
    found = read_error(case.status, msgspec.json.encode(case.body), {}, NOW_S)
    words = read_named_limits(found, day=DAY, zone=ZONE)
    assert [told(word) for word in words] == case.told
    assert read_limit(found, day=DAY, zone=ZONE) == (words[0] if words else None)


def test_a_day_may_be_the_last_24_hours() -> None:
    word = read_limit(error("on requests per day (RPD): Limit 5"), day=parse_window("24h"))
    assert word is not None
    assert str(word.window) == ROLLING_DAY


def test_several_quotas_at_once_begin_with_the_longest() -> None:
    ids = ("RequestsPerMinute=1", "RequestsPerMonth=4", "RequestsPerHour=2", "RequestsPerDay=3", "RequestsPerSecond=9")
    words = read_named_limits(error(detail=" ".join(ids)), day=DAY)
    assert [word.amount for word in words] == [4, 3, 2, 1, 9]


def test_openrouters_amount_stands_in_the_headers() -> None:
    refusal = error("Rate limit exceeded: free-models-per-day-high-balance.")
    word = read_limit(refusal, day=DAY, headers={"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0"})
    assert word is not None
    assert (told(word), word.scope_hint) == (("requests", str(DAY), 1000, 0), ACCOUNT)


@pytest.mark.parametrize(
    ("quota", "scope"),
    [("RequestsPerDayPerProject=5", ACCOUNT), ("RequestsPerDayPerProjectPerModel=5", (*ACCOUNT, ScopePart.MODEL))],
)
def test_what_a_quota_binds_stands_in_its_name(quota: str, scope: tuple[ScopePart, ...]) -> None:
    word = read_limit(error(detail=quota), day=DAY)
    assert word is not None
    assert word.scope_hint == scope


@pytest.mark.parametrize(
    ("refusal", "headers", "names", "named"),
    [
        (None, {"openai-organization": " acme "}, ("openai-organization",), "acme"),
        (None, {"openai-organization": "acme"}, (), ""),
        (None, {}, ("openai-organization",), ""),
        (None, {"x-org": "o" * 300}, ("x-org",), "o" * 100),
        (error("Rate limit reached for gpt-4o in organization org-Ab12 on tokens"), {}, (), "org-Ab12"),
        (error("for model `x` in organization `org_01kx` service tier"), {}, (), "org_01kx"),
        (
            error("the rate limit for your organization (3fa85f64-5717-4562-b3fc-2c963f66afa6) of 40,000 tokens"),
            {},
            (),
            "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        ),
        (error("Your team 7f-a1 has either used all available credits", status=403), {}, (), "7f-a1"),
        (error("Your team has no credits", status=403), {}, (), ""),
        (error("Function 'x': Not found for account 'acct 9'", status=404), {}, (), "acct 9"),
        (
            error("Permission denied: Consumer 'projects/123456789' has been suspended.", status=403),
            {},
            (),
            "123456789",
        ),
        (error(detail="consumer=projects/123456789 PerDay=5"), {}, (), "123456789"),
        (error("in organization org-mine", status=400), {}, (), ""),
        (error("in organization org-mine", status=422), {}, (), ""),
        (error("your organization's rate limit"), {}, (), ""),
    ],
)
def test_whose_key_it_was(
    refusal: ProviderError | None, headers: dict[str, str], names: tuple[str, ...], named: str
) -> None:
    assert organisation(headers, refusal, names) == named


WORDS = st.lists(
    st.sampled_from(
        [
            "Limit",
            "limit:",
            "on",
            "tokens",
            "requests",
            "per",
            "/",
            "day",
            "min",
            "(TPM):",
            "30000,",
            "Used",
            "1,000",
            "-1",
            "1e12",
            "86400s",
            "duration_s:",
            "0",
            "free-models-per-",
            "monthly",
            "٣",
            "RPD",
            "organization",
            "org-1",
            "NaN",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(
    message=st.one_of(st.text(max_size=300), WORDS),
    detail=st.one_of(st.text(max_size=100), st.from_regex(r"(Requests|Tokens)Per(Day|Minute)=[0-9]*", fullmatch=True)),
    codes=st.lists(st.sampled_from(["tokens", "requests", "x"]), max_size=2).map(tuple),
    status=st.sampled_from([402, 403, 413, 429]),
    headers=st.dictionaries(st.just("x-ratelimit-limit"), st.text(max_size=20)),
)
@example(message="on requests per day: Limit " + "9" * 900, detail="", codes=(), status=429, headers={})
def test_no_refusal_is_able_to_do_harm(
    message: str, detail: str, codes: tuple[str, ...], status: int, headers: dict[str, str]
) -> None:
    refusal = error(message, status=status, codes=codes, detail=detail)
    for word in read_named_limits(refusal, day=DAY, headers=headers):
        assert word.amount is None or 1 <= word.amount <= MOST
        assert word.remaining is None or 0 <= word.remaining <= MOST
        assert word.window is None or parse_window(str(word.window)) == word.window
        assert word.unit is None or word.unit in Unit
    assert isinstance(organisation(headers, refusal, ("x-ratelimit-limit",)), str)
