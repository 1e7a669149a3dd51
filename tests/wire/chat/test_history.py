from typing import Any

import pytest

from keyrelay.core.conversation import (
    Audio,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.core.providers import HabitsRow
from keyrelay.wire.chat.history import History
from keyrelay.wire.dialects import UntranslatableError
from tests.wire.chat.samples import PROVIDER, target, written

PICTURE = Image(media_type="image/png", data="aWNvbg==")
CALL = ToolCall(id="call_1", name="f", arguments='{"x":1}')


def assistant(*parts: Part, at: str = "openai_compatible", model: str = "some-model") -> dict[str, Any]:
    conversation = Conversation(messages=(Message(role="assistant", parts=parts),))
    (message,) = written(conversation, target(at, model))["messages"]
    found: dict[str, Any] = message
    return found


def user(*parts: Part, at: str = "openai_compatible") -> list[dict[str, Any]]:
    conversation = Conversation(messages=(Message(role="user", parts=parts),))
    found: list[dict[str, Any]] = written(conversation, target(at))["messages"]
    return found


def left_out(*parts: Part, at: str = "openai_compatible") -> tuple[str, ...]:
    return PROVIDER.request(Conversation(messages=(Message(role="user", parts=parts),)), target(at)).left_out


def test_texts_of_a_person_are_joined_by_an_empty_line_those_of_a_model_by_nothing() -> None:
    assert user(Text(text="a"), Text(text="b")) == [{"role": "user", "content": "a\n\nb"}]
    assert user() == [{"role": "user", "content": ""}]
    assert assistant(Text(text="a"), Text(text="b")) == {"role": "assistant", "content": "ab"}
    assert assistant() == {"role": "assistant", "content": ""}
    conversation = Conversation(messages=(Message(role="system", parts=(Text(text="a"), Text(text="b"))),))
    assert written(conversation)["messages"] == [{"role": "system", "content": "a\n\nb"}]


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        (PICTURE, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWNvbg=="}}),
        (
            Image(url="https://example.test/a.png", detail="low"),
            {"type": "image_url", "image_url": {"url": "https://example.test/a.png", "detail": "low"}},
        ),
        (
            Audio(media_type="audio/wav", data="UklGRg=="),
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        ),
        (
            Audio(media_type="audio/mpeg", data="SUQz"),
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
        ),
        (
            Document(media_type="application/pdf", data="JVBERi0=", name="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        ),
        (Document(file_id="file-1"), {"type": "file", "file": {"file_id": "file-1"}}),
    ],
)
def test_what_a_user_shows_is_a_part(part: Part, shape: dict[str, Any]) -> None:
    content = user(Text(text="See:"), part)[0]["content"]
    assert content == [{"type": "text", "text": "See:"}, shape]


@pytest.mark.parametrize(
    ("part", "field"), [(Document(url="https://example.test/a.pdf"), "document.url"), (CALL, "message.ToolCall")]
)
def test_what_has_no_place_is_refused(part: Part, field: str) -> None:
    with pytest.raises(UntranslatableError) as caught:
        user(part)
    assert caught.value.field == field


def test_results_are_messages_and_their_pictures_follow() -> None:
    turn = (
        Text(text="Look."),
        ToolResult(call_id="call_1", parts=(Text(text="a"), PICTURE, Text(text="b")), failed=True, cache="5m"),
        ToolResult(call_id="call_2", parts=()),
    )
    assert user(*turn) == [
        {"role": "tool", "tool_call_id": "call_1", "content": "a\n\nb"},
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWNvbg=="}},
            ],
        },
    ]
    assert left_out(*turn) == ("result.failed", "cache")
    assert user(ToolResult(call_id="call_1", parts=(Text(text="a"),))) == [
        {"role": "tool", "tool_call_id": "call_1", "content": "a"}
    ]


def test_an_assistant_that_only_calls_has_no_content() -> None:
    function = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert assistant(CALL) == {"role": "assistant", "content": None, "tool_calls": [function]}
    assert assistant(ToolCall(id="a", name="f", arguments=""))["tool_calls"][0]["function"]["arguments"] == "{}"
    assert assistant(ToolCall(id="a", name="f", arguments="oops"))["tool_calls"][0]["function"]["arguments"] == "oops"


def test_custom_calls_are_openais_own_and_lowered_elsewhere() -> None:
    call = ToolCall(id="a", name="sh", arguments='echo "x"', custom=True)
    custom = {"id": "a", "type": "custom", "custom": {"name": "sh", "input": 'echo "x"'}}
    assert assistant(call, at="openai")["tool_calls"] == [custom]
    function = {"id": "a", "type": "function", "function": {"name": "sh", "arguments": '{"input":"echo \\"x\\""}'}}
    assert assistant(call)["tool_calls"] == [function]


