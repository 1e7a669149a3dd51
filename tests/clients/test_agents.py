"""Claude Code and Codex as they are on the wire, against each provider dialect.

Neither is a library that a test could hold, so what they send was written down by us (`tests/wire/*/fixtures`), and
what they insist on in an answer is checked here event by event.
"""

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.simulator import ProviderPlan, Scenario, Simulator
from tests.clients.matrix import DIALECTS, MODELS, ROOT
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, Reply, calls_of, embedded, environment, simulated

KEYS = {"openai": ["sim-a"], "anthropic": ["sim-b"], "gemini": ["sim-c"], "cohere": ["sim-d"], "ollama": ["sim-e"]}
WIRE = ROOT / "tests" / "wire"
VISION = {"cohere": MODELS["cohere"].vision, "ollama": MODELS["ollama"].vision}
"""Codex sends a picture, which these providers' other models do not take."""


def fixture(name: str) -> Any:
    return json.loads((WIRE / name).read_text(encoding="utf-8"))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    plans = {name: ProviderPlan(limits=()) for name in KEYS}
    plans["cohere"] = ProviderPlan(limits=(), models=(MODELS["cohere"].chat, VISION["cohere"]))
    async with simulated(Scenario(providers=plans)) as simulator:
        yield simulator


@pytest.fixture
async def caller(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Caller]:
    dialects = {f"{name.upper()}_DIALECT": name for name in DIALECTS}
    models = {f"{name.upper()}_MODELS": model for name, model in VISION.items()}
    environ = environment(simulator, KEYS, **dialects, **models, GEMINI_TIER="paid", COHERE_TIER="paid")
    environ["OLLAMA_MODELS"] = f"{MODELS['ollama'].chat},{VISION['ollama']}"
    gateway: Embedded
    async with embedded(environ, tmp_path) as gateway, Caller(gateway.port) as caller:
        yield caller


def events_of(reply: Reply) -> list[dict[str, Any]]:
    """The events of a stream, each under the name that its data has."""
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.whole
    found = []
    for block in reply.body.decode().strip().split("\n\n"):
        if block.startswith(":"):
            continue
        name, _, data = block.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


# Claude Code


async def claude(caller: Caller, name: str, **changes: Any) -> Reply:
    """Send one of Claude Code's requests: its path, its headers, its own token as a bearer."""
    request = fixture(f"anthropic/fixtures/{name}.json")
    headers = {**request["headers"], "authorization": f"Bearer {CLIENT_SECRET}"}
    return await caller.post(request["path"], {**request["body"], **changes}, headers=headers)


def message_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a stream of Anthropic's makes up, its order being what Claude Code insists on."""
    events = [event for event in events if event["type"] != "ping"]
    first, *middle, delta, last = events
    assert first["type"] == "message_start"
    message: dict[str, Any] = first["message"]
    usage = message["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"] > 0
    assert isinstance(usage["output_tokens"], int)
    assert (message["content"], message["stop_reason"]) == ([], None)
    for event in middle:
        _take(message["content"], event)
    assert all("partial" not in block for block in message["content"]), "every block was ended"
    assert (delta["type"], last["type"]) == ("message_delta", "message_stop")
    assert delta["usage"]["output_tokens"] > 0
    return {**message, **delta["delta"]}


def _take(blocks: list[dict[str, Any]], event: dict[str, Any]) -> None:
    at = event["index"]
    if event["type"] == "content_block_start":
        assert at == len(blocks), "blocks are numbered one after the other"
        assert at == 0 or "partial" not in blocks[-1], "one block at a time"
        blocks.append({**event["content_block"], "partial": ""})
        return
    assert at == len(blocks) - 1
    block = blocks[at]
    if event["type"] == "content_block_stop":
        partial = block.pop("partial")
        if block["type"] == "tool_use":
            block["input"] = json.loads(partial or "{}")
        return
    delta = event["delta"]
    match block["type"], delta["type"]:
        case "text", "text_delta":
            block["text"] += delta["text"]
        case "thinking", "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "thinking", "signature_delta":
            block["signature"] = delta["signature"]
        case "tool_use", "input_json_delta":
            block["partial"] += delta["partial_json"]
        case unexpected:
            raise AssertionError(unexpected)


