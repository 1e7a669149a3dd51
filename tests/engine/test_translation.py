"""Requests in the provider's own dialect that hold what another account has signed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyrelay.core.records import RequestRecord
from keyrelay.ports import UpstreamCall
from keyrelay.wire.registry import DIALECTS
from tests.engine.rig import FakeAnswer, ListSink, Outcome, Rig, error, providers

LEFT_OUT = "x-keyrelay-left-out: signatures of another account"
GEMINI_TOOLS = [{"functionDeclarations": [{"name": "f", "parameters": {"type": "object"}}]}]
GEMINI_TURN = {
    "role": "model",
    "parts": [{"functionCall": {"name": "f", "args": {}, "id": "c1"}, "thoughtSignature": "Zm9yZWlnbg=="}],
}
GEMINI_RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "id": "c1", "response": {"a": 1}}}]}
ANTHROPIC_TURN = [
    {"type": "thinking", "thinking": "Hm.", "signature": "Zm9yZWlnbg=="},
    {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="},
    {"type": "text", "text": "Hello."},
]


def gemini(*contents: object, **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}, *contents], "tools": GEMINI_TOOLS, **more}


def anthropic(*turns: object, **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}, *turns], **more}


ANSWERS: dict[str, dict[str, Any]] = {
    "gemini": {
        "candidates": [{"content": GEMINI_TURN, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    },
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": ANTHROPIC_TURN,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    },
}
ASKED: dict[str, Callable[..., dict[str, Any]]] = {"gemini": gemini, "anthropic": anthropic}
SIGNED: dict[str, tuple[object, ...]] = {
    "gemini": (GEMINI_TURN, GEMINI_RESULT),
    "anthropic": ({"role": "assistant", "content": ANTHROPIC_TURN}, {"role": "user", "content": "And?"}),
}


class Pair:
    """Two accounts of a provider: the first one signs, and serves no more once it is `dead`."""

    def __init__(self, dialect: str) -> None:
        self.dead = False
        self.bodies: dict[str, str] = {}
        self.codec = DIALECTS.callers[dialect]  # type: ignore[index]
        self._answer = ANSWERS[dialect]
        self.rig = Rig(self._serve, providers("acme", keys=2, ACME_DIALECT=dialect))

    def _serve(self, key: str, call: UpstreamCall) -> Outcome:
        self.bodies[key] = bytes(call.body).decode()
        if key == "acme-00" and self.dead:
            return error(401, "invalid key")
        return FakeAnswer(body=self._answer)

    async def ask(self, body: dict[str, Any]) -> str:
        """The head of the answer."""
        data = json.dumps(body).encode()
        request = self.codec.request("chat", data, max_depth=64, model="acme/m", stream=False)
        record = RequestRecord(f"req_{len(self.rig.records):032x}", self.rig.clock.monotonic_s(), client="app")
        self.rig.records.append(record)
        reply = await self.rig.gateway.serve(request, record, ListSink())
        assert reply is not None
        return reply[0].decode()


@pytest.fixture(params=["gemini", "anthropic"])
async def pair(request: pytest.FixtureRequest) -> Pair:
    """After a turn that the first account has signed."""
    made = Pair(request.param)
    body = ASKED[request.param]()
    while "acme-00" not in made.bodies:
        await made.ask({**body, "model": "acme/m"})
    return made


async def test_what_another_account_has_signed_does_not_go_on_with_a_request_that_passes(
    pair: Pair, request: pytest.FixtureRequest
) -> None:
    dialect = pair.codec.dialect
    body = {**ASKED[dialect](*SIGNED[dialect]), "model": "acme/m"}
    head = await pair.ask(body)
    assert "x-keyrelay-left-out" not in head
    assert "Zm9yZWlnbg==" in pair.bodies["acme-00"]
    pair.dead = True
    head = await pair.ask(body)
    assert LEFT_OUT in head
    assert "x-keyrelay-key: k01" in head
    sent = pair.bodies["acme-01"]
    assert "Zm9yZWlnbg==" not in sent
    assert "cmVkYWN0ZWQ=" not in sent
    assert "hi" in sent


async def test_a_request_without_signatures_passes_as_it_is_whoever_signed(pair: Pair) -> None:
    dialect = pair.codec.dialect
    turns = json.loads(json.dumps(SIGNED[dialect]).replace('"thoughtSignature"', '"x"'))
    if dialect == "anthropic":
        turns[0]["content"] = ANTHROPIC_TURN[2:]
    pair.dead = True
    body = {**ASKED[dialect](*turns), "model": "acme/m", "unheard_of": {"kept": "as it is"}}
    head = await pair.ask(body)
    assert "x-keyrelay-left-out" not in head
    assert '"unheard_of"' in pair.bodies["acme-01"]
