from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Answer, Finish, Refusal, Text, Thinking, Tokens, ToolCall
from tests.wire.chat.samples import CALLER, ID, asked, facts

CUSTOM = {"type": "custom", "custom": {"name": "sh"}}
FUNCTIONS = [{"name": "f"}]


def encoded(answer: Answer, **members: Any) -> dict[str, Any]:
    return msgspec.json.decode(CALLER.answer(answer, facts(**members)), type=dict[str, Any])


def message(*parts: Text | Thinking | Refusal | ToolCall, **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = encoded(Answer(parts=parts), **members)["choices"][0]["message"]
    return found


def test_a_whole_answer_with_all_details_of_usage() -> None:
    tokens = Tokens(input=10, output=5, cached=4, cache_written=2, reasoning=3)
    assert encoded(Answer(parts=(Text(text="Hi"), Text(text="!")), tokens=tokens)) == {
        "id": "chatcmpl-" + ID,
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": "some-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi!", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 3,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
    }


def test_usage_that_was_not_reported_is_estimated_and_its_details_are_zero() -> None:
    answer = Answer(parts=(Text(text="12345678"), ToolCall(id="a", name="f", arguments="{}")))
    usage = encoded(answer)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (11, 3, 14)
    assert set(usage["prompt_tokens_details"].values()) == {0}
    assert set(usage["completion_tokens_details"].values()) == {0}


@pytest.mark.parametrize(
    ("finish", "chat", "completion"),
    [
        ("stop", "stop", "stop"),
        ("stop_sequence", "stop", "stop"),
        ("length", "length", "length"),
        ("tool_calls", "tool_calls", "stop"),
        ("content_filter", "content_filter", "content_filter"),
        ("error", "length", "length"),
    ],
)
def test_every_finish_has_a_word_that_strict_clients_know(finish: Finish, chat: str, completion: str) -> None:
    answer = Answer(parts=(Text(text="a"),), finish=finish)
    assert encoded(answer)["choices"][0]["finish_reason"] == chat
    completed = msgspec.json.decode(CALLER.answer(answer, facts(asked("completions", prompt="a"))))
    assert completed["choices"][0]["finish_reason"] == completion


def test_calls_are_functions_and_custom_tools_and_have_their_signatures() -> None:
    called = message(
        ToolCall(id="a", name="f", arguments='{"x":1}', signature="c2ln", signed_by="gemini"),
        ToolCall(id="b", name="sh", arguments="ls", custom=True, signature="other", signed_by="anthropic"),
    )
    assert called["content"] is None
    assert called["tool_calls"] == [
        {
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": '{"x":1}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
        {"id": "b", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
    ]


def test_a_lowered_custom_tool_is_custom_again() -> None:
    called = message(ToolCall(id="b", name="sh", arguments='{"input":"ls -l"}'), tools=[CUSTOM])
    assert called["tool_calls"] == [{"id": "b", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}}]


def test_a_caller_of_functions_gets_one_function_call() -> None:
    call = ToolCall(id="a", name="f", arguments="{}")
    answer = Answer(parts=(call, ToolCall(id="b", name="g", arguments="{}")), finish="tool_calls")
    choice = encoded(answer, functions=FUNCTIONS)["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    answer = Answer(parts=(Text(text="a"),))
    assert encoded(answer, functions=FUNCTIONS)["choices"][0]["finish_reason"] == "stop"


def test_thoughts_are_shown_unless_the_caller_hides_them() -> None:
    thoughts = (Thinking(text="Hm. "), Thinking(text="Ok.", signature="s", signed_by="anthropic"))
    shown = message(*thoughts)
    assert shown["reasoning_content"] == "Hm. Ok."
    assert shown["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm. ", "index": 0},
        {"type": "reasoning.text", "text": "Ok.", "signature": "s", "format": "anthropic-claude-v1", "index": 1},
    ]
    assert message(Thinking(text="Hm.")).keys() == {"role", "content", "refusal", "annotations", "reasoning_content"}
    assert "reasoning_content" not in message(Thinking(redacted="x", signed_by="anthropic"))
    hidden = message(*thoughts, reasoning={"exclude": True})
    assert hidden.keys() == {"role", "content", "refusal", "annotations"}


def test_a_refusal_stands_beside_the_content() -> None:
    refused = message(Refusal(text="I cannot"), Refusal(text="."))
    assert (refused["content"], refused["refusal"]) == (None, "I cannot.")


def test_a_completed_prompt_has_words_alone() -> None:
    answer = Answer(
        parts=(
            Thinking(text="Hm."),
            Text(text="upon"),
            ToolCall(id="a", name="f", arguments="{}"),
            Refusal(text=" no"),
        ),
        tokens=Tokens(input=1, output=2),
    )
    completed = msgspec.json.decode(CALLER.answer(answer, facts(asked("completions", prompt="Once"))))
    assert completed.pop("usage")["total_tokens"] == 3
    assert completed == {
        "id": "cmpl-" + ID,
        "object": "text_completion",
        "created": 1_780_000_000,
        "model": "some-model",
        "choices": [{"index": 0, "text": "upon no", "logprobs": None, "finish_reason": "stop"}],
    }
