"""The wire format, as OpenAI's own SDK and a raw client see it."""

import asyncio
import base64
import json
import math
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from keyrelay.core.providers import StreamRow
from keyrelay.simulator import Latency, ProviderPlan
from tests.simulator.helpers import Bench, chat, per, row

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 12},
                "days": {"type": "integer", "minimum": 2, "maximum": 4},
                "unit": {"enum": ["C", "F"]},
            },
            "required": ["city", "days"],
        },
    },
}
HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    rows = (
        row("openai", "https://api.openai.com/v1"),
        row("deepseek", "https://api.deepseek.com"),
        row("xai", stream=StreamRow(usage="always")),
        row("groq", "https://api.groq.com/openai/v1"),
        row("openrouter", stream=StreamRow(usage="always")),
        row("gemini", "https://generativelanguage.googleapis.com", native_dialect="gemini"),
        row("together"),
        row("quiet", stream=StreamRow(usage="never")),
    )
    async with Bench(*rows) as bench:
        yield bench


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="sim-a", base_url=bench.simulator.base_url("openai"), max_retries=0
    ) as client:
        yield client


async def test_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="small", messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"
    text = answer.choices[0].message.content or ""
    assert text.endswith(".")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(text.split())
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_bounds(client: openai.AsyncOpenAI) -> None:
    short = await client.chat.completions.create(model="small", messages=HELLO, max_completion_tokens=5)
    assert short.choices[0].finish_reason == "length"
    words = (short.choices[0].message.content or "").split()
    assert len(words) == 5
    stopped = await client.chat.completions.create(model="small", messages=HELLO, stop=["."])
    assert "." not in (stopped.choices[0].message.content or ".")
    assert stopped.choices[0].finish_reason == "stop"


async def test_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="small", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(text.split())
    assert all(c.usage is None for c in chunks[:-1])


async def test_a_required_tool_is_called(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="small", messages=HELLO, tools=[WEATHER], tool_choice="required"
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    call: Any = (answer.choices[0].message.tool_calls or [])[0]
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather"
    assert 2 <= arguments["days"] <= 4
    assert len(arguments["city"]) >= 12
    assert arguments["unit"] in ("C", "F")


@pytest.mark.parametrize(
    ("content", "choice", "called"),
    [
        ("hello", "auto", False),
        ("please use get_weather", "auto", True),
        ("please use get_weather", "none", False),
        ("hello", {"type": "function", "function": {"name": "get_weather"}}, True),
    ],
)
async def test_when_a_tool_is_called(bench: Bench, content: str, choice: Any, called: bool) -> None:
    answer = await bench.ask("openai", chat(content=content, tools=[WEATHER], tool_choice=choice))
    assert ("tool_calls" in answer.json["choices"][0]["message"]) is called


async def test_after_a_tools_result_the_model_answers(bench: Bench) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [*HELLO, asked, {"role": "tool", "tool_call_id": "x", "content": "get_weather says rain"}]
    answer = await bench.ask("openai", {"model": "small", "messages": messages, "tools": [WEATHER]})
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert '"get_weather says rain"' in answer.json["choices"][0]["message"]["content"]


async def test_tool_calls_come_in_fragments(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="small", messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True
    )
    deltas = [call for chunk in [c async for c in stream] for call in chunk.choices[0].delta.tool_calls or []]
    assert deltas[0].id
    assert [d.id for d in deltas[1:]] == [None] * (len(deltas) - 1)
    assert len(deltas) > 3
    assert {d.index for d in deltas} == {0}
    assert "city" in json.loads("".join(d.function.arguments or "" for d in deltas if d.function))


async def test_json_modes(client: openai.AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}},
        "required": ["name", "tags"],
        "$defs": {"tag": {"enum": ["a", "b"]}},
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    answer = await client.chat.completions.create(model="small", messages=HELLO, response_format=wanted)
    thing = json.loads(answer.choices[0].message.content or "")
    assert set(thing["tags"]) <= {"a", "b"}
    plain = await client.chat.completions.create(model="small", messages=HELLO, response_format={"type": "json_object"})
    assert isinstance(json.loads(plain.choices[0].message.content or ""), dict)


