from typing import Any

import pytest

from keyrelay.core.conversation import (
    Audio,
    Conversation,
    Document,
    Image,
    Message,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from keyrelay.wire.dialects import Target
from keyrelay.wire.gemini.models import PLACEHOLDER_SIGNATURE
from tests.wire.gemini.shared import FLASH, NEWEST, PROVIDER, said, written

CALL = ToolCall(id="c1", name="look", arguments='{"a":1}')


HELLO = Text(text="Hello")


def dialogue(*turns: Any) -> Conversation:
    """Turns of the user's and of the assistant's, one after the other."""
    return Conversation(
        messages=tuple(
            Message(role="assistant" if number % 2 else "user", parts=parts) for number, parts in enumerate(turns)
        )
    )


def test_neighbours_of_one_role_are_one_turn_with_results_first() -> None:
    conversation = Conversation(
        messages=(
            Message(role="user", parts=(HELLO,)),
            Message(role="assistant", parts=(CALL,)),
            Message(role="assistant", parts=(ToolCall(id="c2", name="walk", arguments=""),)),
            Message(role="user", parts=(Text(text="Well?"),)),
            Message(role="user", parts=(ToolResult(call_id="c2", parts=()),)),
            Message(role="user", parts=(ToolResult(call_id="c1", parts=()), Text(text=""))),
            Message(role="assistant", parts=(Text(text=""),)),
        )
    )
    _, model, user = written(conversation)["contents"]
    assert [part["functionCall"]["name"] for part in model["parts"]] == ["look", "walk"]
    assert model["parts"][1] == {"functionCall": {"id": "c2", "name": "walk", "args": {}}}
    assert [part.get("functionResponse", {}).get("name") for part in user["parts"]] == ["walk", "look", None]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((HELLO, Thinking(signature="s", signed_by="gemini")), [{"text": "Hello", "thoughtSignature": "s"}]),
        (
            (Thinking(signature="s", signed_by="gemini"), HELLO),
            [{"text": "", "thoughtSignature": "s"}, {"text": "Hello"}],
        ),
        (
            (HELLO, Thinking(signature="s", signed_by="gemini"), Thinking(signature="t", signed_by="gemini")),
            [{"text": "Hello", "thoughtSignature": "s"}, {"text": "", "thoughtSignature": "t"}],
        ),
        (
            (Thinking(text="hm", signature="s", signed_by="gemini"), Thinking(signature="t", signed_by="gemini")),
            [{"text": "hm", "thought": True, "thoughtSignature": "s"}, {"text": "", "thoughtSignature": "t"}],
        ),
        ((Thinking(text="hm", signature="s", signed_by="anthropic"), HELLO), [{"text": "Hello"}]),
        ((Thinking(text="hm"), Refusal(text="No.")), [{"text": "No."}]),
    ],
)
def test_thoughts_go_back_with_a_signature_of_geminis(parts: Any, expected: Any) -> None:
    assert written(dialogue((HELLO,), parts))["contents"][1]["parts"] == expected


@pytest.mark.parametrize(
    ("target", "calls", "expected"),
    [
        (NEWEST, [("", ""), ("", "")], [PLACEHOLDER_SIGNATURE, None]),
        (NEWEST, [("s", "gemini"), ("", "")], ["s", None]),
        (NEWEST, [("s", "openai"), ("t", "gemini")], [PLACEHOLDER_SIGNATURE, "t"]),
        (FLASH, [("s", "openai"), ("t", "gemini")], [None, "t"]),
    ],
)
def test_the_first_call_of_a_turn_is_signed_where_the_model_insists(target: Target, calls: Any, expected: Any) -> None:
    parts = tuple(
        ToolCall(id=f"c{number}", name="look", arguments="{}", signature=signature, signed_by=signed_by)
        for number, (signature, signed_by) in enumerate(calls)
    )
    turn = written(dialogue((HELLO,), parts), target)["contents"][1]
    assert [part.get("thoughtSignature") for part in turn["parts"]] == expected


@pytest.mark.parametrize(
    ("text", "failed", "expected"),
    [
        ("", False, {"output": ""}),
        ("5 degrees", False, {"output": "5 degrees"}),
        ("5 degrees", True, {"error": "5 degrees"}),
        ('{"a": 1}', False, {"a": 1}),
        ('{"a": 1}', True, {"error": {"a": 1}}),
        ('{"output": 1}', False, {"output": '{"output": 1}'}),
        ('{"output": 1, "a": 2}', False, {"output": 1, "a": 2}),
        ("[1]", False, {"output": "[1]"}),
        (" {}", False, {"output": " {}"}),
        ("{}\n", True, {"error": "{}\n"}),
        ('{"a": ', False, {"output": '{"a": '}),
    ],
)
def test_results_are_objects(text: str, failed: bool, expected: Any) -> None:
    result = ToolResult(call_id="c1", name="look", parts=(Text(text=text),) if text else (), failed=failed)
    (part,) = written(said(result))["contents"][0]["parts"]
    assert part == {"functionResponse": {"id": "c1", "name": "look", "response": expected}}


PICTURE = Image(media_type="image/png", data="AAAA")


BLOB = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}


def test_pictures_in_results_stand_inside_or_behind() -> None:
    linked = Image(url="https://example.org/a.PNG")
    result = ToolResult(call_id="c1", name="look", parts=(Text(text="a"), PICTURE, Text(text="b"), linked))
    response = {"id": "c1", "name": "look", "response": {"output": "a\nb"}}
    file = {"fileData": {"mimeType": "image/png", "fileUri": "https://example.org/a.PNG"}}
    assert written(said(result))["contents"][0]["parts"] == [
        {"functionResponse": {**response, "parts": [BLOB]}},
        file,
    ]
    assert written(said(result), FLASH)["contents"][0]["parts"] == [{"functionResponse": response}, BLOB, file]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (PICTURE, BLOB),
        (Image(data="AAAA"), {"inlineData": {"data": "AAAA"}}),
        (Audio(media_type="audio/wav", data="AAAA"), {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
        (
            Document(media_type="application/pdf", data="AAAA", name="a.pdf"),
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        ),
        (
            Image(media_type="image/png", url="gs://b/a"),
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a"}},
        ),
        (
            Document(url="https://example.org/a.pdf?b=c.d"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.org/a.pdf?b=c.d"}},
        ),
        (Image(url="https://example.org/"), {"fileData": {"fileUri": "https://example.org/"}}),
    ],
)
def test_media(part: Any, expected: Any) -> None:
    assert written(said(part))["contents"][0]["parts"] == [expected]


def test_free_text_goes_as_the_input_of_a_function() -> None:
    call = ToolCall(id="c1", name="patch", arguments="*** Begin", custom=True)
    turn = written(dialogue((HELLO,), (call,)), FLASH)["contents"][1]
    assert turn["parts"] == [{"functionCall": {"id": "c1", "name": "patch", "args": {"input": "*** Begin"}}}]


def test_marks_for_the_cache_and_details_of_pictures_are_named() -> None:
    parts = (
        Text(text="a", cache="5m"),
        Image(media_type="image/png", data="AAAA", detail="low", cache="1h"),
        Image(media_type="image/png", data="AAAA", detail="auto"),
        ToolResult(call_id="c1", name="look", parts=(), cache="5m"),
    )
    assert PROVIDER.request(said(*parts), NEWEST).left_out == ("cache", "detail")
