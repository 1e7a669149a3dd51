"""The official OpenAI SDK, sync and async, points at the gateway and sees nothing but OpenAI's API."""

import asyncio
import contextlib
import json
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from keyrelay.simulator import Change, Latency, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import CLIENT_SECRET, Embedded, calls_of, embedded, environment, simulated

MODEL = "gpt-6-luna"
OTHER = "mistral-small-2603"
KEYS = {"openai": ["first=sim-openai-a"], "mistral": ["only=sim-mistral-a"], "ollama": []}
EXTRAS = {"OLLAMA_MODELS": "llama3.2", "MISTRAL_TIER": "paid", "GROQ_TIER": "paid"}
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
        },
    },
}
TIDE = {
    "type": "json_schema",
    "json_schema": {
        "name": "tide",
        "schema": {
            "type": "object",
            "properties": {"harbour": {"type": "string"}, "metres": {"type": "number", "minimum": 0, "maximum": 9}},
            "required": ["harbour", "metres"],
        },
    },
}

Ask = Callable[[Any], Any]


class Sdk:
    """The SDK's two clients behind one face: a test says once what to ask."""

    def __init__(self, base_url: str, *, is_async: bool, **options: Any) -> None:
        given = {"base_url": base_url, "api_key": CLIENT_SECRET, "max_retries": 0, "timeout": 20.0, **options}
        self.is_async = is_async
        self.client: Any = openai.AsyncOpenAI(**given) if is_async else openai.OpenAI(**given)

    async def ask(self, ask: Ask) -> Any:
        """The result of one call; the sync client makes it in a thread of its own."""
        return await ask(self.client) if self.is_async else await asyncio.to_thread(ask, self.client)

    async def stream(self, ask: Ask) -> list[Any]:
        """All chunks of one streamed call."""
        if self.is_async:
            return [chunk async for chunk in await ask(self.client)]
        return await asyncio.to_thread(lambda: list(ask(self.client)))

    async def close(self) -> None:
        await self.ask(lambda client: client.close())


@contextlib.asynccontextmanager
async def connected(gateway: Embedded, *, is_async: bool = True, **options: Any) -> AsyncIterator[Sdk]:
    sdk = Sdk(gateway.base_url, is_async=is_async, **options)
    try:
        yield sdk
    finally:
        await sdk.close()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


@pytest.fixture
async def gateway(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Embedded]:
    async with embedded(environment(simulator, KEYS, **EXTRAS), tmp_path) as gateway:
        yield gateway


@pytest.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, gateway: Embedded) -> AsyncIterator[Sdk]:
    async with connected(gateway, is_async=request.param) as sdk:
        yield sdk


