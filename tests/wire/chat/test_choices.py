from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Answer, Refusal, Text, Thinking, Tokens, ToolCall
from keyrelay.wire.dialects import Unreadable
from keyrelay.wire.parts import tool_id
from tests.wire.chat.samples import PROVIDER

NOT_EXPECTED = Unreadable(problem="the answer is not the JSON object that was expected")
HOLDS_ERROR = Unreadable(problem="the answer holds an error although its status is 200", is_error=True)


def read(message: dict[str, Any], finish_reason: str | None = "stop", **members: Any) -> Answer | Unreadable:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason, **members}
    return PROVIDER.answer(msgspec.json.encode({"id": "c1", "model": "m1", "choices": [choice]}))


def parts(message: dict[str, Any]) -> Any:
    answer = read(message)
    assert isinstance(answer, Answer)
    return answer.parts


def test_a_whole_answer() -> None:
    body = b"""

    {"id":"c1","object":"chat.completion","created":1,"model":"m1","system_fingerprint":null,"choices":[
      {"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,"finish_reason":"length"},
      {"index":1,"message":{"role":"assistant","content":"Ho"},"finish_reason":"stop"}],
     "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"""
    assert PROVIDER.answer(body) == Answer(
        parts=(Text(text="Hi"),), finish="length", tokens=Tokens(input=3, output=4), id="c1", model="m1"
    )


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({}, ()),
        ({"content": ""}, ()),
        ({"content": "a", "reasoning_content": "Hm."}, (Thinking(text="Hm."), Text(text="a"))),
        (
            {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "a"}, {"type": "text"}]},
            (Thinking(text="Hm."), Text(text="a")),
        ),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, (Refusal(text="No."),)),
        ({"content": None, "refusal": "No."}, (Refusal(text="No."),)),
        (
            {
                "tool_calls": [
                    {"id": "a", "function": {"name": "f", "arguments": '{"x":"\\u00e9"}'}},
                    {"id": "b", "function": {"name": "f", "arguments": {"x": 1}}},
                    {"function": {"name": "f", "arguments": None}},
                    {"id": "d", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
                    {"id": "e"},
                    {"id": "f", "custom": {}},
                    {"id": "g", "function": {"name": "f"}, "extra_content": {"google": {"thought_signature": "c2ln"}}},
                    {"id": "h", "function": {"name": "f"}, "extra_content": {}},
                ]
            },
            (
                ToolCall(id="a", name="f", arguments='{"x":"\\u00e9"}'),
                ToolCall(id="b", name="f", arguments='{"x":1}'),
                ToolCall(id=tool_id("c1", 2, "f"), name="f", arguments=""),
                ToolCall(id="d", name="sh", arguments="ls", custom=True),
                ToolCall(id="e", name="", arguments=""),
                ToolCall(id="f", name="", arguments="", custom=True),
                ToolCall(id="g", name="f", arguments="", signature="c2ln", signed_by="gemini"),
                ToolCall(id="h", name="f", arguments=""),
            ),
        ),
        (
            {"function_call": {"name": "f", "arguments": "{}"}},
            (ToolCall(id=tool_id("c1", 0, "f"), name="f", arguments="{}"),),
        ),
        ({"function_call": {"arguments": "{}"}}, ()),
    ],
)
def test_what_a_message_holds(message: dict[str, Any], found: tuple[object, ...]) -> None:
    assert parts(message) == found


@pytest.mark.parametrize(
    ("reason", "members", "finish", "stop_sequence"),
    [
        ("stop", {}, "stop", ""),
        ("length", {}, "length", ""),
        ("model_length", {}, "length", ""),
        ("max_tokens", {}, "length", ""),
        ("content_filter", {}, "content_filter", ""),
        ("function_call", {}, "tool_calls", ""),
        ("insufficient_system_resource", {}, "error", ""),
        ("eos", {}, "stop", ""),
        (None, {}, "stop", ""),
        ("stop", {"stop_reason": "END"}, "stop_sequence", "END"),
        ("stop", {"stop_reason": 128009}, "stop", ""),
        ("length", {"stop_reason": "END"}, "length", ""),
    ],
)
def test_why_an_answer_ended(reason: str | None, members: dict[str, Any], finish: str, stop_sequence: str) -> None:
    answer = read({"content": "a"}, reason, **members)
    assert isinstance(answer, Answer)
    assert (answer.finish, answer.stop_sequence) == (finish, stop_sequence)


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "", None])
def test_an_answer_with_calls_ended_with_calls(reason: str | None) -> None:
    answer = read({"tool_calls": [{"id": "a", "function": {"name": "f"}}]}, reason)
    assert isinstance(answer, Answer)
    assert answer.finish == "tool_calls"


@pytest.mark.parametrize(
    ("body", "unreadable"),
    [
        (b"", NOT_EXPECTED),
        (b"<html>", NOT_EXPECTED),
        (b"[]", NOT_EXPECTED),
        (b'{"choices":[{"message":{"content":5}}]}', NOT_EXPECTED),
        (b'{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"\xff"}}]}}]}', NOT_EXPECTED),
        (b"{" * 5000, NOT_EXPECTED),
        (b"{}", Unreadable(problem="the answer is empty")),
        (b'{"choices":[]}', Unreadable(problem="the answer is empty")),
        (b'{"error":{"message":"no"},"choices":[]}', HOLDS_ERROR),
        (b'{"choices":[{"finish_reason":"error","message":{"content":"a"}}]}', HOLDS_ERROR),
        (b'{"choices":[{"error":{"code":502},"finish_reason":"stop"}]}', HOLDS_ERROR),
    ],
)
def test_what_is_no_answer_says_so(body: bytes, unreadable: Unreadable) -> None:
    assert PROVIDER.answer(body) == unreadable


def test_numbers_for_ids_and_no_message_at_all_are_taken() -> None:
    assert PROVIDER.answer(b'{"id":7,"model":null,"choices":[{}]}') == Answer(parts=(), id="7")
