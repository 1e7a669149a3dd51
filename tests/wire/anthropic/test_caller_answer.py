from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Answer, AnswerPart, Image, Refusal, Text, Thinking, Tokens, ToolCall
from tests.wire.anthropic.examples import CALLER, MODEL, asked, facts_of

TOKENS = Tokens(input=20, output=5, cached=8, cache_written=2, reasoning=1)


def answered(*parts: AnswerPart, **members: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"tokens": TOKENS}
    body: dict[str, Any] = msgspec.json.decode(CALLER.answer(Answer(parts=parts, **{**known, **members}), facts_of()))
    return body


def test_a_whole_answer() -> None:
    assert answered(Text("Well.")) == {
        "id": "msg_" + "0" * 32,
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Well."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 8,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            Thinking(text="hm", signature="c2ln", signed_by="anthropic"),
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        ),
        (
            Thinking(text="hm", signature="x", signed_by="gemini"),
            {"type": "thinking", "thinking": "hm", "signature": ""},
        ),
        (Thinking(redacted="x", signed_by="anthropic"), {"type": "redacted_thinking", "data": "x"}),
        (
            ToolCall(id="call_1", name="f", arguments='{"a": [1, 2]}'),
            {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": [1, 2]}},
        ),
        (
            ToolCall(id="functions.f:0", name="f", arguments=""),
            {"type": "tool_use", "id": "toolu_kr64_ZnVuY3Rpb25zLmY6MA", "name": "f", "input": {}},
        ),
        (
            ToolCall(id="c", name="f", arguments="free text", custom=True),
            {"type": "tool_use", "id": "c", "name": "f", "input": {"input": "free text"}},
        ),
        (
            ToolCall(id="c", name="f", arguments='{"a": 1'),
            {"type": "tool_use", "id": "c", "name": "f", "input": {"input": '{"a": 1'}},
        ),
    ],
)
def test_parts(part: Thinking | ToolCall, block: dict[str, object]) -> None:
    assert answered(part)["content"] == [block]


def test_thoughts_that_another_dialect_hides_say_nothing_here() -> None:
    assert answered(Thinking(redacted="x", signed_by="openai"), Text("a"))["content"] == [{"type": "text", "text": "a"}]


def test_calls_are_what_it_ended_with_whatever_the_provider_says() -> None:
    assert answered(ToolCall(id="c", name="f", arguments="{}"))["stop_reason"] == "tool_use"


def test_a_refusal_is_text_with_a_reason_of_its_own() -> None:
    answer = answered(Refusal("I must not "), Refusal("say that."))
    assert [block["text"] for block in answer["content"]] == ["I must not ", "say that."]
    assert answer["stop_reason"] == "refusal"
    assert answer["stop_details"] == {"type": "refusal", "category": None, "explanation": "I must not say that."}


def test_a_stop_sequence_is_named() -> None:
    answer = answered(Text("a"), finish="stop_sequence", stop_sequence="END")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")


def test_what_nobody_counted_is_estimated() -> None:
    call = ToolCall(id="c", name="find", arguments='{"a": 1}')
    usage = answered(Text("four"), Thinking(text="four"), call, tokens=None)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 5)
    assert (usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]) == (0, 0)


def test_what_has_no_place_is_not_written() -> None:
    assert not CALLER.shows(Image(url="https://a.example/b.png"), asked())
    assert answered(Image(url="https://a.example/b.png"))["content"] == []


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}, {"type": "adaptive", "display": "omitted"}])
def test_who_did_not_ask_for_thoughts_is_given_none(thinking: dict[str, Any] | None) -> None:
    parts = (Thinking(text="hm"), Thinking(redacted="x", signed_by="anthropic"), Text("a"))
    body = msgspec.json.decode(CALLER.answer(Answer(parts=parts), facts_of(thinking=thinking)))
    assert body["content"] == [{"type": "text", "text": "a"}]
