import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    TextPiece,
    ThinkingPiece,
    Tokens,
    Unheld,
)
from keyrelay.wire.cohere.names import fitting_name
from keyrelay.wire.cohere.streaming import CohereReader
from keyrelay.wire.dialects import StreamEnded, StreamFailure
from keyrelay.wire.errors import embedded_status, read_error
from keyrelay.wire.parts import tool_id
from keyrelay.wire.sse import EventSplitter
from tests.wire.ollama.samples import EXAMPLES

USAGE = {"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 9.0, "output_tokens": 5.0}}


def event(kind: str | None, **members: object) -> bytes:
    data = members if kind is None else {"type": kind, **members}
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def delta(kind: str, index: int | None = None, **message: object) -> bytes:
    place = {} if index is None else {"index": index}
    return event(kind, **place, delta={"message": message})


def start(index: int, name: str, call_id: str | None = "", arguments: str = "") -> bytes:
    function = {"name": name, "arguments": arguments}
    given = {"id": f"call_{index}" if call_id == "" else call_id, "type": "function", "function": function}
    return delta("tool-call-start", index, tool_calls=given)


def more(index: int, arguments: str) -> bytes:
    return delta("tool-call-delta", index, tool_calls={"function": {"arguments": arguments}})


def end(index: int) -> bytes:
    return event("tool-call-end", index=index)


BEGIN = event(
    "message-start",
    id="29f14a5a",
    delta={"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}},
)
END = event("message-end", delta={"finish_reason": "COMPLETE", "usage": USAGE})
WHOLE: list[Event | StreamEnded] = [
    Finished(finish="stop"),
    Counted(tokens=Tokens(input=9, output=5)),
    StreamEnded(),
]

RECORDED = [
    BEGIN,
    delta("content-start", 0, content={"type": "thinking", "thinking": ""}),
    delta("content-delta", 0, content={"thinking": "Sun\u2028light"}),
    event("content-end", index=0),
    delta("content-start", 1, content={"type": "text", "text": "The "}),
    delta("content-delta", 1, content={"text": "sky \u2029\x85\r\n"}),
    event("citation-start", index=0, delta={"message": {"citations": {"start": 0, "end": 3, "text": "The"}}}),
    event("citation-end", index=0),
    event("content-end", index=1),
    delta("tool-plan-delta", tool_plan="I "),
    delta("tool-plan-delta", tool_plan="look."),
    start(0, "get_x2D_it"),
    more(0, '{"a":'),
    more(0, ' "é"}'),
    end(0),
    start(1, "g", None, "{}"),
    end(1),
    event("debug", prompt="<s>"),
    event("message-end", id="29f14a5a", delta={"finish_reason": "TOOL_CALL", "usage": USAGE}),
    b"data: [DONE]\n\n",
]
EVENTS = [
    Begun(id="29f14a5a"),
    ThinkingPiece(text="Sun\u2028light"),
    TextPiece(text="The "),
    TextPiece(text="sky \u2029\x85\r\n"),
    Unheld("citations"),
    ThinkingPiece(text="I "),
    ThinkingPiece(text="look."),
    CallBegun(id="call_0", name="get-it"),
    CallPiece(arguments='{"a":'),
    CallPiece(arguments=' "é"}'),
    CallBegun(id=tool_id("29f14a5a", 1, "g"), name="g"),
    CallPiece(arguments="{}"),
    Finished(finish="tool_calls"),
    Counted(tokens=Tokens(input=9, output=5)),
    StreamEnded(),
]


def read(chunks: list[bytes]) -> list[object]:
    splitter, reader = EventSplitter(10_000), CohereReader()
    framed = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    rest = splitter.rest()
    return [item for piece in [*framed, *([rest + b"\n\n"] if rest else [])] for item in reader.read(piece)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_says_the_same_wherever_it_is_cut(line_end: bytes) -> None:
    stream = b"".join(b"event: x\n" + piece for piece in RECORDED).replace(b"\n", line_end)
    for place in range(len(stream) + 1):
        assert read([stream[:place], stream[place:]]) == EVENTS
    assert read([stream[place : place + 1] for place in range(len(stream))]) == EVENTS


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [start(0, "f"), start(1, "g"), more(1, "1"), more(0, "0"), end(0), more(1, "2"), end(1), end(1)],
            [
                CallBegun(id="call_0", name="f"),
                CallPiece(arguments="0"),
                CallBegun(id="call_1", name="g"),
                CallPiece(arguments="1"),
                CallPiece(arguments="2"),
            ],
        ),
        (
            [start(0, "f"), start(1, "g"), end(1), start(2, "h"), more(2, "2"), more(0, "0"), end(0)],
            [
                CallBegun(id="call_0", name="f"),
                CallPiece(arguments="0"),
                CallBegun(id="call_1", name="g"),
                CallBegun(id="call_2", name="h"),
                CallPiece(arguments="2"),
            ],
        ),
        (
            [start(0, "f"), delta("content-delta", 5, content={"text": "Hi"}), more(0, "0")],
            [CallBegun(id="call_0", name="f"), CallPiece(arguments="0"), TextPiece(text="Hi")],
        ),
        ([more(3, "lost"), end(3)], []),
        ([delta("tool-call-start", tool_calls=[])], []),
        ([delta("tool-call-start", 0, tool_calls=[{"id": "x"}])], [CallBegun(id="x", name="")]),
        ([event("tool-call-start", index=0)], []),
        ([delta("content-start", 0, content="odd"), delta("content-delta", 0)], []),
        ([event("of-tomorrow", delta={"message": {"content": {"text": "no"}}})], []),
    ],
)
def test_pieces_of_two_calls_never_alternate(events: list[bytes], expected: list[object]) -> None:
    assert read([BEGIN, *events, END]) == [Begun(id="29f14a5a"), *expected, *WHOLE]


