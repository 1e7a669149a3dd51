from typing import Any

import pytest

from keyrelay.core.conversation import (
    Audio,
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
from keyrelay.core.errors import CallerError
from keyrelay.wire.chat.turns import _Turns
from keyrelay.wire.parts import tool_id
from tests.wire.chat.samples import read

PIXEL = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}


def said(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return read(messages=list(messages)).messages


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        ({"role": "developer", "content": "Be brief."}, Message(role="system", parts=(Text(text="Be brief."),))),
        ({"role": "system", "content": "Be brief."}, Message(role="system", parts=(Text(text="Be brief."),))),
        ({"role": "user", "content": "Hi"}, Message(role="user", parts=(Text(text="Hi"),))),
        ({"role": "assistant", "content": "Hi"}, Message(role="assistant", parts=(Text(text="Hi"),))),
        ({"role": "assistant", "content": None}, Message(role="assistant", parts=())),
        ({"role": "user", "content": ""}, Message(role="user", parts=())),
    ],
)
def test_each_role_becomes_a_turn(message: dict[str, Any], turn: Message) -> None:
    assert said(message) == (turn,)


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ({"type": "text", "text": "a"}, Text(text="a")),
        ({"text": "a"}, Text(text="a")),
        ({"type": "input_text", "text": "a"}, Text(text="a")),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text(text="a", cache="5m")),
        ({"type": "text", "text": "a", "cache_control": {"ttl": "1h"}}, Text(text="a", cache="1h")),
        (
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            Image(media_type="image/png", data="iVBORw0KGgo=", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}},
            Image(url="https://example.test/a.png"),
        ),
        ({"type": "image_url", "image_url": "https://example.test/a.png"}, Image(url="https://example.test/a.png")),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            Audio(media_type="audio/wav", data="UklGRg=="),
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            Document(media_type="application/pdf", data="JVBERi0=", name="a.pdf"),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, Document(file_id="file-1")),
        (
            {"type": "file", "file": {"file_data": "https://example.test/a.pdf"}},
            Document(url="https://example.test/a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "JVBERi0="}}, Document(media_type="application/pdf", data="JVBERi0=")),
    ],
)
def test_each_part_of_a_users_message(shape: dict[str, Any], part: Part) -> None:
    assert said({"role": "user", "content": [shape]}) == (Message(role="user", parts=(part,)),)


def test_an_assistants_turn_has_thoughts_words_refusals_and_calls_in_this_order() -> None:
    (turn,) = said(
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "No"},
            ],
            "refusal": "I cannot.",
            "reasoning_content": "Well.",
            "tool_calls": [CALL],
        }
    )
    assert turn.parts == (
        Thinking(text="Well."),
        Thinking(text="Hm."),
        Text(text="No"),
        Refusal(text="I cannot."),
        ToolCall(id="call_1", name="weather", arguments='{"city":"Rome"}'),
    )


def test_a_refusal_may_stand_in_the_content() -> None:
    (turn,) = said({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]})
    assert turn.parts == (Refusal(text="No."),)


def test_geminis_signature_comes_with_its_call() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    (turn,) = said({"role": "assistant", "tool_calls": [signed]})
    assert turn.parts == (
        ToolCall(id="call_1", name="weather", arguments='{"city":"Rome"}', signature="c2ln", signed_by="gemini"),
    )


def test_arguments_may_be_an_object_and_may_be_missing() -> None:
    whole = {"id": "a", "function": {"name": "f", "arguments": {"x": [1]}}}
    (turn,) = said({"role": "assistant", "tool_calls": [whole, {"id": "b", "function": {"name": "f"}}]})
    assert turn.parts == (ToolCall(id="a", name="f", arguments='{"x":[1]}'), ToolCall(id="b", name="f", arguments=""))


