"""What providers insist on getting back, for clients that drop it: through the gateway, over real sockets."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from keyrelay.simulator import Change, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import Embedded, Reply, embedded, environment, simulated

pytestmark = pytest.mark.asyncio(loop_scope="module")

GEMINI = "gemini/gemini-3.1-flash-lite"
DEEPSEEK = "deepseek/deepseek-v4-pro"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED = {"role": "user", "content": 'call weather {"city": "Oslo"}'}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    plans = {name: ProviderPlan(limits=()) for name in ("gemini", "deepseek", "groq")}
    async with simulated(Scenario(providers=plans)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    keys = {
        "gemini": [f"key{n}=sim-gemini-{n}" for n in range(4)],
        "deepseek": ["sim-deepseek-a"],
        "groq": ["sim-groq-a"],
    }
    directory: Path = tmp_path_factory.mktemp("data")
    async with embedded(environment(simulator, keys, GEMINI_DIALECT="gemini"), directory) as running:
        yield running


async def chat(gateway: Embedded, model: str, messages: list[dict[str, Any]], **more: Any) -> Reply:
    return await gateway.ask({"model": model, "messages": messages, "tools": [WEATHER], **more})


def history(reply: Reply) -> list[dict[str, Any]]:
    """The conversation so far, as a client writes it that keeps words and calls and nothing else."""
    (call,) = reply.json["choices"][0]["message"]["tool_calls"]
    kept = {"id": call["id"], "type": "function", "function": call["function"]}
    return [
        ASKED,
        {"role": "assistant", "content": None, "tool_calls": [kept]},
        {"role": "tool", "tool_call_id": call["id"], "content": "7 degrees"},
    ]


async def test_a_conversation_with_signatures_stays_with_the_account_that_signed(gateway: Embedded) -> None:
    called = await chat(gateway, GEMINI, [ASKED])
    messages = history(called)
    for _ in range(8):
        reply = await chat(gateway, GEMINI, messages)
        assert reply.status == 200, reply.body
        assert reply.headers["x-keyrelay-key"] == called.headers["x-keyrelay-key"]
        assert "x-keyrelay-left-out" not in reply.headers


async def test_other_conversations_go_round(gateway: Embedded) -> None:
    keys = {(await chat(gateway, GEMINI, [ASKED])).headers["x-keyrelay-key"] for _ in range(8)}
    assert len(keys) == 4


async def test_it_says_so_when_another_account_has_to_go_on(gateway: Embedded, simulator: Simulator) -> None:
    called = await chat(gateway, GEMINI, [ASKED])
    signer = called.headers["x-keyrelay-key"]
    simulator.change(Change(provider="gemini", keys={f"sim-gemini-{signer.removeprefix('key')}": "banned"}))
    reply = await chat(gateway, GEMINI, history(called))
    assert reply.status == 200, reply.body
    assert reply.headers["x-keyrelay-key"] != signer
    assert "signatures of another account" in reply.headers["x-keyrelay-left-out"]


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_that_a_provider_wants_back_are_put_back(gateway: Embedded, *, stream: bool) -> None:
    called = await chat(gateway, DEEPSEEK, [ASKED])
    assert called.status == 200, called.body
    reply = await chat(gateway, DEEPSEEK, history(called), stream=stream)
    assert reply.status == 200, reply.body


async def test_what_one_client_dropped_is_nothing_to_another(gateway: Embedded) -> None:
    called = await chat(gateway, GEMINI, [ASKED])
    assert gateway.application.data._gateway.recall.continuity.knows("tests")
    assert not gateway.application.data._gateway.recall.continuity.knows("somebody else")
    assert called.status == 200


async def test_words_that_another_provider_said_do_not_reach_one_that_refuses_them(gateway: Embedded) -> None:
    """Clients send back whole messages, with members that only the provider of that turn knows."""
    said = {"role": "assistant", "content": "Hello.", "reasoning_content": "They greet me.", "extra_content": {"x": 1}}
    turns = [{"role": "user", "content": "Hello"}, said, {"role": "user", "content": "Again"}]
    reply = await gateway.ask({"model": "groq/openai/gpt-oss-20b", "messages": turns})
    assert reply.status == 200, reply.body
