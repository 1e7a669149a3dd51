import json
from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Audio,
    Conversation,
    Document,
    Format,
    Image,
    Message,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.providers import QuirksRow
from keyrelay.wire.dialects import Target, UntranslatableError
from keyrelay.wire.gemini.models import PLACEHOLDER_SIGNATURE
from tests.wire.gemini.shared import EVENTS, FLASH, NEWEST, PROVIDER, asked, said, written

LOOK = Tool(name="look", schema='{"type":"object"}')


CALL = ToolCall(id="c1", name="look", arguments='{"a":1}')


HELLO = Text(text="Hello")


def dialogue(*turns: Any) -> Conversation:
    """Turns of the user's and of the assistant's, one after the other."""
    return Conversation(
        messages=tuple(
            Message(role="assistant" if number % 2 else "user", parts=parts) for number, parts in enumerate(turns)
        )
    )


def test_a_whole_request() -> None:
    conversation = Conversation(
        messages=(
            Message(role="system", parts=(Text(text="Be kind."),)),
            Message(role="user", parts=(HELLO, Image(media_type="image/png", data="AAAA"))),
            Message(role="assistant", parts=(CALL,)),
            Message(role="user", parts=(ToolResult(call_id="c1", parts=(Text(text="5 degrees"),)),)),
            Message(role="system", parts=(Text(text="Be brief."), Text(text=""))),
        ),
        tools=(LOOK, Tool(name="patch", description="Patches.", custom=True)),
        tool_choice=ToolChoice(mode="required", names=("look",)),
        format=Format(schema='{"type":"object"}', name="weather"),
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=4, seed=1, presence_penalty=0.1, frequency_penalty=0.2),
        max_output_tokens=100,
        stop=("END",),
    )
    result = PROVIDER.request(conversation, NEWEST)
    assert (result.left_out, result.headers) == ((), ())
    assert json.loads(result.body) == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hello"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"id": "c1", "name": "look", "args": {"a": 1}},
                        "thoughtSignature": "skip_thought_signature_validator",
                    }
                ],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c1", "name": "look", "response": {"output": "5 degrees"}}}],
            },
        ],
        "systemInstruction": {"parts": [{"text": "Be kind."}, {"text": "Be brief."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "look", "parametersJsonSchema": {"type": "object"}},
                    {
                        "name": "patch",
                        "description": "Patches.",
                        "parametersJsonSchema": {
                            "type": "object",
                            "properties": {"input": {"type": "string"}},
                            "required": ["input"],
                        },
                    },
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 4,
            "maxOutputTokens": 100,
            "stopSequences": ["END"],
            "seed": 1,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
        },
    }


def test_a_conversation_without_turns_gets_one() -> None:
    system = Conversation(messages=(Message(role="system", parts=(HELLO,)),))
    assert written(system) == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    assert written(Conversation(messages=())) == {"contents": [{"role": "user", "parts": [{"text": " "}]}]}


PICTURE = Image(media_type="image/png", data="AAAA")


@pytest.mark.parametrize(
    ("conversation", "target", "field"),
    [
        (said(HELLO, answers=2), NEWEST, "answers"),
        (said(HELLO, format=Format(), tools=(LOOK,)), FLASH, "format"),
        (said(Image(url="http://example.org/a.png")), NEWEST, "messages[0].parts[0]: image"),
        (said(HELLO, Document(file_id="file-1")), NEWEST, "messages[0].parts[1]: document"),
        (said(Audio(media_type="audio/wav", data="")), NEWEST, "messages[0].parts[0]: audio"),
        (said(ToolResult(call_id="c9", parts=())), NEWEST, "messages[0].parts[0]: toolresult"),
        (
            dialogue((HELLO,), (ToolCall(id="c1", name="look", arguments="[1]"),)),
            NEWEST,
            "messages[1].parts[0]: toolcall",
        ),
        (
            Conversation(messages=(Message(role="system", parts=(PICTURE,)),)),
            NEWEST,
            "messages[0].parts[0]: image",
        ),
    ],
)
def test_content_that_cannot_be_said_is_refused(conversation: Conversation, target: Target, field: str) -> None:
    with pytest.raises(UntranslatableError) as error:
        PROVIDER.request(conversation, target)
    assert error.value.field == field


def test_newer_models_take_json_and_tools_together() -> None:
    body = written(said(HELLO, format=Format(), tools=(LOOK,)))
    assert body["generationConfig"] == {"responseMimeType": "application/json"}
    assert PROVIDER.request(said(HELLO, format=Format()), FLASH).left_out == ()


