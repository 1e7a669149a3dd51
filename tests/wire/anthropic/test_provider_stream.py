from typing import Any

import msgspec
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
    Unheld,
)
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from tests.wire.anthropic.examples import PROVIDER

MALFORMED = StreamFailure(problem="an event is not the JSON that was expected")
STOP = {"type": "message_stop"}
START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}},
}
BEGUN = Begun(id="msg_1", model="m", tokens=Tokens(input=9, output=1))


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, kind: str, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def text(index: int, words: str) -> dict[str, Any]:
    return piece(index, "text_delta", text=words)


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def finish(stop_reason: str | None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason, **delta}, "usage": usage}


def said(*events: dict[str, Any]) -> list[Any]:
    """What a reader says of some events that follow a start."""
    reader = PROVIDER.reader()
    first, *rest = [item for event in (START, *events) for item in reader.read(framed(event))]
    assert first == BEGUN
    return rest


def framed(event: Any) -> bytes:
    return b"event: x\ndata: " + msgspec.json.encode(event) + b"\n\n"


TEXT = begin(0, type="text", text="")
CALL = begin(0, type="tool_use", id="t", name="f", input={})
THOUGHT = begin(0, type="thinking", thinking="", signature="")


@pytest.mark.parametrize(
    ("events", "pieces"),
    [
        ([TEXT, text(0, "a"), text(0, ""), text(0, "b"), end(0)], [TextPiece("a"), TextPiece("b")]),
        ([begin(0, type="text", text="a"), text(0, "b"), end(0)], [TextPiece("a"), TextPiece("b")]),
        ([TEXT, piece(0, "citations_delta", citation={"text": 5}), end(0)], [Unheld("citations")]),
        ([TEXT, piece(0, "delta_of_tomorrow"), end(0)], []),
        (
            [THOUGHT, piece(0, "thinking_delta", thinking="a"), piece(0, "signature_delta", signature="s"), end(0)],
            [ThinkingPiece("a"), ThinkingPiece(signature="s", signed_by="anthropic")],
        ),
        (
            [THOUGHT, piece(0, "thinking_delta", thinking="a"), piece(0, "signature_delta", signature=""), end(0)],
            [ThinkingPiece("a")],
        ),
        (
            [begin(0, type="thinking", thinking="a", signature="s"), end(0)],
            [ThinkingPiece("a"), ThinkingPiece(signature="s", signed_by="anthropic")],
        ),
        (
            [begin(0, type="thinking", thinking="", signature="s"), piece(0, "signature_delta", signature="t"), end(0)],
            [ThinkingPiece(signature="t", signed_by="anthropic")],
        ),
        ([begin(0, type="redacted_thinking", data="x"), end(0)], [ThinkingPiece(redacted="x", signed_by="anthropic")]),
        (
            [
                CALL,
                piece(0, "input_json_delta", partial_json=""),
                piece(0, "input_json_delta", partial_json='{"a"'),
                end(0),
            ],
            [CallBegun("t", "f"), CallPiece('{"a"')],
        ),
        (
            [begin(0, type="tool_use", id="t", name="f", input={"a": 1}), end(0)],
            [CallBegun("t", "f"), CallPiece('{"a":1}')],
        ),
        (
            [
                begin(0, type="tool_use", id="t", name="f", input={"a": 1}),
                piece(0, "input_json_delta", partial_json="{}"),
                end(0),
            ],
            [CallBegun("t", "f"), CallPiece("{}")],
        ),
        (
            [begin(0, type="server_tool_use", id="s"), piece(0, "input_json_delta", partial_json="{}"), end(0)],
            [Unheld("server_tool_use")],
        ),
        (
            [begin(0, type="compaction", content="a"), piece(0, "compaction_delta", content="a"), end(0)],
            [Unheld("compaction")],
        ),
        ([{"type": "ping"}, {"type": "event_of_tomorrow", "index": "a", "delta": 5}, {"index": 0}], []),
        ([START], []),
    ],
)
def test_blocks(events: list[dict[str, Any]], pieces: list[Any]) -> None:
    assert said(*events) == pieces


def test_what_begins_without_saying_so() -> None:
    events = [
        text(0, "a"),
        piece(1, "thinking_delta", thinking="b"),
        end(0),
        piece(2, "input_json_delta", partial_json="c"),
    ]
    assert said(*events) == [TextPiece("a"), ThinkingPiece("b")]


def test_content_before_any_start_begins_the_answer() -> None:
    reader = PROVIDER.reader()
    assert list(reader.read(framed(text(0, "a")))) == [Begun(), TextPiece("a")]
    assert list(reader.read(framed(START))) == []
    assert list(PROVIDER.reader().read(framed({"type": "message_start"}))) == [Begun()]
    assert list(PROVIDER.reader().read(framed(end(0)))) == []


