from typing import Any

import pytest

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Finished,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Tokens,
)
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from keyrelay.wire.parts import tool_id
from tests.wire.chat.samples import PROVIDER, chunk, delta

DONE = b"data: [DONE]\n\n"
BEGUN = Begun(id="c1", model="m1")
STOP = Finished(finish="stop")
CALLED = Finished(finish="tool_calls")


def read(*events: bytes) -> list[Any]:
    reader = PROVIDER.reader()
    return [said for event in events for said in reader.read(event)]


def test_a_stream_begins_speaks_ends_and_is_counted() -> None:
    assert read(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4}),
        DONE,
    ) == [
        BEGUN,
        TextPiece(text="Hel"),
        TextPiece(text="lo"),
        STOP,
        Counted(tokens=Tokens(input=3, output=4)),
        StreamEnded(),
    ]


@pytest.mark.parametrize(
    ("members", "pieces"),
    [
        ({"reasoning_content": "Hm."}, [ThinkingPiece(text="Hm.")]),
        ({"reasoning": "Hm.", "content": "a"}, [ThinkingPiece(text="Hm."), TextPiece(text="a")]),
        (
            {"reasoning_details": [{"text": "Hm.", "signature": "s", "format": "anthropic-claude-v1"}]},
            [ThinkingPiece(text="Hm.", signature="s", signed_by="anthropic")],
        ),
        (
            {"content": [{"type": "thinking", "thinking": [{"text": "Hm."}]}, {"type": "text", "text": "a"}]},
            [ThinkingPiece(text="Hm."), TextPiece(text="a")],
        ),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, [RefusalPiece(text="No.")]),
        ({"refusal": "No."}, [RefusalPiece(text="No.")]),
        ({"role": None, "content": None, "tool_calls": None}, []),
    ],
)
def test_what_a_delta_holds(members: dict[str, Any], pieces: list[Any]) -> None:
    assert read(delta(**members)) == [BEGUN, *pieces]


def test_comments_empty_events_and_other_answers_say_nothing() -> None:
    assert read(b": keep-alive\n\n", b"event: ping\n\n") == []
    second = chunk(choices=[{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}])
    assert read(delta(content="a"), second, delta("length")) == [BEGUN, TextPiece(text="a"), Finished(finish="length")]
    assert read(chunk(choices=[{"index": 0}]), chunk(choices=None)) == [BEGUN]


def test_a_legacy_function_call_is_a_call() -> None:
    assert read(
        delta(function_call={"name": "f", "arguments": ""}),
        delta(function_call={"arguments": "{}"}),
        delta("function_call"),
    ) == [BEGUN, CallBegun(id=tool_id("c1", 0, "f"), name="f"), CallPiece(arguments="{}"), CALLED]


def test_a_call_that_came_whole_without_a_word_of_it_at_the_end() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    events = [BEGUN, CallBegun(id="a", name="f"), CallPiece(arguments='{"x":1}'), CALLED]
    assert read(delta("stop", tool_calls=[call])) == events
    assert read(delta("", tool_calls=[call]), DONE) == [*events, StreamEnded()]


def test_what_was_held_back_comes_before_the_end() -> None:
    assert read(
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x'}}]),
        delta(
            tool_calls=[
                {"index": 1, "id": "b", "function": {"name": "g"}},
                {"index": 2, "function": {"arguments": "{"}},
            ]
        ),
        delta("length"),
    ) == [
        BEGUN,
        CallBegun(id="a", name="f"),
        CallPiece(arguments='{"x'),
        CallBegun(id="b", name="g"),
        CallBegun(id=tool_id("c1", 2, ""), name=""),
        CallPiece(arguments="{"),
        Finished(finish="length"),
    ]


def test_nothing_but_usage_follows_the_end() -> None:
    assert read(delta("stop", content="a"), delta(content="b"), delta("length"), DONE) == [
        BEGUN,
        TextPiece(text="a"),
        STOP,
        StreamEnded(),
    ]
    assert read(DONE) == [StreamEnded()]


def test_usage_is_said_when_it_changes_and_may_be_groqs_own() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    counted = Counted(tokens=Tokens(input=3, output=1))
    choices = [{"index": 0, "delta": {"content": "a"}}]
    assert read(chunk(choices=choices, usage=usage), chunk(choices=[], usage=usage)) == [
        BEGUN,
        TextPiece(text="a"),
        counted,
    ]
    assert read(chunk(choices=choices, x_groq={"id": "r"}), chunk(choices=[], x_groq={"usage": usage})) == [
        BEGUN,
        TextPiece(text="a"),
        counted,
    ]


def test_the_sequence_that_stopped_it_where_the_server_says_it() -> None:
    event = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}])
    assert read(event) == [BEGUN, Finished(finish="stop_sequence", stop_sequence="END")]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'data: {"error":{"message":"no"}}\n\n', b'{"error":{"message":"no"}}'),
        (b'{"error":{"code":429}}\n\n', b'{"error":{"code":429}}'),
        (b'[{"error":{"code":429}}]', b'[{"error":{"code":429}}]'),
        (b'data: {"choices":[{"finish_reason":"error"}]}\n\n', b'{"choices":[{"finish_reason":"error"}]}'),
        (b'data: {"choices":[{"error":{"code":502}}]}\n\n', b'{"choices":[{"error":{"code":502}}]}'),
    ],
)
def test_an_error_in_a_stream_is_a_failure(event: bytes, error: bytes) -> None:
    assert read(event) == [StreamFailure(problem="the stream holds an error", error=error)]


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"nonsense", b'{"choices":[{"delta":{"content":5}}]}', b'{"id":"\xff"}', b"[" * 5000]
)
def test_what_is_malformed_is_a_failure(data: bytes) -> None:
    assert read(b"data: " + data + b"\n\n") == [StreamFailure(problem="an event is not the JSON that was expected")]


def test_the_reading_says_how_it_stands() -> None:
    reader = PROVIDER.reader()
    assert repr(reader) == "<ChunkReader not begun <PartOrder 0 calls, 0 parts wait>>"
    reader.read(delta(tool_calls=[{"id": "a", "function": {"name": "f"}}]))
    assert repr(reader) == "<ChunkReader begun <PartOrder 1 calls, 0 parts wait>>"
    reader.read(delta("stop"))
    assert repr(reader) == "<ChunkReader finished <PartOrder 1 calls, 0 parts wait>>"
