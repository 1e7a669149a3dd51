from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.wire.cohere.messages import written_messages
from keyrelay.wire.dialects import UntranslatableError

CALL = ToolCall(id="call_1", name="get-it", arguments='{"a": 1}')
WRITTEN = {"id": "call_1", "type": "function", "function": {"name": "get_x2D_it", "arguments": '{"a": 1}'}}


def written(role: Role, *parts: Part) -> Any:
    return msgspec.to_builtins(written_messages((Message(role=role, parts=parts),)))


def test_one_text_stands_by_itself() -> None:
    assert written("system", Text(text="Be brief.")) == [{"role": "system", "content": "Be brief."}]
    assert written("user", Text(text="Hi")) == [{"role": "user", "content": "Hi"}]


def test_several_things_stand_in_a_list() -> None:
    parts = (
        Text(text="This"),
        Image(media_type="image/png", data="AAAA", detail="low"),
        Image(url="https://example.com/a.png"),
    )
    assert written("user", *parts) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "This"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        }
    ]
    (alone,) = written("user", parts[2])
    assert [item["type"] for item in alone["content"]] == ["image_url"]


def test_results_are_messages_of_their_own() -> None:
    parts = (
        Text(text="Before"),
        ToolResult(call_id="call_1", parts=(Text(text="one"),), name="f"),
        ToolResult(call_id="call_2", parts=(Text(text="two"), Text(text="three"))),
        ToolResult(call_id="call_3", parts=()),
        Text(text="After"),
    )
    assert written("user", *parts) == [
        {"role": "user", "content": "Before"},
        {"role": "tool", "content": "one", "tool_call_id": "call_1"},
        {
            "role": "tool",
            "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}],
            "tool_call_id": "call_2",
        },
        {"role": "tool", "content": "", "tool_call_id": "call_3"},
        {"role": "user", "content": "After"},
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((Text(text="Hi "), Refusal(text="no")), [{"role": "assistant", "content": "Hi no"}]),
        ((Thinking(text="Hm."), Text(text="Hi")), [{"role": "assistant", "content": "Hi"}]),
        ((Thinking(text="Hm."),), []),
        ((CALL,), [{"role": "assistant", "tool_calls": [WRITTEN]}]),
        ((Thinking(text="Hm."), CALL), [{"role": "assistant", "tool_plan": "Hm.", "tool_calls": [WRITTEN]}]),
        (
            (Thinking(text="Hm."), Text(text="I look."), CALL),
            [{"role": "assistant", "tool_plan": "I look.", "tool_calls": [WRITTEN]}],
        ),
    ],
)
def test_a_plan_stands_beside_calls(parts: tuple[Part, ...], expected: object) -> None:
    assert written("assistant", *parts) == expected


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (ToolCall(id="c", name="f", arguments=" "), "{}"),
        (ToolCall(id="c", name="f", arguments="ls", custom=True), '{"input":"ls"}'),
        (ToolCall(id="c", name="f", arguments='{"a": '), '{"a":'),
    ],
)
def test_arguments_are_text(call: ToolCall, arguments: str) -> None:
    (message,) = written("assistant", call)
    assert message["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (Document(media_type="text/plain", data="SGk="), "Hi"),
        (Document(media_type="text/markdown", data="SGk=", name="a.md"), "a.md\n\nHi"),
    ],
)
def test_a_text_is_a_text(document: Document, text: str) -> None:
    assert written("user", document) == [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("role", "part", "kind"),
    [
        ("user", Audio(media_type="audio/wav", data="AAAA"), "audio"),
        ("user", Document(url="https://example.com/a.pdf"), "document"),
        ("user", Document(media_type="application/pdf", data="SGk="), "document"),
        ("user", Document(media_type="text/plain", data="/w=="), "document"),
        ("user", ToolResult(call_id="c", parts=(Image(url="https://example.com/a.png"),)), "image"),
        ("user", ToolResult(call_id="c", parts=(Document(url="https://example.com/a.pdf"),)), "document"),
        ("system", Image(url="https://example.com/a.png"), "image"),
        ("assistant", ToolResult(call_id="c", parts=()), "toolresult"),
    ],
)
def test_content_is_never_lost_in_silence(role: Role, part: Part, kind: str) -> None:
    with pytest.raises(UntranslatableError) as raised:
        written(role, part)
    assert raised.value.field == f"messages[0]: {kind}"