async def test_legacy_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="small", prompt="Once", max_tokens=7)
    assert answer.object == "text_completion"
    assert len(answer.choices[0].text.split()) == 7
    stream = await client.completions.create(model="small", prompt="Once", max_tokens=7, stream=True)
    assert len("".join([c.choices[0].text async for c in stream]).split()) == 7


async def test_embeddings(client: openai.AsyncOpenAI, bench: Bench) -> None:
    both = await client.embeddings.create(model="embedder", input=["one", "two", "one"], dimensions=64)
    vectors = [item.embedding for item in both.data]
    assert [len(v) for v in vectors] == [64] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(sum(x * x for x in vectors[0]), 1, rel_tol=1e-5)
    packed = await bench.send(
        "openai",
        {"model": "embedder", "input": [[1, 2], [3]], "encoding_format": "base64", "dimensions": 8},
        path="/v1/embeddings",
    )
    assert packed.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert len(struct.unpack("<8f", base64.b64decode(packed.json["data"][1]["embedding"]))) == 8


async def test_models(client: openai.AsyncOpenAI, bench: Bench) -> None:
    assert [m.id async for m in client.models.list()] == ["small", "thinker", "embedder"]
    assert (await client.models.retrieve("thinker")).id == "thinker"
    assert isinstance((await bench.send("together", path="/v1/models", method="GET")).json, list)
    compat = await bench.send("gemini", path="/v1beta/openai/models", method="GET")
    assert compat.json["data"][0]["id"] == "models/small"
    native = await bench.send("gemini", path="/v1beta/models?pageSize=1", method="GET", key="", x_goog_api_key="sim-a")
    assert native.json["models"][0]["name"] == "models/small"
    prefixed = await bench.ask("gemini", chat("models/small"), path="/v1beta/openai/chat/completions")
    assert prefixed.status == 200
    assert bench.judge.calls_per_key() == {"sim-a": 1}


async def test_probes(bench: Bench) -> None:
    assert (await bench.send("deepseek", path="/user/balance", method="GET")).json["is_available"] is True
    assert "free_model_daily_requests" in (await bench.send("openrouter", path="/key", method="GET")).json["data"]
    assert (await bench.send("openai", path="/v1/models", method="GET", key="")).status == 401