@pytest.mark.parametrize(
    ("members", "left_out"),
    [
        ({"user": "u", "cache_key": "k"}, ("user", "cache_key")),
        ({"sampling": Sampling(logprobs=True, top_logprobs=2)}, ("logprobs", "top_logprobs")),
        ({"sampling": Sampling(logprobs=False)}, ()),
        ({"stop": tuple("abcdef")}, ("stop",)),
        (
            {"tools": (Tool(name="a", strict=True, cache="5m"), Tool(name="b", custom=True, grammar="{}"))},
            ("tools.strict", "cache", "tools.grammar"),
        ),
        ({"tools": (Tool(name="a", strict=False),)}, ()),
        ({"tools": (LOOK,), "tool_choice": ToolChoice(parallel=False)}, ("tool_choice.parallel",)),
        ({"tool_choice": ToolChoice(mode="required")}, ("tool_choice",)),
        ({"tool_choice": ToolChoice(mode="none", parallel=True)}, ()),
        ({"tier": "scale"}, ("tier",)),
        ({"tier": "auto"}, ()),
        ({"tier": "default"}, ()),
    ],
)
def test_preferences_that_cannot_be_said_are_named(members: Any, left_out: tuple[str, ...]) -> None:
    assert PROVIDER.request(said(HELLO, **members), NEWEST).left_out == left_out


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), {"mode": "AUTO"}),
        (ToolChoice(names=("look",)), {"mode": "VALIDATED", "allowedFunctionNames": ["look"]}),
        (ToolChoice(mode="none", names=("look",)), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
    ],
)
def test_whether_tools_are_called(choice: ToolChoice, expected: Any) -> None:
    body = written(said(HELLO, tools=(LOOK,), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": expected}


@pytest.mark.parametrize(
    ("bound", "most", "expected"), [(100, 50, 50), (100, 200, 100), (100, 0, 100), (None, 50, None)]
)
def test_the_bound_is_at_most_the_models_own(bound: int | None, most: int, expected: int | None) -> None:
    target = Target(provider_id="gemini", model="gemini-3.8-flash", max_output_tokens=most)
    body = written(said(HELLO, max_output_tokens=bound), target)
    assert body.get("generationConfig", {}).get("maxOutputTokens") == expected


def test_settings_that_a_row_drops_are_named() -> None:
    quirks = QuirksRow(drop=("presencePenalty", "seed", "store", "top_p"))
    target = Target(provider_id="gemini", model="gemini-3.8-flash", quirks=quirks)
    conversation = said(HELLO, sampling=Sampling(presence_penalty=0.5, top_p=0.5, temperature=1))
    assert written(conversation, target)["generationConfig"] == {"temperature": 1}
    assert PROVIDER.request(conversation, target).left_out == ("presence_penalty", "top_p")


UNSIGNED = {
    "role": "model",
    "parts": [{"text": "hm"}, {"functionCall": {"name": "a"}}, {"functionCall": {"name": "b"}}],
}


def test_the_callers_bytes_pass_as_they_are() -> None:
    for body in (
        b'{"contents" : [{"parts":[{"text":"functionCall"}]}]}',
        b'{"contents":[{"parts":[{"functionCall":{"name":"a"},"thought_signature":"s"}]}]}',
        b'{"contents":[{"role":"user","parts":[{"text":"\\"functionCall\\""}]},{"role":"model"}],"x":"functionCall"}',
        b'{"contents":{"parts":{"functionCall":{"name":"a"}}}}',
    ):
        assert PROVIDER.passed(asked(body), NEWEST).body == body
    body = json.dumps({"contents": [UNSIGNED]}).encode()
    assert PROVIDER.passed(asked(body), FLASH).body == body


@pytest.mark.parametrize("name", ["functionCall", "function_call"])
def test_but_a_call_without_signature_gets_one_where_the_model_insists(name: str) -> None:
    body = json.dumps({"contents": [UNSIGNED], "safety_settings": []}).replace("functionCall", name).encode()
    request = asked(body)
    passed = json.loads(PROVIDER.passed(request, NEWEST).body)
    first, second, third = passed["contents"][0]["parts"]
    assert (first, third) == ({"text": "hm"}, {name: {"name": "b"}})
    assert second == {name: {"name": "a"}, "thoughtSignature": PLACEHOLDER_SIGNATURE}
    assert passed["safetySettings"] == []
    assert request.body == body
    assert EVENTS.conversation(asked(passed)) != EVENTS.conversation(request)


@pytest.mark.parametrize(
    ("asked_in", "wanted", "shown"),
    [
        ("", Reasoning(effort="low"), None),
        ("gemini", Reasoning(budget_tokens=2048), None),
        ("gemini", None, None),
        ("openai", None, True),
        ("openai", Reasoning(), None),
        ("openai", Reasoning(effort="low"), True),
        ("openai", Reasoning(effort="none"), None),
        ("openai", Reasoning(effort="low", shown=False), False),
        ("anthropic", None, None),
        ("anthropic", Reasoning(budget_tokens=-1), True),
        ("anthropic", Reasoning(budget_tokens=0), None),
        ("anthropic", Reasoning(budget_tokens=2048, shown=False), False),
        ("responses", Reasoning(effort="high"), True),
        ("ollama", None, None),
    ],
)
def test_thoughts_are_shown_where_the_callers_dialect_shows_them(
    asked_in: Any, wanted: Reasoning | None, shown: bool | None
) -> None:
    conversation = msgspec.structs.replace(dialogue((HELLO,)), reasoning=wanted)
    target = msgspec.structs.replace(NEWEST, asked_in=asked_in)
    body = json.loads(PROVIDER.request(conversation, target).body)
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    assert thinking.get("includeThoughts") == shown
