from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Thinking
from keyrelay.wire.chat.shapes import ChatMessage
from keyrelay.wire.chat.thoughts import read_thought_pieces, read_thoughts, takes_signature, write_details

SIGNED = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "anthropic-claude-v1"}


def message(**members: Any) -> ChatMessage:
    return msgspec.convert(members, ChatMessage)


@pytest.mark.parametrize(
    ("members", "thoughts"),
    [
        ({}, []),
        ({"reasoning_content": "a"}, [Thinking(text="a")]),
        ({"reasoning": "a"}, [Thinking(text="a")]),
        ({"reasoning": "a", "reasoning_details": []}, [Thinking(text="a")]),
        ({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text"}]}, [Thinking(text="a")]),
        (
            {"reasoning": "Hm.", "reasoning_details": [SIGNED]},
            [Thinking(text="Hm.", signature="s", signed_by="anthropic")],
        ),
        (
            {"reasoning": "a", "reasoning_details": [{"signature": "s", "format": "google-gemini-v1"}]},
            [Thinking(text="a", signature="s", signed_by="gemini")],
        ),
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "b"},
                    {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "y", "format": "new"},
                ]
            },
            [
                Thinking(text="b"),
                Thinking(redacted="x", signed_by="responses"),
                Thinking(redacted="y", signed_by="openai"),
            ],
        ),
    ],
)
def test_thoughts_are_read_wherever_they_stand(members: dict[str, Any], thoughts: list[Thinking]) -> None:
    assert list(read_thoughts(message(**members))) == thoughts


@pytest.mark.parametrize(
    ("members", "plain", "thoughts"),
    [
        ({"reasoning_content": "a"}, True, [Thinking(text="a")]),
        ({"reasoning": "a", "reasoning_details": [{"text": "a"}]}, True, [Thinking(text="a")]),
        ({"reasoning_details": [SIGNED]}, True, [Thinking(signature="s", signed_by="anthropic")]),
        ({"reasoning_details": [SIGNED]}, False, [Thinking(text="Hm.", signature="s", signed_by="anthropic")]),
        (
            {"reasoning": "m.", "reasoning_details": [SIGNED, {"data": "x"}]},
            True,
            [Thinking(text="m.", signature="s", signed_by="anthropic"), Thinking(redacted="x", signed_by="openai")],
        ),
        ({}, True, []),
    ],
)
def test_details_do_not_repeat_what_plain_text_said(
    members: dict[str, Any], plain: bool, thoughts: list[Thinking]
) -> None:
    assert list(read_thought_pieces(message(**members), plain=plain)) == thoughts


def test_details_are_numbered_and_say_who_signed() -> None:
    thoughts = [
        Thinking(text="a"),
        Thinking(text="b", signature="s", signed_by="gemini"),
        Thinking(redacted="x", signed_by="openai"),
    ]
    assert write_details(thoughts) == [
        {"type": "reasoning.text", "text": "a", "index": 0},
        {"type": "reasoning.text", "text": "b", "signature": "s", "format": "google-gemini-v1", "index": 1},
        {"type": "reasoning.encrypted", "data": "x", "format": "unknown", "index": 2},
    ]


@pytest.mark.parametrize(
    ("signed_by", "model", "takes"),
    [
        ("anthropic", "anthropic/claude-opus-5-5", True),
        ("anthropic", "google/gemini-3.8-flash", False),
        ("gemini", "google/gemini-3.8-flash", True),
        ("openai", "x-ai/grok-4.7", True),
        ("ollama", "openai/gpt-oss-120b", False),
    ],
)
def test_a_signature_goes_to_models_of_its_maker(signed_by: str, model: str, takes: bool) -> None:
    assert takes_signature(Thinking(text="a", signature="s", signed_by=signed_by), model) is takes
