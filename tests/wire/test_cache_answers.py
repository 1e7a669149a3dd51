from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Answer, Dialect, Finish, Text, Thinking, ToolCall
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
    assert keepable(asked(**more), body, None, tools=False) == (outcome or body)


def test_answers_with_tool_calls_are_kept_when_that_is_wanted() -> None:
    body = whole({"message": {"tool_calls": CALL}, "finish_reason": "tool_calls"})
    assert keepable(asked(), body, None, tools=True) == body
    assert keepable(asked(), whole({"message": {"tool_calls": CALL}}), None, tools=True) is NotKept.UNFINISHED


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"choices":', b'{"choices":7}', whole({"finish_reason": "stop"}, error={"message": "x"})],
)
def test_what_is_no_answer_is_not_kept(body: bytes) -> None:
    assert keepable(asked(), body, None, tools=False) is NotKept.BROKEN


def test_embeddings_have_no_end_to_wait_for() -> None:
    assert keepable(asked(operation="embeddings"), b'{"data":[{}]}', None, tools=False) == b'{"data":[{}]}'


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
    assert keepable(asked(), body, None, tools=False) == (outcome or body)


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
    assert keepable(asked(stream=True), body, None, tools=False) == (outcome or body)


def test_comments_in_a_stream_are_left_out_and_its_last_event_is_ended() -> None:
    good = streamed(piece("a"), piece(finish="stop"))
    noisy = b": waiting for quota\n\n" + good.removesuffix(b"\n\n") + b"\r\n"
    assert keepable(asked(stream=True), noisy, None, tools=False) == good


# In the other dialects the answer is known in the canonical form.

WORDS = Text("hi")
CALLED = ToolCall(id="1", name="f", arguments="{}")
BODIES: dict[Dialect, dict[str, bytes]] = {
    "anthropic": {"stop": b'{"stop_reason":"end_turn"}', "length": b'{"stop_reason": "max_tokens"}'},
    "gemini": {
        "stop": b'{"candidates":[{"finishReason":"STOP"}]}',
        "length": b'{"candidates":[{"finishReason":"MAX_TOKENS"}]}',
    },
    "ollama": {"stop": b'{"done":true,"done_reason":"stop"}', "length": b'{"done":true,"done_reason":"length"}'},
    "responses": {"stop": b"{}", "length": b"{}"},
}
OTHERS = tuple(BODIES)


def request_of(dialect: Dialect, *, stream: bool = False, bound: int | None = None) -> CallRequest:
    return CallRequest(
        operation="chat", model="m", stream=stream, body=b"{}", fields={}, dialect=dialect, max_output_tokens=bound
    )


@pytest.mark.parametrize("dialect", OTHERS)
@pytest.mark.parametrize(
    ("parts", "finish", "bound", "outcome"),
    [
        ((WORDS,), "stop", None, None),
        ((WORDS,), "stop_sequence", None, None),
        ((), "stop", None, None),
        ((WORDS,), "length", None, NotKept.UNFINISHED),
        ((WORDS,), "length", 9, None),
        ((WORDS,), "content_filter", 9, NotKept.UNFINISHED),
        ((WORDS,), "error", 9, NotKept.UNFINISHED),
        ((WORDS, CALLED), "tool_calls", None, NotKept.TOOL_CALLS),
        ((WORDS, CALLED), "stop", None, NotKept.TOOL_CALLS),
        ((WORDS,), "tool_calls", None, NotKept.TOOL_CALLS),
    ],
)
def test_answers_of_other_dialects(
    dialect: Dialect, parts: tuple[Any, ...], finish: Finish, bound: int | None, outcome: NotKept | None
) -> None:
    body = BODIES[dialect]["length" if finish == "length" else "stop"]
    kept = keepable(request_of(dialect, bound=bound), body, Answer(parts=parts, finish=finish), tools=False)
    assert kept == (outcome or body)


