"""What a provider answers beyond words and calls, for every caller: shown, told in words, or named; never lost unsaid.

Each provider's answer is written twice, whole and streamed, in its own dialect.
"""

import json
from typing import Any

import pytest

from keyrelay.core.conversation import Answer, Dialect
from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import AnswerFacts, CallerCodec, ProviderCodec
from keyrelay.wire.media import fitted
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.registry import (
    ANTHROPIC,
    DIALECTS,
    GEMINI_ARRAY,
    GEMINI_EVENTS,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    OPENAI,
    RESPONSES,
)
from keyrelay.wire.translated import TranslatedStream

PNG = "iVBORw0KGgoA"
WAV = "UklGRgAA"
DATA_URL = f"data:image/png;base64,{PNG}"
TURN = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

CALLERS: dict[str, tuple[CallerCodec, dict[str, Any]]] = {
    "chat": (OPENAI, TURN),
    "chat with usage": (OPENAI, {**TURN, "stream_options": {"include_usage": True}}),
    "completions": (OPENAI, {"model": "m", "prompt": "hi"}),
    "responses": (RESPONSES, {"model": "m", "input": "hi"}),
    "anthropic": (ANTHROPIC, {"max_tokens": 9, **TURN}),
    "gemini": (GEMINI_EVENTS, {"contents": [{"parts": [{"text": "hi"}]}]}),
    "gemini array": (GEMINI_ARRAY, {"contents": [{"parts": [{"text": "hi"}]}]}),
    "ollama": (OLLAMA_CHAT, TURN),
    "ollama generate": (OLLAMA_GENERATE, {"model": "m", "prompt": "hi"}),
}


def sse(*events: object) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def choice(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def openai(beside: dict[str, Any] | None = None, **message: Any) -> tuple[bytes, bytes]:
    more = beside or {}
    whole = {"id": "c", "model": "m", **choice(**{"content": "Words.", **message}), **more}
    stream = sse({"id": "c", "model": "m", **delta(content="Words."), **more}, delta(**message), delta("stop"))
    return json.dumps(whole).encode(), stream + b"data: [DONE]\n\n"


def gemini(*parts: dict[str, Any], **candidate: Any) -> tuple[bytes, bytes]:
    said = [{"text": "Words."}, *parts]

    def chunk(some: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"role": "model", "parts": some}, "index": 0, **more}]}

    whole = chunk(said, finishReason="STOP", **candidate)
    return json.dumps(whole).encode(), sse(
        *(chunk([part]) for part in said), chunk([], finishReason="STOP", **candidate)
    )


def anthropic(*blocks: dict[str, Any]) -> tuple[bytes, bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    content = [{"type": "text", "text": "Words."}, *blocks]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(content):
        start = {key: value for key, value in block.items() if key != "citations"}
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        for citation in block.get("citations", ()):
            cited = {"type": "citations_delta", "citation": citation}
            events.append({"type": "content_block_delta", "index": index, "delta": cited})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    return json.dumps({**message, "content": content, "stop_reason": "end_turn"}).encode(), sse(*events)


def ollama(**message: Any) -> tuple[bytes, bytes]:
    first = {"model": "m", "message": {"role": "assistant", "content": "Words.", **message}}
    last = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    lines = b"%b\n%b\n" % (json.dumps({**first, "done": False}).encode(), json.dumps(last).encode())
    return json.dumps({**first, "done": True, "done_reason": "stop"}).encode(), lines


def cohere(citations: list[Any], *content: dict[str, Any]) -> tuple[bytes, bytes]:
    said = [{"type": "text", "text": "Words."}, *content]
    whole = {"id": "x", "finish_reason": "COMPLETE", "message": {"content": said, "citations": citations}}
    events: list[dict[str, Any]] = [{"type": "message-start", "id": "x"}]
    events += [{"type": "content-start", "index": 0, "delta": {"message": {"content": item}}} for item in said]
    events += [{"type": "citation-start", "index": 0, "delta": {"message": {"citations": each}}} for each in citations]
    return json.dumps(whole).encode(), sse(*events, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})


