import json

import pytest

from keyrelay.core.conversation import Answer, Embeddings, Text, Thinking, Tokens, ToolCall
from keyrelay.wire.cohere.reading import read_answer, read_embeddings
from keyrelay.wire.dialects import Unreadable
from keyrelay.wire.parts import tool_id

USAGE = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 418.0},
    "tokens": {"input_tokens": 71.0, "output_tokens": 418.0},
    "cached_tokens": 64.0,
}


def body(message: object, **more: object) -> bytes:
    return json.dumps({"id": "c14c80c3", "finish_reason": "COMPLETE", "message": message, **more}).encode()


def test_a_whole_answer() -> None:
    content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}, {"type": "text", "text": ""}]
    message = {"role": "assistant", "content": content, "citations": [{"start": 0}]}
    assert read_answer(body(message, usage=USAGE)) == Answer(
        parts=(Thinking(text="Hm."), Text(text="Hi")),
        finish="stop",
        tokens=Tokens(input=71, output=418, cached=64),
        id="c14c80c3",
        left_out=("citations",),
    )


def test_calls_with_their_plan() -> None:
    calls = [
        {"id": "get_it_abc", "type": "function", "function": {"name": "get_x2D_it", "arguments": '{"a": 1}'}},
        {"type": "function", "function": {"name": "g"}},
        {"id": "x", "type": "function"},
    ]
    answer = read_answer(body({"tool_plan": "I look.", "tool_calls": calls}, finish_reason="TOOL_CALL"))
    assert answer == Answer(
        parts=(
            Thinking(text="I look."),
            ToolCall(id="get_it_abc", name="get-it", arguments='{"a": 1}'),
            ToolCall(id=tool_id("c14c80c3", 1, "g"), name="g", arguments="{}"),
            ToolCall(id="x", name="", arguments="{}"),
        ),
        finish="tool_calls",
        id="c14c80c3",
    )


def test_content_may_be_text() -> None:
    assert read_answer(b'{"message":{"content":"Hi"}}') == Answer(parts=(Text(text="Hi"),))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop_sequence"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR_LIMIT", "length"),
        ("NEW", "stop"),
        (None, "stop"),
    ],
)
def test_why_it_ended(reason: str | None, finish: str) -> None:
    answer = read_answer(body({"content": []}, finish_reason=reason))
    assert isinstance(answer, Answer)
    assert answer.finish == finish


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({}, None),
        ({"tokens": {}}, None),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 6}}, Tokens(input=5, output=6)),
        ({"tokens": {"output_tokens": 6}, "cached_tokens": 9}, Tokens(output=6)),
        ({"tokens": {"input_tokens": -1, "output_tokens": 6}}, None),
        ({"tokens": {"input_tokens": 1e300}}, None),
        ({"tokens": {"input_tokens": 5}, "cached_tokens": -1}, None),
    ],
)
def test_counts(usage: object, tokens: Tokens | None) -> None:
    answer = read_answer(body({"content": []}, usage=usage))
    assert isinstance(answer, Answer)
    assert answer.tokens == tokens


@pytest.mark.parametrize(
    ("text", "problem", "is_error"),
    [
        (b"", "not the JSON", False),
        (b"[]", "not the JSON", False),
        (b'{"message":{"content":3}}', "not the JSON", False),
        (b'{"id":"x"}', "empty", False),
        (b'{"id":"x","message":"too many tokens"}', "holds an error", True),
        (b'{"error":{"message":"no"}}', "holds an error", True),
        (b'{"message":{"content":[]},"finish_reason":"ERROR"}', "broke its answer off: ERROR", True),
        (b'{"message":{"content":[]},"finish_reason":"TIMEOUT"}', "broke its answer off: TIMEOUT", True),
    ],
)
def test_what_is_no_answer(text: bytes, problem: str, is_error: bool) -> None:
    unreadable = read_answer(text)
    assert isinstance(unreadable, Unreadable)
    assert problem in unreadable.problem
    assert unreadable.is_error is is_error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b'{"id":"x","embeddings":{"float":[[0.5,1],[2,3]]},"texts":["a","b"],"meta":{"billed_units":{"input_tokens":4}}}',
            Embeddings(vectors=((0.5, 1.0), (2.0, 3.0)), tokens=Tokens(input=4)),
        ),
        (
            b'{"embeddings":{"float":[[1]]},"meta":{"billed_units":{"input_tokens":4},"tokens":{"input_tokens":6}}}',
            Embeddings(vectors=((1.0,),), tokens=Tokens(input=6)),
        ),
        (b'{"embeddings":{"float":[[1]]}}', Embeddings(vectors=((1.0,),))),
        (b'{"embeddings":{"int8":[[1]]}}', Unreadable(problem="the answer holds no vectors")),
        (b'{"message":"invalid"}', Unreadable(problem="the answer holds no vectors", is_error=True)),
        (b"{", Unreadable(problem="the answer is not the JSON object that was expected")),
    ],
)
def test_vectors(text: bytes, expected: object) -> None:
    assert read_embeddings(text) == expected
