import json

import pytest

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Embeddings,
    Finished,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.wire.dialects import StreamEnded, StreamFailure, Unreadable
from keyrelay.wire.errors import read_error
from keyrelay.wire.ollama.lines import LineSplitter
from keyrelay.wire.ollama.reading import OllamaReader, read_answer, read_embeddings
from keyrelay.wire.parts import tool_id

CREATED = "2026-11-21T10:00:00.123456789Z"
HEAD = {"model": "llama3", "created_at": CREATED}
LAST = {"done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 298, "eval_duration": 4_799_921_000}


def line(message: object = None, **more: object) -> bytes:
    said = {} if message is None else {"message": message}
    return json.dumps({**HEAD, **said, "done": False, **more}, ensure_ascii=False).encode() + b"\n"


def test_a_whole_answer() -> None:
    call = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    message = {"role": "assistant", "content": "Hi", "thinking": "Hm.", "tool_calls": [call]}
    assert read_answer(line(message, **LAST)) == Answer(
        parts=(Thinking(text="Hm."), Text(text="Hi"), ToolCall(id="call_1", name="f", arguments='{"a": 1}')),
        finish="tool_calls",
        tokens=Tokens(input=26, output=298),
        model="llama3",
    )


def test_the_answer_to_a_prompt() -> None:
    body = b'{"response":"Hi","thinking":"Hm.","done":true,"done_reason":"length","context":[1,2]}'
    assert read_answer(body) == Answer(parts=(Thinking(text="Hm."), Text(text="Hi")), finish="length")


def test_calls_without_ids_get_some() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"a":1}'}}, {"function": {"name": "f"}}]
    answer = read_answer(line({"content": "", "tool_calls": calls}, **LAST))
    assert isinstance(answer, Answer)
    assert answer.parts == (
        ToolCall(id=tool_id(CREATED, 0, "f"), name="f", arguments='{"a":1}'),
        ToolCall(id=tool_id(CREATED, 1, "f"), name="f", arguments="{}"),
    )


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop", "stop"), ("length", "length"), ("load", "stop"), (None, "stop"), ("new", "stop")]
)
def test_why_it_ended(reason: str | None, finish: str) -> None:
    answer = read_answer(line({"content": "Hi"}, done=True, done_reason=reason))
    assert isinstance(answer, Answer)
    assert answer.finish == finish


@pytest.mark.parametrize(
    ("counts", "tokens"),
    [
        ({}, None),
        ({"eval_count": 3}, Tokens(output=3)),
        ({"prompt_eval_count": 3.0, "eval_count": None}, Tokens(input=3)),
        ({"prompt_eval_count": -1, "eval_count": 3}, None),
        ({"prompt_eval_count": 1e300, "eval_count": 3}, None),
    ],
)
def test_counts_that_are_none(counts: dict[str, object], tokens: Tokens | None) -> None:
    answer = read_answer(line({"content": "Hi"}, done=True, **counts))
    assert isinstance(answer, Answer)
    assert answer.tokens == tokens


@pytest.mark.parametrize(
    ("body", "problem", "is_error"),
    [
        (b"", "not the JSON", False),
        (b"<html>", "not the JSON", False),
        (b"[]", "not the JSON", False),
        (b'{"message":{"content":3}}', "not the JSON", False),
        (b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"\xff":1}}}]}}', "not the JSON", False),
        (b'{"model":"m","done":true}', "empty", False),
        (b'{"message":{"content":"Hi"},"done":false}', "not whole", False),
        (b'{"error":"model not found"}', "holds an error", True),
    ],
)
def test_what_is_no_answer(body: bytes, problem: str, is_error: bool) -> None:
    unreadable = read_answer(body)
    assert isinstance(unreadable, Unreadable)
    assert problem in unreadable.problem
    assert unreadable.is_error is is_error