PICTURE, SOUND = "picture", "sound"
CODE = "```python\nprint(1)\n```"
ANSWERS: dict[str, tuple[Dialect, tuple[bytes, bytes], str, tuple[str, ...]]] = {
    "openai images": (
        "openai",
        openai(images=[{"type": "image_url", "image_url": {"url": DATA_URL}, "index": 0}]),
        PICTURE,
        (),
    ),
    "openai content": (
        "openai",
        openai(
            content=[
                {"type": "text", "text": "Words."},
                {"type": "image_url", "image_url": DATA_URL},
                {"type": "reference", "reference_ids": [1]},
            ]
        ),
        PICTURE,
        ("content: reference",),
    ),
    "openai unreadable": ("openai", openai(images=["what"], audio="what"), "", ("audio", "images")),
    "openai audio": (
        "openai",
        openai(audio={"id": "a", "data": WAV, "transcript": "Heard.", "expires_at": 1}),
        SOUND,
        (),
    ),
    "openai annotations": (
        "openai",
        openai(annotations=[{"type": "url_citation"}], executed_tools=[{"type": "search"}]),
        "",
        ("annotations", "executed_tools"),
    ),
    "openai findings": (
        "openai",
        openai({"citations": ["https://a.example"], "search_results": [{}], "images": [{"image_url": "u"}]}),
        "",
        ("citations", "search_results", "images"),
    ),
    "gemini picture": ("gemini", gemini({"inlineData": {"mimeType": "image/png", "data": PNG}}), PICTURE, ()),
    "gemini sound": ("gemini", gemini({"inlineData": {"mimeType": "audio/wav", "data": WAV}}), SOUND, ()),
    "gemini file": (
        "gemini",
        gemini({"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.example/b.pdf"}}),
        "https://a.example/b.pdf",
        (),
    ),
    "gemini code": (
        "gemini",
        gemini({"executableCode": {"language": "PYTHON", "code": "print(1)\n"}}),
        CODE,
        ("executableCode: told as text",),
    ),
    "gemini result": (
        "gemini",
        gemini({"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "no\n"}}),
        "```\nOUTCOME_FAILED\nno\n```",
        ("codeExecutionResult: told as text",),
    ),
    "gemini tools": (
        "gemini",
        gemini({"toolCall": {"id": "a"}}, {"toolResponse": {}, "functionResponse": {"name": "a"}}),
        "",
        ("toolCall",),
    ),
    "gemini sketch": (
        "gemini",
        gemini({"thought": True, "inlineData": {"mimeType": "image/png", "data": PNG}}),
        "",
        ("data in thoughts",),
    ),
    "gemini sources": (
        "gemini",
        gemini(groundingMetadata={"webSearchQueries": ["a"]}, citationMetadata={"citationSources": [{}]}),
        "",
        ("citationMetadata", "groundingMetadata"),
    ),
    "anthropic server tools": (
        "anthropic",
        anthropic(
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "text", "text": "", "citations": [{"type": "web_search_result_location"}]},
        ),
        "",
        ("server_tool_use", "web_search_tool_result", "citations"),
    ),
    "ollama": ("ollama", ollama(images=[PNG]), PICTURE, ()),
    "cohere": ("cohere", cohere([{"start": 0}], {"type": "novelty"}), "", ("content: novelty", "citations")),
}


def asked(caller: str, *, stream: bool) -> CallRequest:
    codec, body = CALLERS[caller]
    if caller.startswith("gemini"):
        return codec.request("chat", json.dumps(body).encode(), max_depth=20, model="m", stream=stream)
    operation: Operation = "completions" if caller == "completions" else "chat"
    streamed = body if stream else {name: value for name, value in body.items() if name != "stream_options"}
    return codec.request(operation, json.dumps({**streamed, "stream": stream}).encode(), max_depth=20)


def facts_for(codec: CallerCodec, request: CallRequest) -> AnswerFacts:
    return AnswerFacts(
        id="0" * 32,
        model="m",
        created_s=1_780_000_000.0,
        input_tokens=5,
        request=request,
        conversation=codec.conversation(request),
    )


def whole(caller: str, provider: ProviderCodec, body: bytes) -> tuple[str, tuple[str, ...]]:
    codec, _ = CALLERS[caller]
    request = asked(caller, stream=False)
    answer = provider.answer(body)
    assert isinstance(answer, Answer)
    answer = fitted(answer, lambda part: codec.shows(part, request))
    return codec.answer(answer, facts_for(codec, request)).decode(), answer.left_out