@pytest.mark.parametrize("dialect", OTHERS)
def test_with_tools_calls_are_kept_and_halves_of_them_are_not(dialect: Dialect) -> None:
    body = BODIES[dialect]["stop"]
    for finish in ("tool_calls", "stop"):
        assert keepable(request_of(dialect), body, Answer(parts=(CALLED,), finish=finish), tools=True) == body
    cut_off = Answer(parts=(CALLED,), finish="length")
    assert keepable(request_of(dialect), body, cut_off, tools=True) is NotKept.UNFINISHED


@pytest.mark.parametrize("dialect", OTHERS)
def test_what_nobody_has_read_to_its_end_is_not_kept(dialect: Dialect) -> None:
    assert keepable(request_of(dialect), BODIES[dialect]["stop"], None, tools=True) is NotKept.BROKEN


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("dialect", "body", "kept"),
    [
        ("anthropic", b'{"stop_reason":"pause_turn"}', False),
        ("anthropic", b'{"stop_reason":null}', False),
        ("anthropic", b'{"stop_reason":"model_context_window_exceeded"}', False),
        ("anthropic", b'{"text":"\\"stop_reason\\":\\"pause_turn\\"","stop_reason":"end_turn"}', True),
        ("anthropic", b'{"stop_reason":null} {"stop_reason" : "stop_sequence"}', True),
        ("gemini", b'{"finishReason":"STOP"} {"finishReason":"SAFETY"}', False),
        ("gemini", b'{"candidates":[{}]}', False),
        ("gemini", b'[{"finishReason":"STOP"}]', True),
        ("ollama", b'{"done":true}', False),
        ("ollama", b'{"done":true,"done_reason":"unload"}', False),
        ("ollama", b'{"done":false}\n{"done":true,"done_reason":"stop"}\n', True),
    ],
)
def test_what_passes_has_to_end_in_a_word_that_is_known(
    dialect: Dialect, body: bytes, kept: bool, stream: bool
) -> None:
    body = b"data: " + body + b"\n\n" if stream and dialect != "ollama" else body
    outcome = keepable(request_of(dialect, stream=stream), body, Answer(parts=(WORDS,)), tools=False)
    assert outcome == (body if kept else NotKept.UNFINISHED)


SIGNED: tuple[Thinking | ToolCall, ...] = (
    Thinking(text="so", signature="x", signed_by="anthropic"),
    Thinking(redacted="x", signed_by="anthropic"),
    Thinking(signature="x", signed_by="gemini"),
    ToolCall(id="1", name="f", arguments="{}", signature="x", signed_by="gemini"),
)


@pytest.mark.parametrize(
    ("dialect", "refused"),
    [
        ("anthropic", (True, True, False, False)),
        ("gemini", (False, False, True, True)),
        ("ollama", (False, False, False, False)),
        ("responses", (True, True, True, True)),
        ("openai", (True, True, True, True)),
    ],
)
def test_whoever_has_signed_an_answer_it_is_not_kept_where_the_caller_gets_that(
    dialect: Dialect, refused: tuple[bool, ...]
) -> None:
    body = BODIES.get(dialect, {}).get("stop", whole({"finish_reason": "stop"}))
    outcomes = [keepable(request_of(dialect), body, Answer(parts=(WORDS, part)), tools=True) for part in SIGNED]
    assert outcomes == [NotKept.SIGNED if no else body for no in refused]
    unsigned = Answer(parts=(Thinking(text="so"), WORDS))
    assert keepable(request_of(dialect), body, unsigned, tools=False) == body


def test_comments_are_left_out_of_streams_that_may_hold_some() -> None:
    events = b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"}}\n\nevent: ping\ndata: {}\n\n'
    request = request_of("anthropic", stream=True)
    assert keepable(request, b": waiting\n\n" + events, Answer(parts=(WORDS,)), tools=False) == events


def test_frames_of_other_streams_stay_as_they_came() -> None:
    streams: dict[Dialect, bytes] = {
        "gemini": b': what\r\n\r\ndata: {"finishReason":"STOP"}\r\n\r\n',
        "ollama": b'{"done":false}\r\n{"done":true,"done_reason":"stop"}\n',
    }
    for dialect, body in streams.items():
        request = request_of(dialect, stream=True)
        assert keepable(request, body, Answer(parts=(WORDS,)), tools=False) == body
