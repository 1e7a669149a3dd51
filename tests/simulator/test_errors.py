"""Each provider's own refusals, and how they reach the wire."""

import datetime as dt
import json
from typing import Any, get_args

import pytest

from keyrelay.simulator import KeyPlan, ProviderPlan
from keyrelay.simulator.errors import VOICES, refusal
from keyrelay.simulator.errors.reasons import ErrorCase
from keyrelay.simulator.exchange import _NO_LIMIT
from tests.simulator.helpers import Bench, chat, per, row

PROVIDERS = (*VOICES, "openai_compatible")
FACTS = {
    **_NO_LIMIT, "id": "1", "org": "org", "model": "m", "key_masked": "k", "input": 1, "context": 2, "over": 3,
    "field": "f", "problem": "p", "method": "GET", "path": "/",
}  # fmt: skip


@pytest.mark.parametrize("case", get_args(ErrorCase))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_words_for_every_case(provider: str, case: ErrorCase) -> None:
    no = refusal(provider, case, FACTS)
    assert 400 <= no.status < 600
    assert b"{unit" not in no.body
    assert b"={" not in no.body
    if no.headers[0][1] == "application/json":
        json.loads(no.body)


@pytest.mark.parametrize(
    ("provider", "case", "status", "path", "value"),
    [
        ("openai", "invalid_key", 401, ("error", "code"), "invalid_api_key"),
        ("openai", "no_credit", 429, ("error", "code"), "insufficient_quota"),
        ("groq", "banned", 400, ("error", "code"), "organization_restricted"),
        ("groq", "too_large", 413, ("error", "type"), "requests"),
        ("gemini", "invalid_key", 400, (0, "error", "details", 0, "reason"), "API_KEY_INVALID"),
        ("gemini", "leaked", 403, (0, "error", "status"), "PERMISSION_DENIED"),
        ("gemini", "no_credit", 402, (0, "error", "status"), "RESOURCE_EXHAUSTED"),
        ("anthropic", "overloaded", 529, ("error", "type"), "overloaded_error"),
        ("anthropic", "month", 429, ("error", "details", "error_code"), "enforced_spend_limit_reached"),
        ("cerebras", "invalid_key", 401, ("code",), "wrong_api_key"),
        ("mistral", "invalid_key", 401, ("detail",), "Invalid API Key"),
        ("mistral", "rate", 429, ("raw_status_code",), 429),
        ("mistral", "malformed", 422, ("detail", 0, "loc"), ["body", "f"]),
        ("cohere", "invalid_key", 401, ("message",), "invalid api token"),
        ("xai", "invalid_key", 400, ("code",), "Client specified an invalid argument"),
        ("nvidia", "banned", 403, ("title",), "Forbidden"),
        ("openrouter", "day", 429, ("error", "code"), 429),
        ("huggingface", "invalid_key", 401, ("error",), "Invalid credentials in Authorization header"),
        ("fireworks", "no_credit", 412, ("error", "code"), "PRECONDITION_FAILED"),
        ("deepseek", "no_credit", 402, ("error", "message"), "Insufficient Balance"),
        ("cloudflare", "day", 429, ("errors", 0, "code"), 4006),
        ("together", "context", 403, ("id",), "1"),
        ("sambanova", "invalid_key", 401, ("request_id",), "1"),
        ("vllm", "unknown_model", 404, ("error", "code"), 404),
        ("deepinfra", "rate", 429, ("detail", "error"), "Model busy, retry later"),
    ],
)  # fmt: skip
def test_the_discriminators(provider: str, case: ErrorCase, status: int, path: tuple[Any, ...], value: Any) -> None:
    no = refusal(provider, case, FACTS)
    found = json.loads(no.body)
    for part in path:
        found = found[part]
    assert (no.status, found) == (status, value)


def test_perplexity_answers_with_a_page() -> None:
    no = refusal("perplexity", "invalid_key", FACTS)
    assert no.headers[0] == ("content-type", "text/html")
    assert b"openresty" in no.body


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        ("invalid", 400, "API key not valid"),
        ("leaked", 403, "reported as leaked"),
        ("banned", 403, "CONSUMER_SUSPENDED"),
        ("no_credit", 402, "Prepay credit"),
        ("no_permission", 403, "API_KEY_SERVICE_BLOCKED"),
        ("exhausted_day", 429, "PerDay"),
    ],
)
async def test_a_key_in_a_bad_state(state: Any, status: int, text: str) -> None:
    plan = ProviderPlan(keys={"sim-a": state})
    async with Bench(row("gemini", day_zone="America/Los_Angeles"), gemini=plan) as bench:
        answer = await bench.ask("gemini", path="/v1beta/openai/chat/completions")
        assert answer.status == status
        assert text in answer.body.decode()
        assert isinstance(answer.json, list)