def test_pieces_of_two_blocks_come_one_after_the_other() -> None:
    second = begin(1, type="tool_use", id="u", name="g", input={})
    third = begin(2, type="text", text="c")
    events = [
        CALL,
        second,
        piece(1, "input_json_delta", partial_json="[2"),
        piece(0, "input_json_delta", partial_json="[1"),
        third,
        end(1),
        piece(0, "input_json_delta", partial_json="]"),
        CALL,
        end(0),
        end(0),
        text(2, "d"),
    ]
    assert said(*events) == [
        *(CallBegun("t", "f"), CallPiece("[1"), CallPiece("]")),
        *(CallBegun("u", "g"), CallPiece("[2")),
        *(TextPiece("c"), TextPiece("d")),
    ]


def test_the_end_closes_whatever_is_open() -> None:
    events = [TEXT, begin(1, type="tool_use", id="t", name="f", input={"a": 1}), end(7), finish("tool_use")]
    assert said(*events) == [CallBegun("t", "f"), CallPiece('{"a":1}'), Finished("tool_calls")]


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        (
            [finish("end_turn", {"output_tokens": 5}), STOP],
            [Finished("stop"), Counted(tokens=Tokens(input=9, output=5)), StreamEnded()],
        ),
        ([finish("stop_sequence", stop_sequence="END"), STOP], [Finished("stop_sequence", "END"), StreamEnded()]),
        (
            [finish(None, {"output_tokens": 2}), finish("end_turn"), finish("max_tokens", {"output_tokens": 5}), STOP],
            [
                Counted(tokens=Tokens(input=9, output=2)),
                Finished("stop"),
                Counted(tokens=Tokens(input=9, output=5)),
                StreamEnded(),
            ],
        ),
        ([STOP], [Finished("stop"), StreamEnded()]),
        ([CALL, end(0), STOP], [CallBegun("t", "f"), Finished("tool_calls"), StreamEnded()]),
        ([{"type": "message_delta"}, STOP], [Finished("stop"), StreamEnded()]),
        ([finish("end_turn", {"output_tokens": -5})], [Finished("stop"), Counted(tokens=Tokens(input=9, output=1))]),
    ],
)
def test_how_it_ends(events: list[dict[str, Any]], ending: list[Any]) -> None:
    assert said(*events) == ending


def test_a_refusal_says_why_where_nothing_was_said() -> None:
    refused = finish("refusal", stop_details={"type": "refusal", "category": None, "explanation": "I must not."})
    assert said(refused) == [RefusalPiece("I must not."), Finished("content_filter")]
    assert said(TEXT, text(0, "a"), end(0), refused) == [TextPiece("a"), Finished("content_filter")]
    assert said(begin(0, type="text", text="a"), refused) == [TextPiece("a"), Finished("content_filter")]
    assert said(finish("refusal", stop_details=None)) == [Finished("content_filter")]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b": keep-alive\n\n", []),
        (b"event: ping\n\n", []),
        (b"event: ping\ndata: \n\n", []),
        (b"event: ping\nid: 1\n\n", []),
        (b"event: x\nid: 1\ndata: {\n\n", [MALFORMED]),
        (b'event: x\ndata: {"type"\ndata: :"ping"}\n\n', []),
        (b'event: x\r\ndata: {"type":"ping"}\r\n\r\n', []),
        (b"data: [DONE]\n\n", []),
        (b"data: {\n\n", [MALFORMED]),
        (b"data: 5\n\n", [MALFORMED]),
        (b'data: {"type":"content_block_delta","index":"a"}\n\n', [MALFORMED]),
        (b'data: {"type":"content_block_start","index":0}\n\n', [MALFORMED]),
        (b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text"}}\n\n', [MALFORMED]),
        (
            b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}\n\n',
            [MALFORMED],
        ),
    ],
)
def test_events_that_say_nothing_or_nonsense(event: bytes, said: list[Any]) -> None:
    assert list(PROVIDER.reader().read(event)) == said


@pytest.mark.parametrize(
    "error",
    [
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"error":{"message":"x"}}',
        b'{"type":"error"}',
    ],
)
def test_an_error_is_handed_on_as_it_came(error: bytes) -> None:
    failure = StreamFailure(problem="the stream holds an error", error=error)
    assert list(PROVIDER.reader().read(b"event: error\ndata: " + error + b"\n\n")) == [failure]
    assert list(PROVIDER.reader().read(error + b"\n\n")) == [failure]


def test_its_state_can_be_seen() -> None:
    reader = PROVIDER.reader()
    assert repr(reader) == "<AnthropicReader waiting 0 blocks open>"
    for event in (START, TEXT):
        reader.read(framed(event))
    assert repr(reader) == "<AnthropicReader begun 1 blocks open>"
    reader.read(framed(finish("end_turn")))
    assert repr(reader) == "<AnthropicReader finished 0 blocks open>"
