from typing import Any

import pytest

from keyrelay.core.conversation import (
    Audio,
    Conversation,
    Document,
    Format,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.wire.anthropic.provider_messages import JSON_ONLY, written_turns
from keyrelay.wire.dialects import UntranslatableError
from tests.wire.anthropic.examples import asking, written

SIGNED = Thinking(text="hm", signature="s", signed_by="anthropic")
CALL = ToolCall(id="c", name="f", arguments="{}")
RESULT = ToolResult(call_id="c", parts=(Text("r"),))


def turns_of(*messages: tuple[str, tuple[Part, ...]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Roles and blocks of the turns that are written for some messages."""
    built = tuple(Message(role=role, parts=parts) for role, parts in messages)  # type: ignore[arg-type]  # in short
    return [(turn["role"], turn["content"]) for turn in written(Conversation(messages=built))["messages"]]


def block_of(part: Part, role: str = "user") -> dict[str, Any]:
    return turns_of((role, (part,)))[0][1][0]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (Text("a", "5m"), {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
        (
            Image(url="https://x/a.png", detail="auto"),
            {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
        ),
        (
            Image(media_type="image/jpg", data="AAAA", cache="1h"),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
        ),
        (
            Document(media_type="application/pdf", data="AAAA", name="T"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
                "title": "T",
            },
        ),
        (
            Document(media_type="text/csv", data="YSxi"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
        ),
        (
            Document(media_type="application/json", data="e30="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "{}"}},
        ),
        (Document(url="https://x"), {"type": "document", "source": {"type": "url", "url": "https://x"}}),
        (Document(file_id="f"), {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        (Document(file_id="f", media_type="image/*"), {"type": "image", "source": {"type": "file", "file_id": "f"}}),
        (ToolResult(call_id="d.e", parts=()), {"type": "tool_result", "tool_use_id": "toolu_kr64_ZC5l"}),
        (
            ToolResult(call_id="c", parts=(Text("a"), Image(url="u"), Text(" ")), failed=True, cache="5m", custom=True),
            {
                "type": "tool_result",
                "tool_use_id": "c",
                "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "u"}}],
                "is_error": True,
                "cache_control": {"type": "ephemeral"},
            },
        ),
    ],
)
def test_what_a_user_shows(part: Part, block: dict[str, Any]) -> None:
    assert block_of(part) == block


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (SIGNED, {"type": "thinking", "thinking": "hm", "signature": "s"}),
        (Thinking(redacted="x", signed_by="anthropic"), {"type": "redacted_thinking", "data": "x"}),
        (Refusal("I must not."), {"type": "text", "text": "I must not."}),
        (
            ToolCall(id="c", name="f", arguments='{"a":1}'),
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
        ),
        (ToolCall(id="c", name="f", arguments=""), {"type": "tool_use", "id": "c", "name": "f", "input": {}}),
        (
            ToolCall(id="c", name="f", arguments="free", custom=True),
            {"type": "tool_use", "id": "c", "name": "f", "input": {"input": "free"}},
        ),
    ],
)
def test_what_an_assistant_said(part: Part, block: dict[str, Any]) -> None:
    assert block_of(part, "assistant") == block


@pytest.mark.parametrize(
    ("role", "part", "said"),
    [
        ("user", Audio("audio/wav", "AAAA"), "audio"),
        ("user", SIGNED, "thinking"),
        ("user", CALL, "toolcall"),
        ("user", Image(media_type="image/heic", data="AAAA"), "image/heic"),
        ("user", Image(data="AAAA"), "not said"),
        ("user", Document(media_type="application/zip", data="AAAA"), "application/zip"),
        ("user", Document(media_type="text/plain", data="//79"), "text/plain"),
        ("user", Document(data="AAAA"), "document"),
        ("user", ToolResult(call_id="c", parts=(Document(data="AAAA"),)), "document"),
        ("assistant", Audio(media_type="audio/wav", data="AAAA"), "audio"),
        ("assistant", RESULT, "toolresult"),
        ("assistant", ToolCall(id="c", name="f", arguments="[1]"), "call of f"),
        ("system", Image(url="u"), "image"),
    ],
)
def test_content_that_cannot_be_said_is_not_lost_in_silence(role: str, part: Part, said: str) -> None:
    with pytest.raises(UntranslatableError, match=said):
        turns_of((role, (part,)))


def test_how_closely_to_look_cannot_be_said() -> None:
    left_out: list[str] = []
    written_turns(
        asking(Image(url="u", detail="low"), ToolResult(call_id="c", parts=(Image(url="u", detail="high"),))), left_out
    )
    assert left_out == ["detail", "detail"]


def test_neighbours_of_one_role_are_one_turn_and_results_come_first() -> None:
    turns = turns_of(
        ("user", (Text("a"),)),
        ("assistant", (Text("b"),)),
        ("assistant", (CALL,)),
        ("user", (Text("c"),)),
        ("user", (RESULT, Text("d"))),
    )
    assert [role for role, _ in turns] == ["user", "assistant", "user"]
    assert [block["type"] for block in turns[1][1]] == ["text", "tool_use"]
    assert [block.get("text") for block in turns[2][1]] == [None, "c", "d"]


def test_thoughts_of_others_and_blank_texts_go_in_silence() -> None:
    thoughts = (
        Thinking(text="a"),
        Thinking(text="b", signature="s", signed_by="gemini"),
        Thinking(signed_by="anthropic"),
    )
    turns = turns_of(("user", (Text("a"), Text(" \n"))), ("assistant", thoughts), ("user", (Text(""), Text("b"))))
    assert turns == [("user", [{"type": "text", "text": "a"}]), ("user", [{"type": "text", "text": "b"}])]


def test_all_instructions_stand_before_the_conversation() -> None:
    messages = (
        Message(role="system", parts=(Text("a", "1h"), Text(""))),
        Message(role="user", parts=(Text("b"),)),
        Message(role="system", parts=(Text("c"),)),
        Message(role="user", parts=(Text("d"),)),
    )
    request = written(Conversation(messages=messages))
    assert [block["text"] for block in request["system"]] == ["a", "c"]
    assert request["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "d"}]}
    ]


def test_instructions_alone_are_the_users() -> None:
    request = written(Conversation(messages=(Message(role="system", parts=(Text("Say something."),)),)))
    assert "system" not in request
    assert request["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say something."}]}]


def test_nothing_at_all_cannot_be_said() -> None:
    with pytest.raises(UntranslatableError, match="messages"):
        turns_of(("user", (Text(" "),)))


def test_json_of_no_schema_is_asked_for_in_words() -> None:
    assert written(asking(format=Format()))["system"] == [{"type": "text", "text": JSON_ONLY}]
    system = (Message(role="system", parts=(Text("Be brief."),)),)
    request = written(Conversation(messages=system, format=Format()))
    assert (request["system"][0]["text"], request["messages"][0]["content"][0]["text"]) == (JSON_ONLY, "Be brief.")


def test_a_beginning_to_be_continued_has_no_white_space_at_its_end() -> None:
    assert turns_of(("user", (Text("a "),)), ("assistant", (Text("Well, \n"),)))[1][1][0]["text"] == "Well,"
    assert turns_of(("user", (Text("a"),)), ("assistant", (Text("b "), CALL)))[1][1][0]["text"] == "b "


@pytest.mark.parametrize(
    ("parts", "thought"),
    [
        ((Text("a"),), True),
        ((SIGNED, CALL), True),
        ((Thinking(redacted="x", signed_by="anthropic"), CALL), True),
        ((CALL,), False),
        ((Thinking(text="hm"), Text("a"), CALL), False),
    ],
)
def test_whether_signed_thoughts_led_to_the_last_calls(parts: tuple[Part, ...], thought: bool) -> None:
    messages = (
        Message(role="user", parts=(Text("a"),)),
        Message(role="assistant", parts=parts),
        Message(role="user", parts=(RESULT,)),
    )
    assert written_turns(Conversation(messages=messages), []).thought_before_calls is thought
    assert written_turns(asking(), []).thought_before_calls
