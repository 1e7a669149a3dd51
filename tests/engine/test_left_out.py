"""What is lost, renamed and told apart between a provider and its caller, with the whole gateway in between."""

import json
from typing import Any

import pytest

from keyrelay.core.records import RequestRecord
from keyrelay.engine.explanations import Explainer
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import UpstreamCall
from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.registry import ANTHROPIC, GEMINI_EVENTS, OLLAMA_CHAT, OPENAI, RESPONSES
from tests.engine.rig import FakeAnswer, ListSink, Outcome, Rig, delta, error, providers, stream_of

PNG = "iVBORw0KGgoA"
PICTURE = {"inlineData": {"mimeType": "image/png", "data": PNG}}
SOURCES = {"groundingMetadata": {"webSearchQueries": ["a"]}}
TURN = {"messages": [{"role": "user", "content": "hi"}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Served:
    """A gateway in front of one provider that always answers the same."""

    def __init__(self, answer: Outcome, **environ: str) -> None:
        self.bodies: list[Any] = []
        self.answer = answer
        self.rig = Rig(self._serve, providers("acme") | environ)
        self.record = RequestRecord("")
        self.sink = ListSink()

    def _serve(self, key: str, call: UpstreamCall) -> Outcome:
        del key
        self.bodies.append(json.loads(bytes(call.body)))
        return self.answer

    async def ask(self, codec: CallerCodec, body: dict[str, Any], *, stream: bool = False) -> tuple[str, str]:
        """Head and body of the answer."""
        data = json.dumps({"model": "acme/m", "stream": stream, **body}).encode()
        request = codec.request(
            "chat", data, max_depth=64, model="acme/m" if codec is GEMINI_EVENTS else "", stream=stream
        )
        self.record = RequestRecord(f"req_{len(self.rig.records):032x}", self.rig.clock.monotonic_s(), client="app")
        self.rig.records.append(self.record)
        reply = await self.rig.gateway.serve(request, self.record, self.sink)
        if reply is not None:
            return reply[0].decode(), reply[1].decode()
        return self.sink.head.decode(), b"".join(self.sink.pieces).decode()


def gemini(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP", "index": 0, **more}]}


async def test_what_of_a_whole_answer_the_caller_could_not_be_told_stands_in_its_head_and_its_record() -> None:
    served = Served(FakeAnswer(body=gemini({"text": "Here."}, PICTURE, **SOURCES)), ACME_DIALECT="gemini")
    head, body = await served.ask(ANTHROPIC, {"max_tokens": 9, "metadata": {"user_id": "ann"}, **TURN})
    assert "x-keyrelay-left-out: user, groundingMetadata, image (image/png)\r\n" in head
    assert "[image (image/png), 9 bytes: left out]" in body
    assert served.record.left_out == ("user", "groundingMetadata", "image (image/png)")

    explainer = Explainer(served.rig.ledger, str)
    decision = served.rig.gateway.decisions.find(served.record.id)
    assert decision is not None
    summary = explainer.explain(decision, served.rig.clock.epoch_s()).summary
    assert summary.endswith("Left out in translation: user, groundingMetadata, image (image/png).")


async def test_of_a_stream_it_stands_in_the_last_event_and_in_the_record() -> None:
    events = stream_of(gemini({"text": "Here."}, finishReason=None), gemini(PICTURE, **SOURCES), done=False)
    served = Served(events, ACME_DIALECT="gemini")
    head, body = await served.ask(ANTHROPIC, {"max_tokens": 9, **TURN}, stream=True)
    assert "left-out" not in head
    assert '"keyrelay":{"left_out":["image (image/png)","groundingMetadata"]}' in body
    assert served.record.left_out == ("image (image/png)", "groundingMetadata")


LEAVING_OUT = {
    "groq": {"GROQ_API_KEYS": "first=sim-first", "GROQ_MODELS": "m"},  # whose rules take it away
    "acme": {**providers("acme", ACME_DIALECT="anthropic"), "ACME_API_KEYS": "first=sim-first"},  # which has no place
}


@pytest.mark.parametrize("provider", LEAVING_OUT)
async def test_what_one_who_failed_could_not_be_told_is_not_said_of_the_one_who_answers(provider: str) -> None:
    asked: list[str] = []

    def script(key: str, call: UpstreamCall) -> Outcome:
        asked.append(bytes(call.body).decode())
        return error(500) if key == "sim-first" else FakeAnswer()

    rig = Rig(script, providers("best") | LEAVING_OUT[provider])
    body = json.dumps({"model": "m", "logit_bias": {"7": 1}, **TURN}).encode()
    request, record = OPENAI.request("chat", body, max_depth=64), RequestRecord("req_0", rig.clock.monotonic_s())
    reply = await rig.gateway.serve(request, record, ListSink(), Wishes(prefer=provider))
    assert reply is not None
    assert [attempt.provider for attempt in record.attempts] == [provider, "best"]
    assert ["logit_bias" in each for each in asked] == [False, True]
    assert b"x-keyrelay-provider: best" in reply[0]
    assert b"left-out" not in reply[0]
    assert record.left_out == ()


async def test_a_picture_reaches_a_caller_who_has_a_place_for_it_and_nothing_is_said_to_be_lost() -> None:
    served = Served(FakeAnswer(body=gemini({"text": "Here."}, PICTURE)), ACME_DIALECT="gemini")
    head, body = await served.ask(OPENAI, TURN)
    assert f"data:image/png;base64,{PNG}" in body
    head, body = await served.ask(RESPONSES, {"input": "hi"})
    assert json.loads(body)["output"][1]["result"] == PNG
    assert "left-out" not in head
    assert served.record.left_out == ()


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_in_the_words_are_told_apart_for_those_who_asked_and_pass_to_those_who_speak_alike(
    *, stream: bool
) -> None:
    def answer() -> Outcome:
        if stream:
            return stream_of(delta("<thi"), delta("nk>Hm.</think>"), delta("\n\nHello."), STOP)
        message = {"role": "assistant", "content": "<think>Hm.</think>\n\nHello."}
        return FakeAnswer(body={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    served = Served(answer())
    _, body = await served.ask(ANTHROPIC, {"max_tokens": 9, "thinking": {"type": "adaptive"}, **TURN}, stream=stream)
    assert ("think>" in body, '"thinking":"Hm."' in body, "Hello." in body) == (False, True, True)
    served = Served(answer())
    _, body = await served.ask(OPENAI, TURN, stream=stream)
    assert "</think>" in body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_whose_name_a_provider_does_not_take_is_called_by_its_own_in_the_end(*, stream: bool) -> None:
    name = "mcp:files.read"
    declared = {"functionDeclarations": [{"name": name, "parameters": {"type": "object"}}]}
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": [declared]}
    served = Served(FakeAnswer())
    await served.ask(GEMINI_EVENTS, body)
    there = served.bodies[0]["tools"][0]["function"]["name"]
    assert there.startswith("mcp_files_read_")
    call = {"id": "c1", "index": 0, "type": "function", "function": {"name": there, "arguments": "{}"}}
    if stream:
        said = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
        served.answer = stream_of(said, STOP)
    else:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        served.answer = FakeAnswer(body={"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
    _, text = await served.ask(GEMINI_EVENTS, body, stream=stream)
    assert f'"name":"{name}"' in text
    assert there not in text


@pytest.mark.parametrize("stream", [False, True])
async def test_an_ollama_caller_is_told_how_long_the_answer_took(*, stream: bool) -> None:
    served = Served(FakeAnswer())

    def later(key: str, call: UpstreamCall) -> Outcome:
        del key, call
        served.rig.clock.moved_s += 1.5
        return stream_of(delta("Hi"), STOP) if stream else FakeAnswer()

    served.rig.upstream.script = later
    _, body = await served.ask(OLLAMA_CHAT, TURN, stream=stream)
    assert json.loads(body.strip().split("\n")[-1])["total_duration"] >= 1_500_000_000