def streamed(caller: str, provider: ProviderCodec, data: bytes) -> tuple[str, tuple[str, ...]]:
    codec, _ = CALLERS[caller]
    request = asked(caller, stream=True)
    stream = TranslatedStream(
        provider.splitter(100_000),
        provider.reader(),
        codec.writer(facts_for(codec, request)),
        ends_at_eof=True,
        shows=lambda part: codec.shows(part, request),
        frame_end=b"\n" if provider.dialect == "ollama" else b"\n\n",
    )
    written = stream.feed(data) + stream.close()
    assert stream.end is StreamEnd.DONE, stream.problem
    return written.decode(), tuple(stream.left_out)


NOTE = "[image (image/png), 9 bytes: left out]"
SHOWN_PICTURES = {
    "chat": f'"images":[{{"type":"image_url","image_url":{{"url":"{DATA_URL}"}},"index":0}}]',
    "responses": f'"type":"image_generation_call","id":"ig_{"0" * 32}0001","status":"completed","result":"{PNG}"',
    "gemini": f'{{"inlineData":{{"mimeType":"image/png","data":"{PNG}"}}}}',
}
SHOWN_SOUNDS = {
    "chat": f'"audio":{{"id":"audio_{"0" * 32}","data":"{WAV}","transcript":"","expires_at":1780000000}}',
    "gemini": f'{{"inlineData":{{"mimeType":"audio/wav","data":"{WAV}"}}}}',
}


def expected(caller: str, what: str) -> tuple[str, tuple[str, ...]]:
    """What is in the caller's answer, and what is named because it is not."""
    family = caller.split(maxsplit=1)[0]
    if what == PICTURE:
        shown = SHOWN_PICTURES.get(family)
        return (shown, ()) if shown else (NOTE, ("image (image/png)",))
    if what == SOUND:
        shown = SHOWN_SOUNDS.get(family)
        return (shown, ()) if shown else ("[audio (audio/wav), 6 bytes: left out]", ("audio (audio/wav)",))
    return json.dumps(what)[1:-1], ()


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("case", ANSWERS)
def test_a_whole_answer_loses_nothing_unsaid(case: str, caller: str) -> None:
    dialect, (body, _), what, names = ANSWERS[case]
    text, left_out = whole(caller, DIALECTS.providers[dialect], body)
    shown, lost = expected(caller, what)
    assert "Words." in text
    assert shown in text
    assert set(names) | set(lost) <= set(left_out)
    if case == "openai audio":
        assert "Heard." in text


TOLD = {
    "chat": ": left out: {plain}\n\n",
    "chat with usage": '"keyrelay":{{"left_out":[{quoted}]}}}}',
    "completions": ": left out: {plain}\n\n",
    "responses": '"keyrelay":{{"left_out":[{quoted}]}}}}',
    "anthropic": '"keyrelay":{{"left_out":[{quoted}]}}}}',
    "gemini": '"finishMessage":"Left out: {plain}"',
    "gemini array": '"finishMessage":"Left out: {plain}"',
    "ollama": '"keyrelay":{{"left_out":[{quoted}]}}}}',
    "ollama generate": '"keyrelay":{{"left_out":[{quoted}]}}}}',
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("case", ANSWERS)
def test_a_streamed_answer_loses_nothing_unsaid_and_says_so_at_its_end(case: str, caller: str) -> None:
    dialect, (_, data), what, names = ANSWERS[case]
    text, left_out = streamed(caller, DIALECTS.providers[dialect], data)
    shown, lost = expected(caller, what)
    assert "Words." in text
    assert shown in text
    assert set(names) | set(lost) <= set(left_out)
    said = TOLD[caller].format(plain=", ".join(left_out), quoted=",".join(f'"{name}"' for name in left_out))
    assert (said in text) == bool(left_out)
    assert ("keyrelay" in text or "eft out:" in text.replace(": left out]", "")) == bool(left_out)


@pytest.mark.parametrize("dialect", DIALECTS.providers)
def test_what_passes_through_is_untouched(dialect: Dialect) -> None:
    provider = DIALECTS.providers[dialect]
    for case, (named, (_, data), _, _) in ANSWERS.items():
        if named != dialect:
            continue
        stream = TranslatedStream(
            provider.splitter(100_000),
            provider.reader(),
            None,
            ends_at_eof=True,
            frame_end=b"\n" if dialect == "ollama" else b"\n\n",
        )
        assert stream.feed(data) + stream.close() == data, case
        assert stream.left_out == {}