class TestAnswers:
    async def test_chat(self, sdk: Sdk) -> None:
        answer = await sdk.ask(lambda client: client.chat.completions.create(model=MODEL, messages=HELLO))
        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == MODEL
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0

    async def test_a_stream(self, sdk: Sdk) -> None:
        chunks = await sdk.stream(ask_chat(stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert len(text.split()) > 5
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert len({chunk.id for chunk in chunks}) == 1
        assert all(chunk.usage is None for chunk in chunks), "usage that nobody asked for"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_text_is_the_providers_own(self, sdk: Sdk, simulator: Simulator, stream: bool) -> None:
        # The simulator draws its text from key and bytes of the request: asked directly, it says the same once more.
        direct = Sdk(simulator.base_url("openai"), is_async=sdk.is_async, api_key="sim-openai-a")
        if stream:
            ask = ask_chat(stream=True, stream_options={"include_usage": True})
            through, straight = await sdk.stream(ask), await direct.stream(ask)
            assert len(through) == len(straight)
            assert _said(through) == _said(straight) != ""
        else:
            through, straight = await sdk.ask(ask_chat()), await direct.ask(ask_chat())
            assert through.choices == straight.choices
            assert through.usage == straight.usage
        await direct.close()

    async def test_usage_ends_a_stream_when_it_is_asked_for(self, sdk: Sdk) -> None:
        chunks = await sdk.stream(
            lambda client: client.chat.completions.create(
                model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
        )
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens > 0
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)

    async def test_tools(self, sdk: Sdk) -> None:
        answer = await sdk.ask(
            lambda client: client.chat.completions.create(
                model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required"
            )
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == "get_weather"
        assert set(json.loads(call.function.arguments)) == {"city", "unit"}

    async def test_tools_in_a_stream(self, sdk: Sdk) -> None:
        chunks = await sdk.stream(
            lambda client: client.chat.completions.create(
                model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True
            )
        )
        deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert deltas[0].function.name == "get_weather"
        assert deltas[0].id
        assert {delta.index for delta in deltas} == {0}
        arguments = "".join(delta.function.arguments or "" for delta in deltas)
        assert json.loads(arguments)["unit"] in {"celsius", "fahrenheit"}
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    async def test_json_schema(self, sdk: Sdk) -> None:
        answer = await sdk.ask(
            lambda client: client.chat.completions.create(model=MODEL, messages=HELLO, response_format=TIDE)
        )
        tide = json.loads(answer.choices[0].message.content)
        assert isinstance(tide["harbour"], str)
        assert 0 <= tide["metres"] <= 9

    async def test_json_mode(self, sdk: Sdk) -> None:
        answer = await sdk.ask(
            lambda client: client.chat.completions.create(
                model=MODEL, messages=HELLO, response_format={"type": "json_object"}
            )
        )
        assert isinstance(json.loads(answer.choices[0].message.content), dict)

    async def test_embeddings_in_base64_which_is_the_sdks_default(self, sdk: Sdk, simulator: Simulator) -> None:
        answer = await sdk.ask(
            lambda client: client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
        )
        assert [item.index for item in answer.data] == [0, 1]
        assert answer.data[0].embedding != answer.data[1].embedding
        assert math.isclose(sum(x * x for x in answer.data[0].embedding), 1.0, rel_tol=1e-3)
        assert answer.usage.prompt_tokens > 0
        assert calls_of(simulator)[-1].operation == "embeddings"

    async def test_embeddings_as_floats(self, sdk: Sdk) -> None:
        answer = await sdk.ask(
            lambda client: client.embeddings.create(
                model="text-embedding-3-small", input="one", encoding_format="float", dimensions=8
            )
        )
        assert len(answer.data[0].embedding) == 8

    async def test_models(self, sdk: Sdk) -> None:
        page = await sdk.ask(lambda client: client.models.list())
        names = [model.id for model in page.data]
        assert names[0] == "auto"
        assert {MODEL, OTHER, "llama3.2"} <= set(names)
        one = await sdk.ask(lambda client: client.models.retrieve(MODEL))
        assert (one.id, one.object, one.owned_by) == (MODEL, "model", "openai")
        qualified = await sdk.ask(lambda client: client.models.retrieve(f"openai/{MODEL}"))
        assert qualified.owned_by == "openai"

    async def test_legacy_completions(self, sdk: Sdk) -> None:
        answer = await sdk.ask(lambda client: client.completions.create(model="llama3.2", prompt="Once upon a time"))
        assert answer.choices[0].text
        chunks = await sdk.stream(
            lambda client: client.completions.create(model="llama3.2", prompt="Once upon a time", stream=True)
        )
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)

    async def test_headers_say_who_answered(self, sdk: Sdk, gateway: Embedded) -> None:
        raw = await sdk.ask(
            lambda client: client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
        )
        assert raw.headers["x-keyrelay-provider"] == "openai"
        assert raw.headers["x-keyrelay-model"] == MODEL
        assert raw.headers["x-keyrelay-key"] == "first"
        assert raw.headers["x-keyrelay-attempts"] == "1"
        assert float(raw.headers["x-keyrelay-cost-usd"]) > 0
        assert float(raw.headers["x-keyrelay-overhead-ms"]) < 1000
        line = await gateway.line_of(raw.headers["x-request-id"])
        assert (line["provider"], line["key"], line["status"]) == ("openai", "first", 200)

    async def test_a_qualified_name_chooses_the_provider(self, sdk: Sdk, simulator: Simulator) -> None:
        await sdk.ask(lambda client: client.chat.completions.create(model=f"mistral/{OTHER}", messages=HELLO))
        assert (calls_of(simulator)[-1].provider, calls_of(simulator)[-1].model) == ("mistral", OTHER)


def ask_chat(**options: Any) -> Ask:
    given = {"model": MODEL, "messages": HELLO, **options}
    return lambda client: client.chat.completions.create(**given)


def _said(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class TestErrors:
    """Each exception of the SDK, for the case that a caller would expect it in."""

    @pytest.mark.parametrize("secret", ["wrong-secret-0123456789", "sim-openai-a"])
    async def test_authentication(self, gateway: Embedded, secret: str) -> None:
        async with connected(gateway, api_key=secret) as sdk:
            with pytest.raises(openai.AuthenticationError) as caught:
                await sdk.ask(ask_chat())
        assert caught.value.code == "invalid_api_key"
        assert caught.value.response.headers["www-authenticate"] == "Bearer"
        assert secret not in str(caught.value)

    async def test_not_found_names_what_is_near(self, sdk: Sdk, simulator: Simulator) -> None:
        with pytest.raises(openai.NotFoundError, match=r"Did you mean 'mistral-small-2603'") as caught:
            await sdk.ask(ask_chat(model="mistrl-small-2603"))
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        assert not calls_of(simulator)

    async def test_not_found_when_the_provider_does_not_have_a_name_that_is_its(self, sdk: Sdk) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.ask(ask_chat(model="gpt-0-unheard-of"))
        assert caught.value.code == "model_not_found"

    async def test_not_found_for_a_model_that_is_looked_up(self, sdk: Sdk) -> None:
        with pytest.raises(openai.NotFoundError):
            await sdk.ask(lambda client: client.models.retrieve("mistrl-small-2603"))

    async def test_bad_request_found_by_the_gateway(self, sdk: Sdk, simulator: Simulator) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.ask(ask_chat(messages="hello"))
        assert caught.value.param == "messages"
        assert not calls_of(simulator)

    async def test_bad_request_found_by_the_provider(self, sdk: Sdk, simulator: Simulator) -> None:
        with pytest.raises(openai.BadRequestError, match="role"):
            await sdk.ask(ask_chat(messages=[{"content": "no role"}]))
        assert len(calls_of(simulator)) == 1, "the caller's fault: no other key is asked"

    async def test_bad_request_for_a_context_that_is_too_long(self, sdk: Sdk, simulator: Simulator) -> None:
        simulator.change(Change(provider="openai", script=("context",)))
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.ask(ask_chat())
        assert caught.value.code == "context_length_exceeded"

    async def test_bad_request_for_refused_content(self, sdk: Sdk, simulator: Simulator) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.ask(ask_chat(messages=[{"role": "user", "content": "[[blocked]]"}]))
        assert caught.value.code == "content_policy_violation"
        assert len(calls_of(simulator)) == 1

    async def test_unprocessable_entity_keeps_the_providers_status(self, sdk: Sdk) -> None:
        with pytest.raises(openai.UnprocessableEntityError):
            await sdk.ask(ask_chat(model=OTHER, messages=[{"content": "no role"}]))

    async def test_permission_denied_is_never_raised_for_a_key(self, sdk: Sdk, simulator: Simulator) -> None:
        # A 403 says that a *key* lacks a right, and keys are not the caller's: the next one is taken, and when there
        # is none the caller hears 503, with the reason. PermissionDeniedError would send him to look at his own secret.
        simulator.change(Change(provider="openai", keys={"sim-openai-a": "no_permission"}))
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.ask(ask_chat())
        assert caught.value.status_code == 503
        assert caught.value.body["keyrelay"]["candidates"][0]["detail"].startswith("permission")  # type: ignore[index]

    async def test_rate_limit_when_every_key_is_limited(self, simulator: Simulator, tmp_path: Path) -> None:
        environ = environment(simulator, {"openai": ["a=sim-openai-a", "b=sim-openai-b"]}, OPENAI_RPM="2")
        async with embedded(environ, tmp_path) as gateway, connected(gateway) as sdk:
            for _ in range(4):
                await sdk.ask(ask_chat())
            with pytest.raises(openai.RateLimitError) as caught:
                await sdk.ask(ask_chat())
        headers = caught.value.response.headers
        assert 50 <= int(headers["retry-after"]) <= 62
        assert int(headers["retry-after-ms"]) <= int(headers["retry-after"]) * 1000
        assert headers["x-should-retry"] == "true"
        assert caught.value.code == "rate_limit_exceeded"
        detail = caught.value.body["keyrelay"]  # type: ignore[index]
        assert {(one["key"], one["reason"]) for one in detail["candidates"]} == {("a", "limited"), ("b", "limited")}
        assert len(calls_of(simulator)) == 4, "a limit that is known is not asked about"

    async def test_internal_server_error_502_when_every_provider_fails(self, sdk: Sdk, simulator: Simulator) -> None:
        simulator.change(Change(provider="openai", faults={"500": 1.0}))
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.ask(ask_chat())
        assert caught.value.status_code == 502
        assert caught.value.response.headers["x-should-retry"] == "true"

    async def test_internal_server_error_503_when_the_keys_are_dead(self, sdk: Sdk, simulator: Simulator) -> None:
        simulator.change(Change(provider="openai", keys={"sim-openai-a": "invalid"}))
        for _ in range(2):
            with pytest.raises(openai.InternalServerError) as caught:
                await sdk.ask(ask_chat())
            assert caught.value.status_code == 503
            assert caught.value.response.headers["x-should-retry"] == "false", "waiting does not mend a key"
            assert caught.value.body["keyrelay"]["suggestion"]  # type: ignore[index]
        assert len(calls_of(simulator)) == 1

    async def test_internal_server_error_504_at_the_callers_deadline(self, sdk: Sdk, simulator: Simulator) -> None:
        simulator.change(Change(provider="openai", latency=Latency(first_token_ms=(5000, 5000))))
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.ask(ask_chat(extra_headers={"x-keyrelay-deadline-ms": "300"}))
        assert caught.value.status_code == 504
        assert caught.value.type == "timeout_error"

    async def test_api_timeout_is_the_sdks_own_patience(self, gateway: Embedded, simulator: Simulator) -> None:
        simulator.change(Change(provider="openai", latency=Latency(first_token_ms=(5000, 5000))))
        async with connected(gateway, timeout=0.3) as sdk:
            with pytest.raises(openai.APITimeoutError):
                await sdk.ask(ask_chat())

    async def test_api_connection_error_when_no_gateway_is_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        sdk = Sdk(f"http://127.0.0.1:{port}/v1", is_async=True)
        with pytest.raises(openai.APIConnectionError):
            await sdk.ask(ask_chat())
        await sdk.close()

    @pytest.mark.parametrize("fault", ["eof_mid_stream", "rst_mid_stream", "error_event_mid"])
    async def test_api_error_in_the_middle_of_a_stream(self, sdk: Sdk, simulator: Simulator, fault: str) -> None:
        simulator.change(Change(provider="openai", script=(fault,)))
        with pytest.raises(openai.APIError, match="broke off") as caught:
            await sdk.stream(ask_chat(stream=True))
        assert not isinstance(caught.value, openai.APIStatusError), "the status was 200 by then"
        assert caught.value.code == "upstream_incomplete"


class TestRetriesOfTheSdk:
    async def test_it_waits_as_long_as_it_is_told_and_succeeds(self, simulator: Simulator, tmp_path: Path) -> None:
        simulator.change(Change(provider="openai", script=("429_ms:700",)))
        environ = environment(simulator, {"openai": ["sim-openai-a"]}) | {"KEYRELAY_MAX_WAIT_S": "0"}
        async with embedded(environ, tmp_path) as gateway, connected(gateway, max_retries=2) as sdk:
            began_at = time.monotonic()
            answer = await sdk.ask(ask_chat())
            lasted_s = time.monotonic() - began_at
            assert answer.choices[0].message.content
            assert [line["status"] for line in gateway.lines()] == [429, 200]
        assert 0.65 < lasted_s < 5.0
        assert [call.status for call in calls_of(simulator)] == [429, 200]

    async def test_it_does_not_ask_again_when_told_not_to(self, gateway: Embedded, simulator: Simulator) -> None:
        simulator.change(Change(provider="openai", keys={"sim-openai-a": "invalid"}))
        async with connected(gateway, max_retries=5) as sdk:
            with pytest.raises(openai.InternalServerError):
                await sdk.ask(ask_chat())
        assert [line["status"] for line in gateway.lines()] == [503]


async def test_a_hundred_streams_at_once_each_get_their_own_text(tmp_path: Path) -> None:
    plan = ProviderPlan(latency=Latency(first_token_ms=(5, 50), tokens_per_s=2000))
    async with simulated(Scenario(providers={"openai": plan})) as simulator:
        environ = environment(simulator, {"openai": ["sim-openai-a"]})
        async with embedded(environ, tmp_path) as gateway, connected(gateway) as sdk:

            async def one(number: int) -> str:
                message = {"role": "user", "content": f"Story number {number}"}
                chunks = await sdk.stream(ask_chat(messages=[message], stream=True))
                return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

            async def whole(number: int) -> str:
                message = {"role": "user", "content": f"Story number {number}"}
                answer = await sdk.ask(ask_chat(messages=[message]))
                return str(answer.choices[0].message.content)

            texts = await asyncio.gather(*(one(number) for number in range(100)))
            assert len(set(texts)) > 90
            assert all(text.endswith(".") for text in texts)
            assert await whole(1)
