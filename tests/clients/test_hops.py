"""One conversation with tools that changes its provider at every turn, as a client of OpenAI's dialect would hold it.

The client keeps what OpenAI's dialect has (words, calls, results) and drops the rest, as most clients do. Gemini
insists on the signatures of its calls, DeepSeek on the thoughts of its turns with calls: the gateway has to put them
back, and has to keep each one's from the others.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.simulator import ProviderPlan, Scenario, Simulator
from keyrelay.simulator.http import Connection, Request
from keyrelay.wire.gemini.models import PLACEHOLDER_SIGNATURE
from tests.e2e.harness import Caller, Embedded, Reply, calls_of, embedded, environment
from tests.shipped import shipped_rows

TURNS = 20
MODELS = ("gemini-3.8-flash", "deepseek-flash", "gpt-6-luna")
KEYS = {"gemini": ["sim-gemini-a"], "deepseek": ["sim-deepseek-a"], "openai": ["sim-openai-a"]}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {"turn": {"type": "integer"}, "part": {"type": "string"}}},
    },
}


class Recorded(Simulator):
    """A simulator that keeps what each provider was sent last."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario, shipped_rows())
        self.last: dict[str, Any] = {}

    def _handle(self, request: Request, connection: Connection) -> None:
        if request.body:
            self.last[request.path.split("/")[1]] = json.loads(request.body)
        super()._handle(request, connection)


@pytest.fixture
async def simulator() -> AsyncIterator[Recorded]:
    simulator = Recorded(Scenario(providers=dict.fromkeys(KEYS, ProviderPlan(limits=()))))
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def gateway(simulator: Recorded, tmp_path: Path) -> AsyncIterator[Embedded]:
    environ = environment(simulator, KEYS, GEMINI_DIALECT="gemini", GEMINI_TIER="paid")
    async with embedded(environ, tmp_path) as gateway:
        yield gateway


def deltas_of(reply: Reply) -> list[dict[str, Any]]:
    """The pieces of a streamed answer; of a whole one, the message itself."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return [reply.json["choices"][0]["message"]]
    choices = [choice for event in reply.events[:-1] for choice in json.loads(event)["choices"]]
    return [choice["delta"] for choice in choices]


def message_of(reply: Reply) -> dict[str, Any]:
    """What a client of OpenAI's dialect keeps of an answer: role, words and calls."""
    calls: dict[int, dict[str, Any]] = {}
    deltas = deltas_of(reply)
    for delta in deltas:
        for at, piece in enumerate(delta.get("tool_calls") or ()):
            call = calls.setdefault(piece.get("index", at), {"id": piece.get("id"), "type": "function", "function": {}})
            for name, text in piece["function"].items():
                call["function"][name] = call["function"].get(name, "") + text
    message = {"role": "assistant", "content": "".join(delta.get("content") or "" for delta in deltas) or None}
    return message | ({"tool_calls": list(calls.values())} if calls else {})


@pytest.mark.parametrize("stream", [False, True])
async def test_twenty_turns_hop_from_provider_to_provider(stream: bool, gateway: Embedded, simulator: Recorded) -> None:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Look things up."}]
    number = 0
    thoughts: dict[int, str] = {}
    async with Caller(gateway.port) as caller:

        async def ask() -> dict[str, Any]:
            nonlocal number
            body = {"model": MODELS[number % len(MODELS)], "messages": messages, "tools": [TOOL], "stream": stream}
            reply = await caller.post("/v1/chat/completions", body)
            assert reply.status == 200, (number, reply.body)
            thoughts[number] = "".join(delta.get("reasoning_content") or "" for delta in deltas_of(reply))
            number += 1
            message = message_of(reply)
            messages.append(message)
            return message

        for turn in range(TURNS):
            # Every other turn has two calls at once, and its answer comes from another provider than its calls.
            parts = ("whole",) if turn % 2 else ("first", "second")
            asked = [f'call look_up {{"turn": {turn}, "part": "{part}"}}' for part in parts]
            messages.append({"role": "user", "content": "\n".join(asked)})
            calls = (await ask())["tool_calls"]
            given = [json.loads(call["function"]["arguments"]) for call in calls]
            assert given == [{"turn": turn, "part": part} for part in parts]
            assert len({call["id"] for call in calls}) == len(parts)
            found = [f"found {part} of turn {turn}" for part in parts]
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": text}
                for call, text in zip(calls, found, strict=True)
            ]
            answer = await ask()
            assert all(text in answer["content"] for text in found)

    made_calls: dict[str, list[int]] = {model: [] for model in MODELS}
    for turn in range(TURNS):
        made_calls[MODELS[2 * turn % len(MODELS)]].append(turn)
    own = _first_parts(simulator.last["gemini"], made_calls["gemini-3.8-flash"])
    assert len(own) > TURNS // 4
    assert PLACEHOLDER_SIGNATURE not in own, "signatures that Gemini gave come back, nothing in their place"
    own = _reasoning(simulator.last["deepseek"], made_calls["deepseek-flash"])
    assert own == [thoughts[2 * turn] for turn in made_calls["deepseek-flash"]][: len(own)]
    assert len(own) > TURNS // 4

    calls_made = calls_of(simulator)
    assert [call.status for call in calls_made] == [200] * number == [200] * 2 * TURNS
    assert [call.model for call in calls_made] == [MODELS[at % len(MODELS)] for at in range(number)]


def _first_parts(body: dict[str, Any], turns: list[int]) -> list[str]:
    """The signature of the first call of each of these turns, as Gemini was sent it."""
    calls = [[part for part in content["parts"] if "functionCall" in part] for content in body["contents"]]
    return [some[0]["thoughtSignature"] for some in calls if some and some[0]["functionCall"]["args"]["turn"] in turns]


def _reasoning(body: dict[str, Any], turns: list[int]) -> list[str]:
    """The thoughts of each of these turns, as DeepSeek was sent them."""
    calling = [message for message in body["messages"] if message.get("tool_calls")]
    numbers = [json.loads(message["tool_calls"][0]["function"]["arguments"])["turn"] for message in calling]
    return [message["reasoning_content"] for message, turn in zip(calling, numbers, strict=True) if turn in turns]