RECORDED = [
    line({"role": "assistant", "content": "", "thinking": "Sun\u2028light"}),
    line({"role": "assistant", "content": "The "}),
    line({"role": "assistant", "content": "sky \u2029\x85\r\n"}),
    line({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "é"}}}]}),
    line({"role": "assistant", "content": "", "tool_calls": [{"id": "x", "function": {"name": "g"}}]}),
    line({"role": "assistant", "content": ""}, **LAST),
]
EVENTS = [
    Begun(model="llama3"),
    ThinkingPiece(text="Sun\u2028light"),
    TextPiece(text="The "),
    TextPiece(text="sky \u2029\x85\r\n"),
    CallBegun(id=tool_id(CREATED, 0, "f"), name="f"),
    CallPiece(arguments='{"a": "é"}'),
    CallBegun(id="x", name="g"),
    CallPiece(arguments="{}"),
    Finished(finish="tool_calls"),
    Counted(tokens=Tokens(input=26, output=298)),
    StreamEnded(),
]


def read(chunks: list[bytes]) -> list[object]:
    splitter, reader = LineSplitter(10_000), OllamaReader()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    rest = splitter.rest()
    return [item for line in [*lines, *([rest + b"\n\n"] if rest else [])] for item in reader.read(line)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_says_the_same_wherever_it_is_cut(end: bytes) -> None:
    stream = b"".join(piece.removesuffix(b"\n") + end for piece in RECORDED)
    for place in range(len(stream) + 1):
        assert read([stream[:place], stream[place:]]) == EVENTS
    assert read([stream[place : place + 1] for place in range(len(stream))]) == EVENTS


def test_a_last_line_needs_no_end() -> None:
    assert read([b"".join(RECORDED).removesuffix(b"\n")]) == EVENTS


def test_the_stream_of_a_prompt() -> None:
    lines = [line(response="", thinking="Hm."), line(response="Hi"), line(response="", done=True, done_reason="length")]
    assert read(lines) == [
        Begun(model="llama3"),
        ThinkingPiece(text="Hm."),
        TextPiece(text="Hi"),
        Finished(finish="length"),
        StreamEnded(),
    ]


def test_an_error_ends_a_stream() -> None:
    said = b'{"error":"an error was encountered while running the model: out of memory"}'
    items = read([RECORDED[1] + said + b"\n" + RECORDED[2]])
    assert items == [
        Begun(model="llama3"),
        TextPiece(text="The "),
        StreamFailure(problem="the stream holds an error", error=said),
    ]
    assert read_error(500, said, {}, 0).message.endswith("out of memory")


@pytest.mark.parametrize(
    "bad", [b"<html>\n", b"[]\n", b'{"message":1}\n', b'{"done":true,"message":{"content":"\xff"}}\n']
)
def test_what_is_malformed_ends_a_stream(bad: bytes) -> None:
    reader = OllamaReader()
    assert list(reader.read(bad)) == [StreamFailure(problem="an event is not the JSON that was expected")]
    assert list(reader.read(RECORDED[0])) == []


def test_what_says_nothing_is_nothing() -> None:
    reader = OllamaReader()
    assert list(reader.read(b"\n")) == []
    assert list(reader.read(line())) == [Begun(model="llama3")]
    assert list(reader.read(line({"role": "assistant"}))) == []


def test_a_reader_says_how_far_it_is() -> None:
    reader = OllamaReader()
    assert repr(reader) == "<OllamaReader not begun 0 calls>"
    reader.read(RECORDED[3])
    assert repr(reader) == "<OllamaReader open 1 calls>"
    reader.read(RECORDED[5])
    assert repr(reader) == "<OllamaReader over 1 calls>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"model":"m","embeddings":[[0.5,1],[2,3]],"prompt_eval_count":8}',
            Embeddings(vectors=((0.5, 1.0), (2.0, 3.0)), tokens=Tokens(input=8), model="m"),
        ),
        (b'{"embedding":[0.5]}', Embeddings(vectors=((0.5,),))),
        (b'{"embeddings":[]}', Unreadable(problem="the answer is empty")),
        (b'{"embeddings":[["a"]]}', Unreadable(problem="the answer is not the JSON object that was expected")),
        (
            b'{"error":"no"}',
            Unreadable(problem="the answer holds an error although its status is 200", is_error=True),
        ),
    ],
)
def test_vectors(body: bytes, expected: object) -> None:
    assert read_embeddings(body) == expected
