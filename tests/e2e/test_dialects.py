"""Every dialect of callers against every dialect of providers, over real sockets: chat, streams, errors, look-ups."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from keyrelay.simulator import ProviderPlan, Scenario, Simulator
from tests.e2e.harness import CLIENT_SECRET, Embedded, Reply, embedded, environment, simulated

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = {
    "openai": "openai/gpt-5.4-mini",
    "anthropic": "anthropic/claude-haiku-5-5",
    "gemini": "gemini/gemini-3.1-flash-lite",
    "cohere": "cohere/command-r7b-12-2024",
    "ollama": "ollama/llama3.2",
}
WORDS = "Say hello."
TURN = {"messages": [{"role": "user", "content": WORDS}]}
CONTENTS = {"contents": [{"parts": [{"text": WORDS}]}]}
CALLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", TURN),
    "completions": ("/v1/completions", {"prompt": WORDS}),
    "responses": ("/v1/responses", {"input": WORDS}),
    "anthropic": ("/v1/messages", {"max_tokens": 100, **TURN}),
    "ollama": ("/api/chat", TURN),
    "ollama generate": ("/api/generate", {"prompt": WORDS}),
    "gemini": ("/v1beta/models/{model}:generateContent", CONTENTS),
}
STREAMS = {
    **CALLERS,
    "gemini": ("/v1beta/models/{model}:streamGenerateContent?alt=sse", CONTENTS),
    "gemini array": ("/v1beta/models/{model}:streamGenerateContent", CONTENTS),
}
LAST_WORDS = {
    "chat": "data: [DONE]\n\n",
    "completions": "data: [DONE]\n\n",
    "responses": '"type":"response.completed"',
    "anthropic": 'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "ollama": '"done":true',
    "ollama generate": '"done":true',
    "gemini": '"finishReason":"STOP"',
    "gemini array": "]",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated(Scenario(providers={name: ProviderPlan(limits=()) for name in MODELS})) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    keys = {name: [] if name == "ollama" else [f"sim-{name}-a"] for name in MODELS}
    paid = {f"{name.upper()}_TIER": "paid" for name in MODELS}
    only = {f"{name.upper()}_DIALECT": name for name in MODELS}
    directory: Path = tmp_path_factory.mktemp("data")
    async with embedded(environment(simulator, keys, **paid, **only), directory) as running:
        yield running


def body_for(caller: str, provider: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    path, body = (STREAMS if stream else CALLERS)[caller]
    model = MODELS[provider]
    named = {} if "{model}" in path else {"model": model, "stream": stream}
    return path.replace("{model}", model), {**body, **named}


def texts_in(value: object) -> Iterator[str]:
    """All texts of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts_in(member)