def test_a_stream_may_begin_without_its_beginning() -> None:
    assert read([delta("content-delta", 0, content={"text": "Hi"}), END]) == [Begun(), TextPiece(text="Hi"), *WHOLE]


def test_usage_may_be_missing() -> None:
    ended = event("message-end", delta={"finish_reason": "MAX_TOKENS"})
    assert read([BEGIN, ended]) == [Begun(id="29f14a5a"), Finished(finish="length"), StreamEnded()]
    assert read([BEGIN, event("message-end")])[1:] == [Finished(finish="stop"), StreamEnded()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"finish_reason": "ERROR", "error": "The model crashed."}, "The model crashed."),
        ({"finish_reason": "TIMEOUT"}, "The model broke its answer off."),
        ({"error": "Something."}, "Something."),
    ],
)
def test_an_answer_that_broke_off_is_a_failure(given: dict[str, str], message: str) -> None:
    reader = CohereReader()
    reader.read(BEGIN)
    (failure,) = reader.read(event("message-end", delta=given))
    assert isinstance(failure, StreamFailure)
    error = read_error(embedded_status(failure.error), failure.error, {}, 0)
    assert (error.status, error.message) == (502, message)
    assert error.codes == ((given["finish_reason"].lower(),) if "finish_reason" in given else ())
    assert list(reader.read(END)) == []


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (event(None, message="too many tokens"), b'{"message": "too many tokens"}'),
        (event(None, error={"message": "no"}), b'{"error": {"message": "no"}}'),
        (b'{"message":"no"}\n\n', b'{"message":"no"}'),
        (b'[{"error":"no"}]\n\n', b'[{"error":"no"}]'),
    ],
)
def test_an_error_ends_a_stream(bad: bytes, error: bytes) -> None:
    assert read([BEGIN, bad, END]) == [
        Begun(id="29f14a5a"),
        StreamFailure(problem="the stream holds an error", error=error),
    ]


@pytest.mark.parametrize(
    "bad", [b"data: <html>\n\n", b"data: []\n\n", b'data: {"type":1}\n\n', b'data: {"x":"\xff"}\n\n']
)
def test_what_is_malformed_ends_a_stream(bad: bytes) -> None:
    failure = StreamFailure(problem="an event is not the JSON that was expected")
    assert read([BEGIN, bad, END]) == [Begun(id="29f14a5a"), failure]


def test_what_says_nothing_is_nothing() -> None:
    reader = CohereReader()
    assert [list(reader.read(piece)) for piece in (b": ping\n\n", b"event: x\n\n", b"data: [DONE]\n\n")] == [[], [], []]


def test_a_reader_says_how_far_it_is() -> None:
    reader = CohereReader()
    for piece in (BEGIN, start(0, "f"), start(1, "g")):
        reader.read(piece)
    assert repr(reader) == "<CohereReader open 2 calls 1 pieces held>"
    reader.read(END)
    assert repr(reader) == "<CohereReader over 2 calls 0 pieces held>"


@settings(max_examples=EXAMPLES)
@given(
    calls=st.lists(st.tuples(st.text(min_size=1, max_size=8), st.lists(st.text(min_size=1, max_size=5))), max_size=4),
    data=st.data(),
)
def test_calls_come_out_whole_in_whatever_order_their_pieces_come(
    calls: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    waiting = [
        [start(index, fitting_name(name)), *(more(index, piece) for piece in pieces), end(index)]
        for index, (name, pieces) in enumerate(calls)
    ]
    mixed = []
    begun: list[int] = []
    while any(waiting):
        index = data.draw(st.sampled_from([place for place, left in enumerate(waiting) if left]))
        if index not in begun:
            begun.append(index)
        mixed.append(waiting[index].pop(0))
    expected: list[Event] = []
    for index in begun:
        name, pieces = calls[index]
        expected.append(CallBegun(id=f"call_{index}", name=name))
        expected += [CallPiece(arguments=piece) for piece in pieces]
    assert read([BEGIN, *mixed, END]) == [Begun(id="29f14a5a"), *expected, *WHOLE]
