from typing import Any

import msgspec
import pytest

from tests.wire.chat.samples import PROVIDER, asked, target

SIGNATURE: dict[str, Any] = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
ID = "call_0123456789"


def call(call_id: str = ID, **members: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}, **members}


def passed(message: Any, at: str) -> Any:
    request = asked(messages=[{"role": "user", "content": 'Say "thinking", "reasoning".'}, message])
    out = PROVIDER.passed(request, target(at, "fast"))
    messages = msgspec.json.decode(out.body)["messages"]
    assert (out.body == request.body) == (messages[1] == message)  # the very bytes, where nothing changes
    return messages[1]


@pytest.mark.parametrize(
    ("at", "thoughts"),
    [
        ("openai_compatible", {"reasoning_content": "Hm.", "reasoning": "Hm."}),
        ("openai", {}),
        ("gemini", {}),
        ("mistral", {}),
        ("groq", {"reasoning": "Hm."}),
        ("deepseek", {"reasoning_content": "Hm.", "reasoning": "Hm."}),
    ],
)
def test_thoughts_that_a_provider_refuses_are_taken_out(at: str, thoughts: dict[str, str]) -> None:
    message = {"role": "assistant", "content": "Yes."}
    assert passed({**message, "reasoning_content": "Hm.", "reasoning": "Hm."}, at) == {**message, **thoughts}


def test_thoughts_move_to_the_member_that_a_provider_takes() -> None:
    message = {"role": "assistant", "content": "Yes."}
    details = [{"type": "reasoning.text", "text": "Hm."}]
    assert passed({**message, "reasoning_details": details}, "groq") == {**message, "reasoning": "Hm."}
    assert passed({**message, "reasoning": "Hm."}, "deepseek")["reasoning_content"] == "Hm."
    assert passed({**message, "reasoning_content": None}, "groq") == message


def test_deepseek_gets_a_blank_where_there_are_no_thoughts() -> None:
    assert passed({"role": "assistant", "content": "a"}, "deepseek")["reasoning_content"] == " "
    assert (
        passed({"role": "assistant", "content": "a", "reasoning_content": None}, "deepseek")["reasoning_content"] == " "
    )
    kept = {"role": "assistant", "content": "a", "reasoning_content": "Hm."}
    assert passed(kept, "deepseek") == kept
    assert passed({"role": "user", "content": '"assistant"'}, "deepseek") == {"role": "user", "content": '"assistant"'}


def test_thinking_parts_are_mistrals_alone() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes."}]
    message = {"role": "assistant", "content": content}
    assert passed(message, "mistral") == message
    assert passed(message, "openai_compatible") == {"role": "assistant", "content": "Yes."}
    assert passed(message, "groq") == {"role": "assistant", "content": "Yes.", "reasoning": "Hm."}
    plain = {"role": "assistant", "content": [{"type": "text", "text": "thinking"}]}
    assert passed(plain, "openai_compatible") == plain


def test_signatures_are_geminis_alone() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [call(**SIGNATURE), call("b")]}
    assert passed(message, "gemini") == message
    assert passed(message, "openai_compatible") == message
    assert passed(message, "groq") == {**message, "tool_calls": [call(), call("b")]}


def test_ids_are_shortened_for_mistral_in_calls_and_results_alike() -> None:
    message = {"role": "assistant", "content": "", "tool_calls": [call(), call("Ab1Cd2Ef3")]}
    made = passed(message, "mistral")["tool_calls"][0]["id"]
    assert len(made) == 9
    assert passed(message, "mistral") == {**message, "tool_calls": [call(made), call("Ab1Cd2Ef3")]}
    result = {"role": "tool", "tool_call_id": ID, "content": "1"}
    assert passed(result, "mistral") == {**result, "tool_call_id": made}
    assert passed({"role": "assistant", "tool_calls": None}, "mistral") == {"role": "assistant", "tool_calls": None}
    anonymous = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f"}}]}
    assert passed(anonymous, "mistral") == anonymous


def test_what_cannot_be_read_is_the_providers_to_refuse() -> None:
    odd = {"role": "assistant", "reasoning": {"a": 1}}
    assert passed(odd, "groq") == odd