@pytest.mark.parametrize("provider", DIALECTS)
async def test_claude_code_works_with_every_provider(provider: str, caller: Caller, simulator: Simulator) -> None:
    model = MODELS[provider].chat
    probe = await claude(caller, "quota_probe", model=model)
    assert (probe.status, probe.json["type"], probe.json["usage"]["output_tokens"]) == (200, "message", 1)
    counted = await claude(caller, "count_tokens", model=model)
    assert counted.json["input_tokens"] > 0
    title = message_of(events_of(await claude(caller, "title", model=model)))
    assert "title" in json.loads(title["content"][-1]["text"])

    turns = copy.deepcopy(fixture("anthropic/fixtures/first_turn.json")["body"]["messages"])
    asked = [("Read", {"file_path": "/tests/test_sum.py"}), ("Bash", {"command": "ls"})]
    calls = "\n".join(f"call {name} {json.dumps(given)}" for name, given in asked)
    turns[-1]["content"][-1]["text"] += f"\n{calls}"
    message = message_of(events_of(await claude(caller, "first_turn", model=model, messages=turns)))
    used = [block for block in message["content"] if block["type"] == "tool_use"]
    assert [(block["name"], block["input"]) for block in used] == asked
    assert message["stop_reason"] == "tool_use"
    assert message["model"] == model

    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": f"of {block['name']}"} for block in used]
    turns += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": results}]
    answer = message_of(events_of(await claude(caller, "first_turn", model=model, messages=turns)))
    text = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
    assert ("of Read" in text, "of Bash" in text, answer["stop_reason"]) == (True, True, "end_turn")
    assert {(call.provider, call.status) for call in calls_of(simulator)} == {(provider, 200)}


# Codex


async def codex(caller: Caller, items: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    """Send one of Codex's requests; its events in the order that it insists on."""
    body = {**fixture("responses/fixtures/codex_first.json"), "model": model, "input": items}
    headers = {"user-agent": "codex_cli_rs/0.162.1", "accept": "text/event-stream", "originator": "codex_cli_rs"}
    events = events_of(await caller.post("/v1/responses", body, headers=headers))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last["type"] == "response.completed"
    done: list[dict[str, Any]] = []
    for event in events[2:-1]:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(done), "one item at a time"
        elif event["type"] == "response.output_item.done":
            assert event["output_index"] == len(done)
            done.append(event["item"])
        else:
            assert event["output_index"] == len(done), "pieces belong to the item under way"
    assert last["response"]["output"] == done
    assert last["response"]["usage"]["total_tokens"] > 0
    return done


@pytest.mark.parametrize("provider", DIALECTS)
async def test_codex_works_with_every_provider(provider: str, caller: Caller, simulator: Simulator) -> None:
    model = VISION.get(provider, MODELS[provider].chat)
    items = fixture("responses/fixtures/codex_first.json")["input"]
    patch = '{"input": "*** Begin Patch\\n*** End Patch"}'
    text = f'call shell_command {{"command": "ls"}}\ncall apply_patch {patch}'
    items = [*items, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]
    done = await codex(caller, items, model)
    command = next(item for item in done if item["type"] == "function_call")
    assert (command["name"], json.loads(command["arguments"])) == ("shell_command", {"command": "ls"})
    edit = next(item for item in done if item["type"] == "custom_tool_call")
    assert edit["name"] == "apply_patch"
    assert "*** Begin Patch" in edit["input"]

    outputs = [
        {"type": "function_call_output", "call_id": command["call_id"], "output": "a.py\nb.py"},
        {"type": "custom_tool_call_output", "call_id": edit["call_id"], "output": "Done!"},
    ]
    answer = await codex(caller, [*items, *done, *outputs], model)
    said = "".join(part["text"] for item in answer if item["type"] == "message" for part in item["content"])
    assert ("a.py b.py" in said, "Done!" in said) == (True, True)
    assert {(call.provider, call.status) for call in calls_of(simulator)} == {(provider, 200)}
