from typing import Any

import pytest

from keyrelay.core.conversation import (
    Audio,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.wire.gemini.shared import HELLO, turns

USER = {"role": "user", "parts": [{"text": "Hello"}]}


def parts_of(*parts: Any, role: str = "user") -> tuple[Any, ...]:
    return turns({"role": role, "parts": list(parts)}).messages[0].parts


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "a"}, (Text(text="a"),)),
        ({"text": "a", "thought": False}, (Text(text="a"),)),
        ({"inlineData": {"mimeType": "image/png", "data": "-_8"}}, (Image(media_type="image/png", data="+/8="),)),
        ({"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}}, (Audio(media_type="audio/wav", data="AAAA"),)),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "a.pdf"}},
            (Document(media_type="application/pdf", data="AAAA", name="a.pdf"),),
        ),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "https://example.org/a"}},
            (Image(media_type="image/png", url="https://example.org/a"),),
        ),
        ({"fileData": {"file_uri": "gs://b/A.PNG?x=1"}}, (Image(url="gs://b/A.PNG?x=1"),)),
        (
            {"fileData": {"fileUri": "https://host/v1beta/files/abc", "mimeType": "video/mp4", "displayName": "v"}},
            (Document(media_type="video/mp4", url="https://host/v1beta/files/abc", name="v"),),
        ),
        ({"fileData": {"fileUri": "abc"}}, (Document(url="abc"),)),
    ],
)
def test_what_a_user_says(part: Any, expected: Any) -> None:
    assert parts_of(part) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "hm", "thought": True}, (Thinking(text="hm"),)),
        (
            {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
            (Thinking(text="hm", signature="c2ln", signed_by="gemini"),),
        ),
        (
            {"text": "a", "thoughtSignature": "c2ln"},
            (Text(text="a"), Thinking(signature="c2ln", signed_by="gemini")),
        ),
        ({"text": "", "thought_signature": "c2ln"}, (Thinking(signature="c2ln", signed_by="gemini"),)),
        (
            {"functionCall": {"id": "c1", "name": "look", "args": {"a": 1.0}}, "thoughtSignature": "c2ln"},
            (ToolCall(id="c1", name="look", arguments='{"a": 1.0}', signature="c2ln", signed_by="gemini"),),
        ),
        ({"functionCall": {"id": "c1", "name": "look"}}, (ToolCall(id="c1", name="look", arguments="{}"),)),
    ],
)
def test_what_a_model_said(part: Any, expected: Any) -> None:
    assert parts_of(part, role="model") == expected


def test_a_thought_without_words_and_signature_says_nothing() -> None:
    assert turns(USER, {"role": "model", "parts": [{"thought": True}]}) == HELLO


@pytest.mark.parametrize(
    ("response", "text", "failed"),
    [
        ({"output": "5 degrees"}, "5 degrees", False),
        ({"result": "5 degrees"}, "5 degrees", False),
        ({"result": {"a": 1}}, '{"a": 1}', False),
        ({"output": None}, "null", False),
        ({"error": "gone"}, "gone", True),
        ({"error": {"code": 5}}, '{"code": 5}', True),
        ({"degrees": 5}, '{"degrees": 5}', False),
        ({"output": 1, "error": 2}, '{"output": 1, "error": 2}', False),
        ({}, "{}", False),
        ({"output": 'he said "a\\u00e9"'}, 'he said "a\\u00e9"', False),
    ],
)
def test_results(response: Any, text: str, failed: bool) -> None:
    part = {"functionResponse": {"id": "c1", "name": "look", "response": response}}
    assert parts_of(part) == (ToolResult(call_id="c1", name="look", parts=(Text(text=text),), failed=failed),)


def test_results_with_pictures_and_files() -> None:
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://a"}},
    ]
    (result,) = parts_of({"functionResponse": {"id": "c1", "name": "look", "parts": parts}})
    assert result.parts == (
        Image(media_type="image/png", data="AAAA"),
        Document(media_type="audio/wav", data="AAAA"),
        Document(media_type="application/pdf", url="gs://a"),
    )


def test_results_find_their_calls_by_name_where_ids_are_missing() -> None:
    calls = [{"functionCall": {"name": name}} for name in ("look", "look", "walk")]
    responses = [{"functionResponse": {"name": name, "id": "own"}} for name in ("walk", "look", "look", "run")]
    more = [{"functionResponse": {"name": "run"}}]
    conversation = turns(USER, {"role": "model", "parts": calls}, {"role": "function", "parts": responses + more})
    made = [part for part in conversation.messages[1].parts if isinstance(part, ToolCall)]
    given = [part.call_id for part in conversation.messages[2].parts if isinstance(part, ToolResult)]
    assert len({call.id for call in made}) == 3
    assert given[:4] == [made[2].id, made[0].id, made[1].id, "own"]
    assert given[4].startswith("call_")
    assert len(given[4]) == 29
    assert conversation == turns(USER, {"role": "model", "parts": calls}, {"role": "tool", "parts": responses + more})


def test_results_find_their_calls_by_id_first() -> None:
    calls = [{"functionCall": {"name": "look", "id": number}} for number in "12"]
    responses = [{"functionResponse": {"name": "look", "id": number}} for number in "21"]
    results = turns(USER, {"parts": calls}, {"parts": responses}).messages[2].parts
    assert [part.call_id for part in results if isinstance(part, ToolResult)] == ["2", "1"]


@pytest.mark.parametrize(
    "system", ["Be kind.", {"parts": [{"text": "Be kind."}]}, {"role": "user", "parts": {"text": "Be kind."}}]
)
def test_a_system_instruction_is_words_or_a_turn(system: Any) -> None:
    message = Message(role="system", parts=(Text(text="Be kind."),))
    assert turns(USER, systemInstruction=system).messages == (message, *HELLO.messages)
    assert turns(USER, system_instruction=system).messages == (message, *HELLO.messages)


def test_a_system_instruction_holds_only_words() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    conversation = turns(USER, systemInstruction={"parts": [picture]})
    assert (conversation.messages, conversation.left_out) == (HELLO.messages, ("systemInstruction.parts: image",))
