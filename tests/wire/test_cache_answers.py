from typing import Any

import msgspec
import pytest

from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.cache_answers import NotKept, keepable
from keyrelay.wire.openai import decode_request

CALL = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def asked(*, stream: bool = False, operation: Operation = "chat", **more: Any) -> CallRequest:
    body = {"model": "m", "messages": [{}], "prompt": "x", "input": "x", "stream": stream, **more}
    return decode_request(operation, msgspec.json.encode(body), max_depth=64)


def whole(*choices: dict[str, Any], **more: Any) -> bytes:
    return msgspec.json.encode(
        {"id": "x", "choices": [{"index": at, **each} for at, each in enumerate(choices)], **more}
    )


def streamed(*events: Any) -> bytes:
    lines = [each if isinstance(each, str) else "data: " + msgspec.json.encode(each).decode() for each in events]
    return "".join(f"{line}\n\n" for line in lines).encode()


def piece(content: str | None = None, finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": content, **delta}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("choices", "more", "outcome"),
    [
        (({"message": {"content": "hi"}, "finish_reason": "stop"},), {}, None),
        (({"text": "hi", "finish_reason": "stop"},), {}, None),
        (({"finish_reason": "stop"}, {"finish_reason": "stop"}), {}, None),
        (({"finish_reason": "stop"}, {"finish_reason": "length"}), {}, NotKept.UNFINISHED),
        (({"finish_reason": "length"},), {}, NotKept.UNFINISHED),
        (({"finish_reason": "length"},), {"max_tokens": 5}, None),
        (({"finish_reason": "content_filter"},), {"max_tokens": 5}, NotKept.UNFINISHED),
        (({"finish_reason": None},), {}, NotKept.UNFINISHED),
        (({"message": {"content": "hi"}},), {}, NotKept.UNFINISHED),
        ((), {}, NotKept.UNFINISHED),
        (({"message": {"tool_calls": CALL}, "finish_reason": "tool_calls"},), {}, NotKept.TOOL_CALLS),
        (({"message": {"tool_calls": CALL}, "finish_reason": "stop"},), {}, NotKept.TOOL_CALLS),
        (({"message": {"function_call": {"name": "f"}}, "finish_reason": "stop"},), {}, NotKept.TOOL_CALLS),
        (({"message": {}, "finish_reason": "function_call"},), {}, NotKept.TOOL_CALLS),
        (({"message": {"tool_calls": []}, "finish_reason": "stop"},), {}, None),
    ],
)
def test_whole_answers(choices: tuple[dict[str, Any], ...], more: dict[str, Any], outcome: NotKept | None) -> None:
    body = whole(*choices)
    assert keepable(asked(**more), body, tools=False) == (outcome or body)


def test_answers_with_tool_calls_are_kept_when_that_is_wanted() -> None:
    body = whole({"message": {"tool_calls": CALL}, "finish_reason": "tool_calls"})
    assert keepable(asked(), body, tools=True) == body
    assert keepable(asked(), whole({"message": {"tool_calls": CALL}}), tools=True) is NotKept.UNFINISHED


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"choices":', b'{"choices":7}', whole({"finish_reason": "stop"}, error={"message": "x"})],
)
def test_what_is_no_answer_is_not_kept(body: bytes) -> None:
    assert keepable(asked(), body, tools=False) is NotKept.BROKEN


def test_embeddings_have_no_end_to_wait_for() -> None:
    assert keepable(asked(operation="embeddings"), b'{"data":[{}]}', tools=False) == b'{"data":[{}]}'


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"text":"hi","provider":"groq","finish_reason":"stop"}', None),
        (b'{"text":"hi","provider":"groq","finish_reason":"length"}', NotKept.UNFINISHED),
        (b'{"text":"hi","provider":"groq","finish_reason":null}', NotKept.UNFINISHED),
        (b'{"text":"","provider":"groq","finish_reason":"tool_calls"}', NotKept.TOOL_CALLS),
    ],
)
def test_the_short_form(body: bytes, outcome: NotKept | None) -> None:
    assert keepable(asked(), body, tools=False) == (outcome or body)


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ((piece("a"), piece("b", "stop"), {"choices": [], "usage": {}}, "data: [DONE]"), None),
        ((piece("a"), piece(finish="stop")), None),
        ((piece("a"), piece("b", "length"), "data: [DONE]"), NotKept.UNFINISHED),
        ((piece("a"), "data: [DONE]"), NotKept.UNFINISHED),
        ((piece("a"), piece("a", index=1), piece(finish="stop"), "data: [DONE]"), NotKept.UNFINISHED),
        ((piece("a"), piece(finish="stop", index=1), piece(finish="stop"), piece("late")), None),
        ((piece("a"), piece(tool_calls=CALL), piece(finish="stop"), "data: [DONE]"), NotKept.TOOL_CALLS),
        ((piece(function_call={"name": "f"}), piece(finish="stop"), "data: [DONE]"), NotKept.TOOL_CALLS),
        ((piece("a"), piece(finish="stop"), {"error": {"message": "x"}}), NotKept.BROKEN),
        ((piece("a"), "data: {", piece(finish="stop")), NotKept.BROKEN),
        (({"text": "a"}, {"done": True, "finish_reason": "stop"}, "data: [DONE]"), None),
        (({"text": "a"}, "data: [DONE]"), NotKept.UNFINISHED),
        ((), NotKept.UNFINISHED),
    ],
)
def test_streams(events: tuple[Any, ...], outcome: NotKept | None) -> None:
    body = streamed(*events)
    assert keepable(asked(stream=True), body, tools=False) == (outcome or body)


def test_comments_in_a_stream_are_left_out_and_its_last_event_is_ended() -> None:
    good = streamed(piece("a"), piece(finish="stop"))
    noisy = b": waiting for quota\n\n" + good.removesuffix(b"\n\n") + b"\r\n"
    assert keepable(asked(stream=True), noisy, tools=False) == good