@pytest.mark.parametrize("provider", MODELS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_a_whole_answer(gateway: Embedded, caller: str, provider: str) -> None:
    path, body = body_for(caller, provider, stream=False)
    reply = await gateway.ask(body, path)
    assert reply.status == 200, reply.body
    assert any(WORDS in text for text in texts_in(json.loads(reply.body)))
    assert reply.headers["x-keyrelay-provider"] == provider
    line = await gateway.line_of(reply.headers["x-request-id"])
    assert line["usage"]["input_tokens"] > 0
    assert not line["usage"].get("estimated", False)


@pytest.mark.parametrize("provider", MODELS)
@pytest.mark.parametrize("caller", STREAMS)
async def test_a_stream(gateway: Embedded, caller: str, provider: str) -> None:
    path, body = body_for(caller, provider, stream=True)
    reply = await gateway.ask(body, path)
    assert reply.status == 200, reply.body
    text = reply.body.decode()
    assert LAST_WORDS[caller] in text[-20_000:]

    line = await gateway.line_of(reply.headers["x-request-id"])
    assert line["usage"]["output_tokens"] > 0
    assert line.get("category", "") == ""


ERRORS: dict[str, Any] = {
    "chat": lambda body: body["error"]["type"],
    "completions": lambda body: body["error"]["type"],
    "responses": lambda body: body["error"]["type"],
    "anthropic": lambda body: body["error"]["type"] if body["type"] == "error" else "",
    "ollama": lambda body: "invalid_request_error" if isinstance(body["error"], str) else "",
    "ollama generate": lambda body: "invalid_request_error" if isinstance(body["error"], str) else "",
    "gemini": lambda body: "invalid_request_error" if body["error"]["status"] == "INVALID_ARGUMENT" else "",
}
WRONG: dict[str, tuple[str, object, str]] = {
    "chat": ("messages", "hello", "messages"),
    "completions": ("prompt", 1, "prompt"),
    "responses": ("input", 1, "input"),
    "anthropic": ("messages", "hello", "messages"),
    "ollama": ("messages", "hello", "messages"),
    "ollama generate": ("prompt", 1, "prompt"),
    "gemini": ("contents", 1, "contents"),
}


@pytest.mark.parametrize("caller", WRONG)
async def test_bad_input_ends_in_the_callers_own_words(gateway: Embedded, caller: str) -> None:
    path, body = body_for(caller, "cohere", stream=False)
    member, value, pointer = WRONG[caller]
    reply = await gateway.ask({**body, member: value}, path)
    assert reply.status == 400
    assert ERRORS[caller](json.loads(reply.body)) == "invalid_request_error"
    assert pointer in reply.body.decode()


@pytest.mark.parametrize("caller", CALLERS)
async def test_an_unknown_model_is_said_in_the_callers_dialect(gateway: Embedded, caller: str) -> None:
    path, body = body_for(caller, "cohere", stream=False)
    named = {} if "model" not in body else {"model": "cohere/nobody-has-this"}
    reply = await gateway.ask({**body, **named}, path.replace(MODELS["cohere"], "cohere/nobody-has-this"))
    assert reply.status == 404
    assert "nobody-has-this" in reply.body.decode()


async def test_what_a_dialect_cannot_say_is_named(gateway: Embedded) -> None:
    reply = await gateway.ask({"model": MODELS["anthropic"], "seed": 7, "logit_bias": {"1": 1}, **TURN})
    assert reply.status == 200
    assert reply.headers["x-keyrelay-left-out"] == "logit_bias, seed"


async def test_several_answers_cannot_be_had_of_a_dialect_that_gives_one(gateway: Embedded) -> None:
    reply = await gateway.ask({"model": MODELS["anthropic"], "n": 2, **TURN})
    assert reply.status == 400
    assert "n" in json.loads(reply.body)["error"]["message"]


@pytest.mark.parametrize("provider", ["openai", "gemini", "cohere", "ollama"])
@pytest.mark.parametrize(
    ("path", "body", "vectors"),
    [
        ("/v1/embeddings", {"input": ["one", "two"]}, lambda body: [each["embedding"] for each in body["data"]]),
        ("/api/embed", {"input": ["one", "two"]}, lambda body: body["embeddings"]),
        ("/api/embeddings", {"prompt": "one"}, lambda body: [body["embedding"], None]),
        (
            "/v1beta/models/{model}:batchEmbedContents",
            {"requests": [{"content": {"parts": [{"text": text}]}} for text in ("one", "two")]},
            lambda body: [each["values"] for each in body["embeddings"]],
        ),
        (
            "/v1beta/models/{model}:embedContent",
            {"content": {"parts": [{"text": "one"}]}},
            lambda body: [body["embedding"]["values"], None],
        ),
    ],
)
async def test_embeddings(gateway: Embedded, provider: str, path: str, body: dict[str, Any], vectors: Any) -> None:
    model = EMBEDDING_MODELS[provider]
    named = {} if "{model}" in path else {"model": model}
    reply = await gateway.ask({**body, **named}, path.replace("{model}", model))
    assert reply.status == 200, reply.body
    found = vectors(json.loads(reply.body))
    assert len(found) == 2
    assert len(found[0]) > 2
    assert all(isinstance(number, float | int) for number in found[0])


EMBEDDING_MODELS = {
    "openai": "openai/text-embedding-3-small",
    "gemini": "gemini/gemini-embedding-001",
    "cohere": "cohere/embed-v4.0",
    "ollama": "ollama/nomic-embed-text",
}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/messages", lambda body: body["type"] == "error"),
        ("/api/chat", lambda body: isinstance(body["error"], str)),
        ("/v1/chat/completions", lambda body: body["error"]["code"] == "method_not_allowed"),
    ],
)
async def test_a_wrong_method_is_told_in_the_dialect_of_the_path(gateway: Embedded, path: str, said: Any) -> None:
    reply = await gateway.ask(b"", path, method="PUT")
    assert reply.status == 405
    assert said(json.loads(reply.body))


async def test_an_unknown_verb_is_told_in_googles_dialect(gateway: Embedded) -> None:
    reply = await gateway.ask(b"{}", "/v1beta/models/gemini-3:dance")
    assert (reply.status, json.loads(reply.body)["error"]["status"]) == (404, "NOT_FOUND")


async def test_a_new_kind_of_block_is_anthropics_to_judge_where_anthropic_is_asked(gateway: Embedded) -> None:
    body = {"model": MODELS["anthropic"], "max_tokens": 9, "system": [{"type": "novelty"}], **TURN}
    reply = await gateway.ask(body, "/v1/messages")
    assert reply.status == 200, reply.body


