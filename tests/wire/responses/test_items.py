import pytest

from keyrelay.core.conversation import Document, Image, Message, Text, Thinking, ToolCall, ToolResult
from keyrelay.core.errors import CallerError
from keyrelay.wire.responses.items import LEFT_OUT
from tests.wire.responses.asked import understood

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "done"}


def test_the_assistants_items_are_one_turn_until_somebody_else_speaks() -> None:
    messages = understood(
        input=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
            {"role": "assistant", "content": "c"},
            CALL,
            {**CALL, "call_id": "c2"},
            OUTPUT,
            {**OUTPUT, "call_id": "c2"},
            {"role": "user", "content": "d"},
            {"role": "assistant", "content": "e"},
        ]
    ).messages
    assert [(message.role, len(message.parts)) for message in messages] == [
        ("user", 1),
        ("user", 1),
        ("assistant", 4),
        ("user", 2),
        ("user", 1),
        ("assistant", 1),
    ]


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ({"role": "developer", "content": "x"}, Message(role="system", parts=(Text("x"),))),
        ({"type": "message", "role": "system", "content": "x"}, Message(role="system", parts=(Text("x"),))),
        (
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
            },
            Message(role="assistant", parts=(Thinking(text="a\n\nb"),)),
        ),
        (
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "raw"}]},
            Message(role="assistant", parts=(Thinking(text="raw"),)),
        ),
        (
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
            Message(role="assistant", parts=(Thinking(signature="gAAAA", signed_by="responses"),)),
        ),
        (
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}},
            Message(role="assistant", parts=(ToolCall("c", "f", '{"a": 1}'),)),
        ),
        (
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
            Message(role="assistant", parts=(ToolCall("c", "f", "{}"),)),
        ),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "f"},
            Message(role="assistant", parts=(ToolCall("c", "f", "", custom=True),)),
        ),
        (
            {
                "type": "function_call_output",
                "call_id": "c",
                "name": "f",
                "output": [{"type": "input_file", "file_id": "i"}],
            },
            Message(role="user", parts=(ToolResult(call_id="c", parts=(Document(file_id="i"),), name="f"),)),
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": {"content": "no such file", "success": False}},
            Message(role="user", parts=(ToolResult(call_id="c", parts=(Text("no such file"),), failed=True),)),
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": ""},
            Message(role="user", parts=(ToolResult(call_id="c", parts=(Text(""),)),)),
        ),
        (
            {"type": "tool_search_output", "call_id": "c", "tools": [{"type": "function", "name": "f"}]},
            Message(role="user", parts=(ToolResult(call_id="c", parts=(Text("Tools found: f"),), name="tool_search"),)),
        ),
        (
            {"type": "tool_search_output", "call_id": "c", "tools": []},
            Message(
                role="user", parts=(ToolResult(call_id="c", parts=(Text("No tools found."),), name="tool_search"),)
            ),
        ),
    ],
)
def test_items(item: dict[str, object], wanted: Message) -> None:
    assert understood(input=[item]).messages == (wanted,)


@pytest.mark.parametrize(
    "item", [{"role": "user", "content": []}, {"type": "reasoning", "summary": []}, {"type": "additional_tools"}]
)
def test_an_item_without_content_is_no_turn(item: dict[str, object]) -> None:
    assert understood(input=[item]).messages == ()


@pytest.mark.parametrize("kind", sorted(LEFT_OUT))
def test_what_tools_at_openai_did_is_named(kind: str) -> None:
    conversation = understood(input=[{"role": "user", "content": "a"}, {"type": kind, "id": "x"}])
    assert conversation.left_out == (f"input[1]: {kind}",)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({}, "input[0].type"),
        ({"id": "msg_1"}, "input[0]"),
        ({"type": "item_reference", "id": "msg_1"}, "input[0]"),
        ({"type": "compaction", "encrypted_content": "x"}, "input[0]"),
        ({"type": "shell_call", "call_id": "c"}, "input[0]"),
        ({"type": "message", "content": "x"}, "input[0].role"),
        ({"role": "robot", "content": "x"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c"}, "input[0].name"),
        ({"type": "custom_tool_call", "call_id": "c"}, "input[0].name"),
        ({"type": "function_call_output", "call_id": "c"}, "input[0].output"),
        ({"type": "function_call_output", "call_id": "c", "output": 5}, "input[0].output"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"type": "refusal"}]}, "input[0].output[0]"),
        ({"type": "custom_tool_call_output", "output": "x"}, "input[0].call_id"),
    ],
)
def test_what_is_no_item_is_refused_with_its_place(item: dict[str, object], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        understood(input=[item])
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_picture_that_the_model_made_comes_back() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgoA"}
    conversation = understood(input=[{"role": "user", "content": "a"}, item, {**item, "result": None}])
    picture = Image(media_type="image/png", data="iVBORw0KGgoA")
    assert conversation.messages[1:] == (Message(role="assistant", parts=(picture,)),)
    assert conversation.left_out == ("input[2]: image_generation_call",)