async def test_errors_reach_the_sdk_as_its_own(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        await client.chat.completions.create(model="nothing", messages=HELLO)
    assert error.value.code == "model_not_found"


async def test_reasoning_has_each_providers_field(bench: Bench) -> None:
    for provider, field in (("deepseek", "reasoning_content"), ("groq", "reasoning"), ("openai", "")):
        body = (await bench.ask(provider, chat("thinker"))).json
        found = {name for name in body["choices"][0]["message"] if name.startswith("reasoning")}
        assert found == ({field} if field else set())
    stream = await bench.ask("deepseek", chat("thinker", stream=True))
    assert sum("reasoning_content" in e["choices"][0]["delta"] for e in stream.events) == 16
    eaten = (await bench.ask("groq", chat("thinker", max_tokens=8))).json
    assert (eaten["choices"][0]["message"]["content"], eaten["choices"][0]["finish_reason"]) == ("", "length")
    apart = (await bench.ask("xai", chat("thinker", max_tokens=20))).json["usage"]
    assert (apart["completion_tokens"], apart["total_tokens"] - apart["prompt_tokens"]) == (4, 20)


async def test_where_usage_stands_in_streams(bench: Bench) -> None:
    asked = chat(stream=True, stream_options={"include_usage": True})
    assert "usage" not in (await bench.ask("openai", chat(stream=True))).events[-1]
    assert (await bench.ask("openai", asked)).events[-1]["choices"] == []
    always = (await bench.ask("xai", chat(stream=True))).events[-1]
    assert always["choices"][0]["finish_reason"] == "stop"
    assert always["usage"]["completion_tokens"] > 0
    assert "usage" not in (await bench.ask("quiet", asked)).events[-1]
    assert (await bench.ask("groq", chat(stream=True))).events[-1]["x_groq"]["usage"]["total_tokens"] > 0
    assert (await bench.ask("openrouter", chat(stream=True))).body.startswith(b": OPENROUTER PROCESSING\n\n")


async def test_sizes_can_be_fixed(bench: Bench) -> None:
    stream = await bench.ask("openai", chat(stream=True), x_sim_events="100")
    assert sum(bool(e["choices"][0]["delta"].get("content")) for e in stream.events) == 100
    for size in (400, 1000, 100_000):
        answer = await bench.ask("openai", x_sim_body_bytes=str(size))
        assert len(answer.body) == size
        assert answer.json["choices"]


async def test_the_same_seed_gives_the_same_answers() -> None:
    async def bodies(seed: int) -> list[bytes]:
        async with Bench(row("openai"), seed=seed) as bench:
            return [(await bench.ask("openai", chat(content=f"{i % 5}"))).body for i in range(20)]

    first = await bodies(1)
    assert first == await bodies(1)
    assert first != await bodies(2)
    texts = {json.loads(body)["choices"][0]["message"]["content"] for body in first}
    assert len(texts) == 5


async def test_a_stream_takes_the_time_that_the_scenario_gives_it() -> None:
    plan = ProviderPlan(latency=Latency(first_token_ms=(100, 100), tokens_per_s=100))
    async with Bench(row("openai"), openai=plan) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        body = json.dumps(chat(stream=True)).encode()
        writer.write(
            b"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sim-a\r\n"
            b"x-sim-events: 20\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        began, arrivals = time.monotonic(), []
        while line := await reader.readline():
            if b'"content":"' in line and b'"content":""' not in line:
                arrivals.append(time.monotonic() - began)
            if b"[DONE]" in line:
                break
        writer.close()
        assert len(arrivals) == 20
        assert 0.1 <= arrivals[0] < 1
        assert 0.18 < arrivals[-1] - arrivals[0] < 2


@pytest.mark.parametrize(
    ("provider", "limits", "headers"),
    [
        ("openai", [(60, "60s", "requests"), (6000, "60s", "tokens")], {
            "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s", "x-ratelimit-limit-tokens": "6000",
            "x-ratelimit-remaining-tokens": "5984", "x-ratelimit-reset-tokens": "160ms"}),
        ("groq", [(30, "60s", "requests"), (1000, "24h", "requests"), (6000, "60s", "tokens")], {
            "x-ratelimit-limit-requests": "1000", "x-ratelimit-reset-requests": "1m26.4s",
            "x-ratelimit-limit-tokens": "6000"}),
        ("cerebras", [(24, "24h", "requests")], {
            "x-ratelimit-limit-requests-day": "24", "x-ratelimit-reset-requests-day": "3600.0000"}),
        ("anthropic", [(60, "60s", "requests"), (99, "60s", "input_tokens")], {
            "anthropic-ratelimit-requests-remaining": "59",
            "anthropic-ratelimit-requests-reset": "2026-11-21T20:00:01Z",
            "anthropic-ratelimit-input-tokens-limit": "99"}),
        ("mistral", [(6000, "60s", "tokens"), (10**6, "month@UTC", "tokens")], {
            "ratelimitbysize-limit": "6000", "ratelimitbysize-reset": "1",
            "x-ratelimitbysize-remaining-month": "999984"}),
        ("sambanova", [(20, "24h", "requests")], {"x-ratelimit-limit-requests-day": "20"}),
        ("together", [(10, "1s", "requests")], {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "9"}),
        ("fireworks", [(10, "60s", "requests")], {"x-ratelimit-remaining-requests": "9"}),
        ("xai", [(60, "60s", "requests")], {"x-ratelimit-remaining-requests": "59"}),
    ],
)  # fmt: skip
async def test_rate_headers(provider: str, limits: list[Any], headers: dict[str, str]) -> None:
    rows = tuple(per(amount, window, unit) for amount, window, unit in limits)
    async with Bench(row(provider, limits=rows)) as bench:
        answer = await bench.ask(provider, chat(max_tokens=10))
        assert headers.items() <= answer.headers.items()


@pytest.mark.parametrize("provider", ["gemini", "cohere", "deepseek", "huggingface", "nvidia", "cloudflare"])
async def test_providers_without_rate_headers(provider: str) -> None:
    async with Bench(row(provider, limits=(per(60, "60s"),))) as bench:
        assert not [name for name in (await bench.ask(provider)).headers if "ratelimit" in name]
