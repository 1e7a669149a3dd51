import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from keyrelay.core.conversation import (
    Audio,
    Conversation,
    Document,
    EmbeddingsAsked,
    Format,
    Image,
    Message,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.providers import QuirksRow
from keyrelay.wire.dialects import Target, UntranslatableError
from keyrelay.wire.ollama.provider import OllamaProvider
from tests.wire.ollama.samples import CHAT, CONVERSATIONS, EXAMPLES, PNG, asked

PROVIDER = OllamaProvider()
TARGET = Target(provider_id="ollama", model="llama3")
HI = Message(role="user", parts=(Text(text="Hi"),))
F = Tool(name="f", description="Does f.", schema='{"type":"object"}')
G = Tool(name="g")


def written(conversation: Conversation, target: Target = TARGET) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(PROVIDER.request(conversation, target).body)
    return body


def said(*parts: Any, role: Any = "user") -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = written(Conversation(messages=(Message(role=role, parts=parts),)))["messages"]
    return messages


def test_a_bare_request_says_whether_it_streams() -> None:
    body = {"model": "llama3", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    assert written(Conversation(messages=(HI,))) == body
    assert written(Conversation(messages=(HI,), stream=True)) == {**body, "stream": True}


def test_a_whole_request() -> None:
    conversation = Conversation(
        messages=(
            Message(role="system", parts=(Text(text="Be brief."), Text(text="Be kind."))),
            Message(
                role="user", parts=(Text(text="What is"), Image(media_type="image/png", data=PNG), Text(text="this?"))
            ),
            Message(
                role="assistant",
                parts=(
                    Thinking(text="Hm.", signature="signed", signed_by="anthropic"),
                    Thinking(redacted="xxx"),
                    Text(text="Let me "),
                    Refusal(text="look."),
                    ToolCall(id="call_1", name="f", arguments='{"a": 1}'),
                    ToolCall(id="call_2", name="g", arguments=""),
                ),
            ),
            Message(
                role="user",
                parts=(
                    ToolResult(call_id="call_1", parts=(Text(text="one"), Text(text="two"))),
                    ToolResult(call_id="call_2", parts=(), name="g"),
                    Text(text="Well?"),
                ),
            ),
        ),
        tools=(F, G),
        format=Format(schema='{"type":"string"}', name="words", strict=True),
        reasoning=Reasoning(effort="medium"),
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=40, seed=7, presence_penalty=0.1, frequency_penalty=0.2),
        max_output_tokens=100,
        stop=("END",),
    )
    function = {"name": "f", "description": "Does f.", "parameters": {"type": "object"}}
    bare = {"name": "g", "parameters": {"type": "object", "properties": {}}}
    assert written(conversation) == {
        "model": "llama3",
        "messages": [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {"role": "user", "content": "What is\n\nthis?", "images": [PNG]},
            {
                "role": "assistant",
                "content": "Let me look.",
                "thinking": "Hm.",
                "tool_calls": [
                    {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
                    {"id": "call_2", "function": {"index": 1, "name": "g", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "one\n\ntwo", "tool_name": "f", "tool_call_id": "call_1"},
            {"role": "tool", "content": "", "tool_name": "g", "tool_call_id": "call_2"},
            {"role": "user", "content": "Well?"},
        ],
        "stream": False,
        "tools": [{"type": "function", "function": function}, {"type": "function", "function": bare}],
        "format": {"type": "string"},
        "options": {
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "seed": 7,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "num_predict": 100,
            "stop": ["END"],
        },
        "think": "medium",
    }
    assert PROVIDER.request(conversation, TARGET).left_out == ()
    assert PROVIDER.request(conversation, TARGET) == PROVIDER.request(conversation, TARGET)


def test_results_may_hold_pictures() -> None:
    result = ToolResult(call_id="call_1", parts=(Image(media_type="image/png", data=PNG),))
    assert said(result) == [{"role": "tool", "content": "", "images": [PNG], "tool_call_id": "call_1"}]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (Document(media_type="text/plain", data="SGk="), "Hi"),
        (Document(media_type="text/markdown", data="SGk=", name="a.md"), "a.md\n\nHi"),
    ],
)
def test_a_text_is_a_text(document: Document, text: str) -> None:
    assert said(document) == [{"role": "user", "content": text}]


def test_a_turn_without_anything_is_dropped() -> None:
    assert said(Thinking(redacted="xxx"), role="assistant") == []
    assert said(Thinking(text="Hm."), role="assistant") == [{"role": "assistant", "content": "", "thinking": "Hm."}]


@pytest.mark.parametrize(
    ("choice", "names", "left_out"),
    [
        (ToolChoice(), ["f", "g"], ()),
        (ToolChoice(mode="none"), None, ()),
        (ToolChoice(names=("g",)), ["g"], ()),
        (ToolChoice(mode="required"), ["f", "g"], ("tool_choice",)),
        (ToolChoice(mode="required", names=("f",), parallel=False), ["f"], ("tool_choice", "tool_choice.parallel")),
    ],
)
def test_tools_that_may_not_be_called_are_not_offered(
    choice: ToolChoice, names: list[str] | None, left_out: tuple[str, ...]
) -> None:
    conversation = Conversation(messages=(HI,), tools=(F, G), tool_choice=choice)
    request = PROVIDER.request(conversation, TARGET)
    tools = json.loads(request.body).get("tools")
    assert (tools and [tool["function"]["name"] for tool in tools]) == names
    assert request.left_out == left_out


def test_custom_tools_become_functions() -> None:
    tool = Tool(name="run", custom=True, grammar='{"type":"text"}')
    call = ToolCall(id="call_1", name="run", arguments="ls -l", custom=True)
    request = PROVIDER.request(
        Conversation(messages=(Message(role="assistant", parts=(call,)),), tools=(tool,)), TARGET
    )
    body = json.loads(request.body)
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"input": "ls -l"}
    assert body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert request.left_out == ("tools.grammar",)


@pytest.mark.parametrize(
    ("reasoning", "think"),
    [
        (None, None),
        (Reasoning(), None),
        (Reasoning(shown=False), None),
        (Reasoning(shown=True), True),
        (Reasoning(effort="none"), False),
        (Reasoning(budget_tokens=0), False),
        (Reasoning(budget_tokens=-1), True),
        (Reasoning(budget_tokens=2000), True),
        (Reasoning(effort="minimal"), "low"),
        (Reasoning(effort="xhigh"), "high"),
        (Reasoning(effort="max"), "max"),
    ],
)
def test_how_much_to_think(reasoning: Reasoning | None, think: object) -> None:
    request = PROVIDER.request(Conversation(messages=(HI,), reasoning=reasoning), TARGET)
    assert json.loads(request.body).get("think") == think
    bound = reasoning is not None and reasoning.budget_tokens == 2000
    assert request.left_out == (("reasoning.budget_tokens",) if bound else ())


def test_any_json() -> None:
    assert written(Conversation(messages=(HI,), format=Format()))["format"] == "json"


def test_preferences_are_left_out_and_named() -> None:
    parts = (
        Text(text="Hi", cache="5m"),
        Image(media_type="image/png", data=PNG, detail="low"),
        ToolResult(call_id="call_1", parts=(Text(text="No"),), failed=True),
    )
    conversation = Conversation(
        messages=(Message(role="user", parts=parts),),
        tools=(Tool(name="f", schema="{}", strict=True, cache="5m"),),
        format=Format(description="Words."),
        sampling=Sampling(logprobs=True, top_logprobs=2),
        user="u",
        tier="flex",
        cache_key="k",
    )
    assert PROVIDER.request(conversation, TARGET).left_out == (
        "tools.strict",
        "format.description",
        "logprobs",
        "failed",
        "detail",
        "cache",
        "user",
        "tier",
        "cache_key",
    )


@pytest.mark.parametrize(
    ("conversation", "field"),
    [
        (Conversation(messages=(HI,), answers=2), "answers"),
        (
            Conversation(messages=(HI, Message(role="user", parts=(Image(url="https://example.com/a.png"),)))),
            "messages[1]: image",
        ),
        (
            Conversation(messages=(Message(role="user", parts=(Audio(media_type="audio/wav", data="AAAA"),)),)),
            "messages[0]: audio",
        ),
        (
            Conversation(messages=(Message(role="user", parts=(ToolResult(call_id="c", parts=(Document(),)),)),)),
            "messages[0]: document",
        ),
        (
            Conversation(messages=(HI, Message(role="user", parts=(Document(media_type="text/plain", data="/w=="),)))),
            "messages[1]: document",
        ),
        (
            Conversation(messages=(Message(role="assistant", parts=(ToolCall(id="c", name="f", arguments="[1"),)),)),
            "messages[0]: call of f",
        ),
    ],
)
def test_content_is_never_lost_in_silence(conversation: Conversation, field: str) -> None:
    with pytest.raises(UntranslatableError) as raised:
        PROVIDER.request(conversation, TARGET)
    assert raised.value.field == field


@pytest.mark.parametrize(("model", "expected"), [("llama3", "cloud/llama3"), ("cloud/llama3", "cloud/llama3")])
def test_a_prefix_stands_before_the_model(model: str, expected: str) -> None:
    target = Target(provider_id="ollama", model=model, quirks=QuirksRow(model_prefix="cloud/"))
    assert written(Conversation(messages=(HI,)), target)["model"] == expected


def test_the_same_dialect_passes_through() -> None:
    request = asked(b'{ "model": "llama3", "messages": [], "keep_alive": "5m" }')
    assert PROVIDER.passed(request, TARGET).body is request.body
    other = PROVIDER.passed(request, Target(provider_id="ollama", model="qwen3"))
    assert other.body == b'{"model":"qwen3","messages":[],"keep_alive":"5m"}'


def test_texts_to_embed() -> None:
    request = PROVIDER.embeddings_request(EmbeddingsAsked(inputs=("a", "b"), purpose="search_query"), TARGET)
    assert json.loads(request.body) == {"model": "llama3", "input": ["a", "b"]}
    assert request.left_out == ("purpose",)
    wishes = PROVIDER.embeddings_request(EmbeddingsAsked(inputs=("a",), dimensions=64, truncate=False), TARGET)
    assert json.loads(wishes.body) == {"model": "llama3", "input": ["a"], "dimensions": 64, "truncate": False}
    assert wishes.left_out == ()


def test_token_numbers_are_refused() -> None:
    with pytest.raises(UntranslatableError, match="token numbers"):
        PROVIDER.embeddings_request(EmbeddingsAsked(token_inputs=((1, 2),)), TARGET)


def test_it_offers_the_rest_of_a_codec() -> None:
    assert repr(PROVIDER.splitter(5)) == "<LineSplitter 0 of 5 bytes held>"
    assert repr(PROVIDER) == "<OllamaProvider>"
    assert PROVIDER.dialect == "ollama"


@settings(max_examples=EXAMPLES)
@given(conversation=CONVERSATIONS)
def test_a_conversation_survives_both_sides(conversation: Conversation) -> None:
    request = PROVIDER.request(conversation, TARGET)
    before = msgspec.json.encode(conversation)
    assert CHAT.conversation(asked(request.body)) == conversation
    assert request.left_out == ()
    assert msgspec.json.encode(conversation) == before
