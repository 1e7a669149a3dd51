"""Requests of the Responses dialect that come to chat completions, as Cursor sends them, and chat's answers to them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from keyrelay.simulator import ProviderPlan, Scenario, Simulator
from tests.e2e.harness import Embedded, embedded, environment, simulated

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = {
    "openai": "openai/gpt-5.4-mini",
    "anthropic": "anthropic/claude-haiku-5-5",
    "gemini": "gemini/gemini-3.1-flash-lite",
}
PATCH = "*** Begin Patch"
ASKED: dict[str, Any] = {
    "input": [{"role": "system", "content": "You edit code."}, {"role": "user", "content": "Say hello."}],
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "text": {"verbosity": "medium"},
    "stream_options": {"include_usage": True},
    "tools": [
        {"type": "function", "name": "read_file", "parameters": {"type": "object", "properties": {}}},
        {"type": "custom", "name": "ApplyPatch", "format": {"type": "grammar", "syntax": "lark", "definition": "a: b"}},
    ],
}
EDIT = {"role": "user", "content": f'call ApplyPatch {{"input": "{PATCH}"}}'}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated(Scenario(providers={name: ProviderPlan(limits=()) for name in MODELS})) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    keys = {name: [f"sim-{name}-a"] for name in MODELS}
    paid = {f"{name.upper()}_TIER": "paid" for name in MODELS}
    only = {f"{name.upper()}_DIALECT": name for name in MODELS}
    directory: Path = tmp_path_factory.mktemp("data")
    async with embedded(environment(simulator, keys, **paid, **only), directory) as running:
        yield running


def chunks(data: bytes) -> list[dict[str, Any]]:
    *events, last = data.decode().strip().split("\n\n")
    assert last == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: ")]


@pytest.mark.parametrize("provider", MODELS)
async def test_the_answer_is_a_chats(gateway: Embedded, provider: str) -> None:
    asked = {"model": MODELS[provider], **ASKED}
    reply = await gateway.ask(asked)
    assert reply.status == 200, reply.body
    body = json.loads(reply.body)
    assert body["object"] == "chat.completion"
    assert "Say hello." in body["choices"][0]["message"]["content"]

    reply = await gateway.ask({**asked, "stream": True})
    said = chunks(reply.body)
    assert {chunk["object"] for chunk in said} == {"chat.completion.chunk"}
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in said if chunk["choices"])
    assert "Say hello." in text
    assert said[-1]["usage"]["prompt_tokens"] > 0
    line = await gateway.line_of(reply.headers["x-request-id"])
    assert (line["operation"], line["provider"]) == ("chat", provider)


@pytest.mark.parametrize("provider", MODELS)
async def test_a_patch_is_the_free_text_of_a_function_whole_streamed_and_in_the_history(
    gateway: Embedded, provider: str
) -> None:
    asked = {"model": MODELS[provider], **ASKED, "input": [EDIT]}
    whole = json.loads((await gateway.ask(asked)).body)["choices"][0]
    (call,) = whole["message"]["tool_calls"]
    assert (whole["finish_reason"], call["type"], call["function"]["name"]) == ("tool_calls", "function", "ApplyPatch")
    assert PATCH in call["function"]["arguments"]

    said = chunks((await gateway.ask({**asked, "stream": True})).body)
    calls = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in said if chunk["choices"]]
    pieces = [piece["function"] for each in calls if each for piece in each]
    assert pieces[0]["name"] == "ApplyPatch"
    assert "".join(piece["arguments"] for piece in pieces) == call["function"]["arguments"]

    history = [
        EDIT,
        {"type": "function_call", "call_id": call["id"], "name": "ApplyPatch", "arguments": PATCH},
        {"type": "function_call_output", "call_id": call["id"], "output": "Done."},
    ]
    reply = await gateway.ask({**asked, "input": history})
    assert reply.status == 200, reply.body
    assert "Done." in json.loads(reply.body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"role": "nobody", "content": "a"}]}, "input[0].role"),
        ({"input": 5}, "messages"),
        ({"input": []}, "input"),
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
async def test_what_is_wrong_in_it_is_pointed_to(gateway: Embedded, body: dict[str, Any], param: str) -> None:
    reply = await gateway.ask({"model": MODELS["openai"], **body})
    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (400, param), reply.body