def test_a_signature_goes_back_to_gemini_alone() -> None:
    signed = ToolCall(id="a", name="f", arguments="{}", signature="c2ln", signed_by="gemini")
    (call,) = assistant(signed, at="gemini")["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    foreign = ToolCall(id="a", name="f", arguments="{}", signature="c2ln", signed_by="anthropic")
    for call, at in [(signed, "groq"), (foreign, "gemini")]:
        assert "extra_content" not in assistant(call, at=at)["tool_calls"][0]


@pytest.mark.parametrize(
    ("model", "signatures"),
    [
        ("gemini-3.8-flash", ["skip_thought_signature_validator", None]),
        ("models/gemini-3.8-flash", ["skip_thought_signature_validator", None]),
        ("gemini-2.5-flash", [None, None]),
        ("gemma-3-27b-it", [None, None]),
    ],
)
def test_the_first_of_unsigned_calls_gets_a_placeholder_at_a_gemini_that_insists(
    model: str, signatures: list[str | None]
) -> None:
    calls = assistant(CALL, ToolCall(id="call_2", name="g", arguments="{}"), at="gemini", model=model)["tool_calls"]
    assert [call.get("extra_content", {}).get("google", {}).get("thought_signature") for call in calls] == signatures
    assert "extra_content" not in assistant(CALL, model=model)["tool_calls"][0]


def test_a_late_system_message_is_the_users_at_mistral() -> None:
    system, user_says = Message(role="system", parts=(Text(text="a"),)), Message(role="user", parts=(Text(text="b"),))
    messages = (system, system, user_says, system)
    for at, last in [("mistral", "user"), ("groq", "system")]:
        roles = [message["role"] for message in written(Conversation(messages=messages), target(at))["messages"]]
        assert roles == ["system", "system", "user", last]


@pytest.mark.parametrize(
    ("at", "members"),
    [
        ("openai_compatible", {"content": "Yes."}),
        ("openai", {"content": "Yes."}),
        ("groq", {"content": "Yes.", "reasoning": "Hm."}),
        ("deepseek", {"content": "Yes.", "reasoning_content": "Hm."}),
        (
            "mistral",
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "Yes."},
                ]
            },
        ),
        (
            "openrouter",
            {"content": "Yes.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]},
        ),
    ],
)
def test_thoughts_go_where_they_are_taken_back(at: str, members: dict[str, Any]) -> None:
    thought = Thinking(text="Hm.", signature="s", signed_by="anthropic")
    assert assistant(thought, Text(text="Yes."), at=at) == {"role": "assistant", **members}


def test_thoughts_may_be_all_that_mistral_gets() -> None:
    (part,) = assistant(Thinking(text="Hm."), at="mistral")["content"]
    assert part["type"] == "thinking"


def test_deepseek_gets_a_blank_where_there_are_no_thoughts() -> None:
    assert assistant(Text(text="a"), at="deepseek") == {"role": "assistant", "content": "a", "reasoning_content": " "}


def test_openrouter_gets_the_signature_of_the_models_own_maker() -> None:
    thoughts = (
        Thinking(text="Hm.", signature="s", signed_by="anthropic"),
        Thinking(redacted="x", signed_by="anthropic"),
    )
    details = assistant(*thoughts, at="openrouter", model="anthropic/claude-opus-5-5")["reasoning_details"]
    assert [detail.get("signature") or detail.get("data") for detail in details] == ["s", "x"]
    details = assistant(*thoughts, at="openrouter", model="google/gemini-3.8-flash")["reasoning_details"]
    assert details == [{"type": "reasoning.text", "text": "Hm.", "index": 0}]
    assert "reasoning_details" not in assistant(thoughts[1], at="openrouter", model="x/y")


def test_a_refusal_is_openais_own_and_words_elsewhere() -> None:
    refused = (Text(text="Hm. "), Refusal(text="No."))
    assert assistant(*refused, at="openai") == {"role": "assistant", "content": "Hm. ", "refusal": "No."}
    assert assistant(*refused) == {"role": "assistant", "content": "Hm. No."}


def test_ids_that_a_provider_does_not_take_are_made_anew_for_call_and_result_alike() -> None:
    long = "toolu_" + "a" * 50
    call = ToolCall(id=long, name="f", arguments="{}")
    result = ToolResult(call_id=long, parts=(Text(text="a"),))
    for at, length in [("openai_compatible", 29), ("mistral", 9)]:
        made = assistant(call, at=at)["tool_calls"][0]["id"]
        assert len(made) == length
        assert user(result, at=at)[0]["tool_call_id"] == made
    assert (
        assistant(ToolCall(id="Ab1Cd2Ef3", name="f", arguments="{}"), at="mistral")["tool_calls"][0]["id"]
        == "Ab1Cd2Ef3"
    )


def test_cache_marks_go_to_openrouter_and_are_named_as_left_out_elsewhere() -> None:
    turn = (Text(text="a", cache="5m"), Text(text="b"), Document(file_id="f", cache="1h"))
    content = user(*turn, at="openrouter")[0]["content"]
    assert [part.get("cache_control") for part in content] == [
        {"type": "ephemeral"},
        None,
        {"type": "ephemeral", "ttl": "1h"},
    ]
    assert user(Text(text="a", cache="5m"), at="openrouter")[0]["content"][0]["text"] == "a"
    assert left_out(*turn, at="openrouter") == ()
    assert user(Text(text="a", cache="5m")) == [{"role": "user", "content": "a"}]
    assert left_out(*turn) == ("cache",)


def test_the_writing_says_for_whom_it_is() -> None:
    assert repr(History(HabitsRow(), "some-model", {})) == "<History for some-model>"


def test_pictures_that_the_assistant_made_stand_in_the_users_turn_after_it() -> None:
    made = Message(role="assistant", parts=(Text(text="Here."), PICTURE))
    shaped = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWNvbg=="}}
    then = Message(role="user", parts=(Text(text="Bluer."),))
    said = {"role": "assistant", "content": "Here."}
    blue = {"type": "text", "text": "Bluer."}
    assert written(Conversation(messages=(made, then, then)))["messages"] == [
        said,
        {"role": "user", "content": [shaped, blue]},
        {"role": "user", "content": "Bluer."},
    ]
    assert written(Conversation(messages=(made,)))["messages"] == [said, {"role": "user", "content": [shaped]}]