def test_results_stand_in_the_users_turn_before_what_it_says() -> None:
    turns = said(
        {
            "role": "assistant",
            "tool_calls": [CALL, {"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
        {
            "role": "tool",
            "tool_call_id": "c",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": PIXEL}],
        },
        {"role": "user", "content": "And tomorrow?"},
        {"role": "user", "content": "Please."},
    )
    assert turns[0].parts[1] == ToolCall(id="c", name="sh", arguments="ls", custom=True)
    assert turns[1:] == (
        Message(
            role="user",
            parts=(
                ToolResult(call_id="call_1", parts=(Text(text="Sunny"),)),
                ToolResult(
                    call_id="c", parts=(Text(text="a"), Image(media_type="image/png", data="iVBORw0KGgo=")), custom=True
                ),
                Text(text="And tomorrow?"),
            ),
        ),
        Message(role="user", parts=(Text(text="Please."),)),
    )


def test_results_before_an_answer_and_at_the_end_are_turns_of_their_own() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": ""}
    turns = said(result, {"role": "assistant", "content": "Ok"}, result)
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[0].parts == turns[2].parts == (ToolResult(call_id="call_1", parts=()),)


def test_a_legacy_function_and_its_result_belong_together() -> None:
    turns = said(
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    )
    call_id = tool_id(1, "f")
    assert turns[1].parts == (ToolCall(id=call_id, name="f", arguments="{}"),)
    assert turns[2].parts == (ToolResult(call_id=call_id, name="f", parts=(Text(text="1"),)),)


def test_names_and_sounds_of_earlier_answers_are_named_as_left_out() -> None:
    conversation = read(
        messages=[
            {"role": "user", "name": "ann", "content": "Hi"},
            {"role": "user", "name": "bob", "content": "Hi"},
            {"role": "assistant", "audio": {"id": "audio_1"}},
            {"role": "assistant", "audio": None},
        ]
    )
    assert conversation.left_out == ("messages[].name", "messages[].audio")


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"content": "a"}, "messages[0].role", "missing_field"),
        ({"role": "robot", "content": "a"}, "messages[0].role", "invalid_value"),
        ({"role": 5}, "messages[0].role", "invalid_type"),
        ({"role": "user", "content": 5}, "messages[0].content", "invalid_type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text", "missing_field"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[0].content[0].text", "invalid_type"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0].image_url", "missing_field"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "messages[0].content[0].image_url.url",
            "missing_field",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png"}]},
            "messages[0].content[0].image_url.url",
            "invalid_value",
        ),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0].input_audio", "missing_field"),
        ({"role": "user", "content": [{"type": "file"}]}, "messages[0].content[0].file", "missing_field"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0].file", "missing_field"),
        ({"role": "user", "content": [{"type": "video_url"}]}, "messages[0].content[0].type", "unsupported_content"),
        ({"role": "user", "content": [{"type": "refusal"}]}, "messages[0].content[0].type", "unsupported_content"),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": PIXEL}]},
            "messages[0].content[0].type",
            "unsupported_content",
        ),
        ({"role": "tool", "content": "a"}, "messages[0].tool_call_id", "missing_field"),
        ({"role": "function", "content": "a"}, "messages[0].name", "missing_field"),
        ({"role": "function", "name": "f", "content": "a"}, "messages[0].name", "invalid_value"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
            "messages[0].tool_calls[0].id",
            "missing_field",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a"}]},
            "messages[0].tool_calls[0].function.name",
            "missing_field",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "custom": {}}]},
            "messages[0].tool_calls[0].custom.name",
            "missing_field",
        ),
        ({"role": "assistant", "function_call": {}}, "messages[0].function_call.name", "missing_field"),
    ],
)
def test_what_is_wrong_is_pointed_to(message: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(CallerError) as caught:
        said(message)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert param in caught.value.message or code == "unsupported_content"


def test_the_reading_says_what_it_has_seen() -> None:

    assert repr(_Turns({})) == "<_Turns 0 custom calls>"


def test_pictures_of_an_answer_come_back_with_it() -> None:
    image = {"type": "image_url", "image_url": {"url": PIXEL}, "index": 0}
    (message,) = said({"role": "assistant", "content": "Here.", "images": [image]})
    assert message.parts == (Text(text="Here."), Image(media_type="image/png", data="iVBORw0KGgo="))
    conversation = read(messages=[{"role": "assistant", "content": "a", "images": "what"}])
    assert conversation.left_out == ("messages[].images",)