class TestLookups:
    @staticmethod
    async def get(gateway: Embedded, path: str, **headers: str) -> tuple[int, Any]:
        reply: Reply = await gateway.ask(b"", path, method="GET", headers=headers)
        return reply.status, json.loads(reply.body)

    async def test_models_in_each_dialect(self, gateway: Embedded) -> None:
        status, body = await self.get(gateway, "/v1/models")
        assert (status, body["object"]) == (200, "list")
        status, body = await self.get(gateway, "/v1/models", **{"anthropic-version": "2023-06-01"})
        assert (status, body["data"][0]["type"], body["has_more"]) == (200, "model", False)
        status, body = await self.get(gateway, "/v1beta/models")
        assert body["models"][0]["name"].startswith("models/")
        status, body = await self.get(gateway, "/v1/models", **{"x-goog-api-key": CLIENT_SECRET})
        assert body["models"], "Google's newer clients ask below /v1"
        status, body = await self.get(gateway, "/api/tags")
        assert {"name", "model", "details", "digest", "size", "modified_at"} <= set(body["models"][0])

    async def test_one_model_in_each_dialect(self, gateway: Embedded) -> None:
        assert (await self.get(gateway, f"/v1/models/{MODELS['cohere']}"))[1]["id"] == MODELS["cohere"]
        status, body = await self.get(gateway, f"/v1beta/models/{MODELS['cohere']}")
        assert (status, body["name"]) == (200, f"models/{MODELS['cohere']}")
        reply = await gateway.ask({"model": MODELS["cohere"]}, "/api/show")
        assert "completion" in json.loads(reply.body)["capabilities"]

    async def test_tokens_are_counted(self, gateway: Embedded) -> None:
        reply = await gateway.ask({"model": MODELS["anthropic"], **TURN}, "/v1/messages/count_tokens")
        assert 3 <= json.loads(reply.body)["input_tokens"] < 100
        assert reply.headers["x-keyrelay-usage"] == "estimated"
        reply = await gateway.ask(CONTENTS, f"/v1beta/models/{MODELS['gemini']}:countTokens")
        assert 3 <= json.loads(reply.body)["totalTokens"] < 100

    async def test_ollamas_own(self, gateway: Embedded) -> None:
        assert (await self.get(gateway, "/api/version"))[1]["version"]
        assert (await self.get(gateway, "/api/ps"))[1]["models"]
        reply = await gateway.ask({"model": "llama3.2"}, "/api/chat")
        assert json.loads(reply.body)["done_reason"] == "load"


class TestResponsesThatAreKept:
    async def test_a_conversation_goes_on_from_an_answer(self, gateway: Embedded) -> None:
        first = json.loads(
            (await gateway.ask({"model": MODELS["anthropic"], "input": "My name is Ada."}, "/v1/responses")).body
        )
        then = {"model": MODELS["anthropic"], "input": "Who am I?", "previous_response_id": first["id"]}
        second = await gateway.ask(then, "/v1/responses")
        assert second.status == 200, second.body
        assert json.loads(second.body)["usage"]["input_tokens"] > first["usage"]["input_tokens"] + 5

    async def test_a_streamed_one_too(self, gateway: Embedded) -> None:
        reply = await gateway.ask({"model": MODELS["gemini"], "input": WORDS, "stream": True}, "/v1/responses")
        last = json.loads(reply.body.decode().strip().split("\n")[-1].removeprefix("data: "))
        kept = await gateway.ask(b"", f"/v1/responses/{last['response']['id']}", method="GET")
        assert json.loads(kept.body)["output"] == last["response"]["output"]

    async def test_it_is_shown_and_forgotten(self, gateway: Embedded) -> None:
        made = json.loads((await gateway.ask({"model": MODELS["cohere"], "input": WORDS}, "/v1/responses")).body)
        path = f"/v1/responses/{made['id']}"
        assert json.loads((await gateway.ask(b"", path, method="GET")).body) == made
        items = json.loads((await gateway.ask(b"", f"{path}/input_items", method="GET")).body)
        assert items["data"][0]["content"][0]["text"] == WORDS
        assert json.loads((await gateway.ask(b"", path, method="DELETE")).body)["deleted"] is True
        assert (await gateway.ask(b"", path, method="GET")).status == 404

    async def test_a_limit_of_many_digits_is_refused(self, gateway: Embedded) -> None:
        reply = await gateway.ask(b"", f"/v1/responses/x/input_items?limit={'1' * 5_000}", method="GET")
        assert (reply.status, json.loads(reply.body)["error"]["param"]) == (400, "limit")

    async def test_what_the_caller_does_not_want_kept_is_not(self, gateway: Embedded) -> None:
        body = {"model": MODELS["cohere"], "input": WORDS, "store": False}
        made = json.loads((await gateway.ask(body, "/v1/responses")).body)
        assert (await gateway.ask(b"", f"/v1/responses/{made['id']}", method="GET")).status == 404

    async def test_an_answer_that_is_not_there_to_go_on_from(self, gateway: Embedded) -> None:
        body = {"model": MODELS["cohere"], "input": WORDS, "previous_response_id": "resp_" + "0" * 32}
        reply = await gateway.ask(body, "/v1/responses")
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, "previous_response_not_found")