async def test_a_key_used_up_for_the_day_returns_at_midnight_in_the_providers_zone() -> None:
    plan = ProviderPlan(keys={"sim-a": "exhausted_day"})
    async with Bench(row("gemini", day_zone="America/Los_Angeles"), gemini=plan) as bench:
        bench.clock.advance(12 * 3600 - 1)
        assert (await bench.ask("gemini")).status == 429
        bench.clock.advance(1)
        assert (await bench.ask("gemini")).status == 200


async def test_geminis_daily_refusal_hides_its_reset_behind_a_short_hint() -> None:
    limits = (per(1, "day@America/Los_Angeles"),)
    async with Bench(row("gemini", limits=limits)) as bench:
        await bench.ask("gemini")
        error = (await bench.ask("gemini")).json[0]["error"]
        quota, _, retry = error["details"]
        assert quota["violations"][0]["quotaId"] == "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
        assert quota["violations"][0]["quotaValue"] == "1"
        assert retry["retryDelay"] == "46s"


async def test_a_minutes_refusal_says_truly_when_to_come_back() -> None:
    async with Bench(row("groq", limits=(per(1, "60s"),))) as bench:
        await bench.ask("groq")
        bench.clock.advance(20.5)
        answer = await bench.ask("groq")
        assert answer.headers["retry-after"] == "40"
        assert "requests per min (RPM): Limit 1, Used 1, Requested 1" in answer.json["error"]["message"]
        assert "try again in 39.5s" in answer.json["error"]["message"]


async def test_a_request_larger_than_the_whole_minute() -> None:
    async with Bench(row("groq", limits=(per(10, "60s", "tokens"),))) as bench:
        answer = await bench.ask("groq", chat(content="x" * 400))
        assert answer.status == 413
        assert answer.json["error"]["type"] == "tokens"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (chat("unknown"), 404, "model_not_found"),
        (chat(content="x" * 5000), 400, "context_length_exceeded"),
        (chat(content="say [[blocked]]"), 400, "content_policy_violation"),
        ({"model": "small"}, 400, "'messages' is a required property"),
        ({"messages": [{"role": "user", "content": "x"}]}, 400, "model parameter"),
        (b"{nonsense", 400, "parse"),
    ],
)
async def test_a_request_that_cannot_be_served(body: Any, status: int, text: str) -> None:
    async with Bench(row("openai")) as bench:
        answer = await bench.send("openai", body)
        assert answer.status == status
        assert text in answer.body.decode()


async def test_gemini_answers_forbidden_content_with_an_empty_answer() -> None:
    async with Bench(row("gemini")) as bench:
        answer = await bench.ask("gemini", chat(content="[[blocked]]"))
        assert answer.json["choices"][0]["finish_reason"] == "content_filter"


async def test_missing_and_unknown_keys() -> None:
    plan = ProviderPlan(accept_unknown_keys=False, keys={"sim-a": "ok"})
    async with Bench(row("openai"), openai=plan) as bench:
        assert "didn't provide an API key" in (await bench.ask("openai", key="")).json["error"]["message"]
        answer = await bench.ask("openai", key="sk-proj-wrongwrongwrong")
        assert answer.status == 401
        assert "wrongwrongwrong" not in answer.body.decode()


async def test_a_restricted_key_serves_its_models_only() -> None:
    plan = ProviderPlan(keys={"sim-a": KeyPlan(state="restricted_model", models=("thinker",))})
    async with Bench(row("openai"), openai=plan) as bench:
        assert (await bench.ask("openai")).status == 403
        assert (await bench.ask("openai", chat("thinker"))).status == 200


async def test_unknown_paths_are_refused_in_the_providers_shape() -> None:
    async with Bench(row("mistral")) as bench:
        answer = await bench.send("mistral", {}, path="/v1/nonsense")
        assert (answer.status, answer.json["object"]) == (404, "error")


async def test_openrouters_epoch_is_in_milliseconds_on_429_only() -> None:
    async with Bench(row("openrouter", limits=(per(1, "60s"),))) as bench:
        assert "x-ratelimit-limit" not in (await bench.ask("openrouter")).headers
        answer = await bench.ask("openrouter")
        reset = int(answer.headers["x-ratelimit-reset"]) / 1000
        assert dt.datetime.fromtimestamp(reset, dt.UTC) == dt.datetime(2026, 11, 21, 20, 1, tzinfo=dt.UTC)
