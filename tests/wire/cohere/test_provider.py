import json
from typing import Any

import pytest

from keyrelay.core.conversation import (
    Conversation,
    EmbeddingsAsked,
    Format,
    Message,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.providers import QuirksRow
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import read_members
from keyrelay.wire.cohere.provider import CohereProvider
from keyrelay.wire.dialects import Target, UntranslatableError, Written

PROVIDER = CohereProvider()
TARGET = Target(
    provider_id="cohere", model="command-a", quirks=QuirksRow(strip_tool_schema=("$schema", "additionalProperties"))
)
HI = Message(role="user", parts=(Text(text="Hi"),))
SCHEMA = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
LOWERED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
F = Tool(name="get-it", description="Gets it.", schema=SCHEMA)
G = Tool(name="g")


def asked(**members: Any) -> Written:
    return PROVIDER.request(Conversation(messages=(HI,), **members), TARGET)


def written(**members: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(asked(**members).body)
    return body


def test_a_bare_request() -> None:
    body = {"model": "command-a", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    assert written() == body
    assert written(stream=True) == {**body, "stream": True}


def test_a_whole_request() -> None:
    members: dict[str, Any] = {
        "tools": (F, G),
        "tool_choice": ToolChoice(mode="required"),
        "reasoning": Reasoning(budget_tokens=500),
        "sampling": Sampling(temperature=0.5, top_p=0.9, top_k=40, seed=7, frequency_penalty=0.5),
        "max_output_tokens": 100,
        "stop": ("END",),
    }
    request = asked(**members)
    assert json.loads(request.body) == {
        "model": "command-a",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "tools": [
            {
                "type": "function",
                "function": {"name": "get_x2D_it", "description": "Gets it.", "parameters": LOWERED},
            },
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        ],
        "tool_choice": "REQUIRED",
        "thinking": {"type": "enabled", "token_budget": 500},
        "max_tokens": 100,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "p": 0.9,
        "k": 40,
        "seed": 7,
        "frequency_penalty": 0.5,
    }
    assert request.left_out == ()
    assert asked(**members) == request


@pytest.mark.parametrize(
    ("choice", "names", "said", "left_out"),
    [
        (ToolChoice(), 2, None, ()),
        (ToolChoice(mode="none"), 2, "NONE", ()),
        (ToolChoice(mode="required", names=("g",)), 1, "REQUIRED", ()),
        (ToolChoice(names=("g",), parallel=False), 1, None, ("tool_choice.parallel",)),
        (ToolChoice(mode="required", names=("h",)), 0, None, ("tool_choice",)),
    ],
)
def test_a_choice_of_tools(choice: ToolChoice, names: int, said: str | None, left_out: tuple[str, ...]) -> None:
    request = asked(tools=(F, G), tool_choice=choice)
    body = json.loads(request.body)
    assert len(body.get("tools", [])) == names
    assert body.get("tool_choice") == said
    assert request.left_out == left_out


@pytest.mark.parametrize(
    ("tools", "strict", "left_out"),
    [
        ((Tool(name="f", schema=SCHEMA, strict=True),), True, ()),
        ((Tool(name="f", schema=SCHEMA, strict=True), G), None, ("tools.strict",)),
        ((Tool(name="f", strict=True),), None, ("tools.strict",)),
        ((G,), None, ()),
    ],
)
def test_tools_are_strict_together(tools: tuple[Tool, ...], strict: bool | None, left_out: tuple[str, ...]) -> None:
    request = asked(tools=tools)
    assert json.loads(request.body).get("strict_tools") is strict
    assert request.left_out == left_out


def test_custom_tools_become_functions() -> None:
    request = asked(tools=(Tool(name="run", custom=True, grammar='{"type":"text"}'),))
    function = json.loads(request.body)["tools"][0]["function"]
    assert function["parameters"]["properties"] == {"input": {"type": "string"}}
    assert request.left_out == ("tools.grammar",)


def test_a_schema_stands_inside_of_json_object() -> None:
    assert written(format=Format())["response_format"] == {"type": "json_object"}
    request = asked(format=Format(schema=SCHEMA, description="It."))
    assert json.loads(request.body)["response_format"] == {"type": "json_object", "json_schema": json.loads(SCHEMA)}
    assert request.left_out == ("format.description",)


def test_a_format_and_tools_are_not_for_cohere() -> None:
    request = asked(format=Format(), tools=(G,))
    assert "response_format" not in json.loads(request.body)
    assert request.left_out == ("format",)
    with pytest.raises(UntranslatableError, match="not both"):
        asked(format=Format(schema=SCHEMA), tools=(G,))


@pytest.mark.parametrize(
    ("reasoning", "thinking"),
    [
        (None, None),
        (Reasoning(shown=True), None),
        (Reasoning(effort="none"), {"type": "disabled"}),
        (Reasoning(budget_tokens=0), {"type": "disabled"}),
        (Reasoning(budget_tokens=-1), {"type": "enabled"}),
        (Reasoning(effort="low"), {"type": "enabled", "token_budget": 1024}),
        (Reasoning(effort="medium", budget_tokens=9), {"type": "enabled", "token_budget": 9}),
        (Reasoning(effort="high"), {"type": "enabled"}),
    ],
)
def test_how_much_to_think(reasoning: Reasoning | None, thinking: object) -> None:
    assert written(reasoning=reasoning).get("thinking") == thinking
    assert asked(reasoning=reasoning).left_out == ()


@pytest.mark.parametrize(
    ("sampling", "said", "left_out"),
    [
        (Sampling(top_p=1.0), {"p": 0.99}, ()),
        (Sampling(top_p=0.0), {"p": 0.01}, ()),
        (Sampling(top_k=0), {"k": 0}, ()),
        (Sampling(top_k=501), {}, ("top_k",)),
        (Sampling(top_k=-1), {}, ("top_k",)),
        (Sampling(seed=-1), {}, ("seed",)),
        (Sampling(seed=2**40), {"seed": 2**40}, ()),
        (Sampling(presence_penalty=1.0), {"presence_penalty": 1.0}, ()),
        (Sampling(presence_penalty=0.0, frequency_penalty=0.0), {}, ()),
        (Sampling(presence_penalty=-0.5), {}, ("presence_penalty",)),
        (Sampling(presence_penalty=0.5, frequency_penalty=1.5), {"presence_penalty": 0.5}, ("frequency_penalty",)),
        (Sampling(presence_penalty=0.5, frequency_penalty=0.5), {"frequency_penalty": 0.5}, ("presence_penalty",)),
        (Sampling(logprobs=True), {}, ("logprobs",)),
        (Sampling(top_logprobs=2), {}, ("logprobs",)),
    ],
)
def test_sampling_within_cohere_s_bounds(
    sampling: Sampling, said: dict[str, object], left_out: tuple[str, ...]
) -> None:
    request = asked(sampling=sampling)
    body = json.loads(request.body)
    assert {name: body[name] for name in body if name not in {"model", "messages", "stream"}} == said
    assert request.left_out == left_out


def test_five_stop_sequences_are_the_most() -> None:
    request = asked(stop=tuple("abcdef"))
    assert json.loads(request.body)["stop_sequences"] == list("abcde")
    assert request.left_out == ("stop",)


def test_preferences_are_left_out_and_named() -> None:
    parts = (Text(text="Hi", cache="5m"), ToolResult(call_id="c", parts=(Text(text="No"),), failed=True))
    conversation = Conversation(
        messages=(Message(role="user", parts=parts),), user="u", tier="flex", cache_key="k", tools=(G,)
    )
    left_out = PROVIDER.request(conversation, TARGET).left_out
    assert left_out == ("failed", "cache", "user", "tier", "cache_key")


def test_several_answers_are_refused() -> None:
    with pytest.raises(UntranslatableError, match="one answer"):
        asked(answers=2)


@pytest.mark.parametrize(("model", "expected"), [("m", "x/m"), ("x/m", "x/m")])
def test_a_prefix_stands_before_the_model(model: str, expected: str) -> None:
    target = Target(provider_id="cohere", model=model, quirks=QuirksRow(model_prefix="x/"))
    body = PROVIDER.request(Conversation(messages=(HI,)), target).body
    assert json.loads(body)["model"] == expected


def test_the_same_dialect_would_pass_through() -> None:
    body = b'{ "model": "command-a", "messages": [] }'
    fields = read_members(body, max_depth=8)
    request = CallRequest(operation="chat", model="command-a", stream=False, body=body, fields=fields, dialect="cohere")
    assert PROVIDER.passed(request, TARGET).body is body
    other = Target(provider_id="cohere", model="command-r")
    assert PROVIDER.passed(request, other).body == b'{"model":"command-r","messages":[]}'


@pytest.mark.parametrize(
    ("wanted", "said", "left_out"),
    [
        (EmbeddingsAsked(inputs=("a",)), {"input_type": "search_document"}, ()),
        (EmbeddingsAsked(inputs=("a",), purpose="search_query"), {"input_type": "search_query"}, ()),
        (EmbeddingsAsked(inputs=("a",), purpose="poetry"), {"input_type": "search_document"}, ("purpose",)),
        (
            EmbeddingsAsked(inputs=("a",), dimensions=256, truncate=True),
            {"input_type": "search_document", "output_dimension": 256, "truncate": "END"},
            (),
        ),
        (EmbeddingsAsked(inputs=("a",), truncate=False), {"input_type": "search_document", "truncate": "NONE"}, ()),
    ],
)
def test_texts_to_embed(wanted: EmbeddingsAsked, said: dict[str, object], left_out: tuple[str, ...]) -> None:
    request = PROVIDER.embeddings_request(wanted, TARGET)
    assert json.loads(request.body) == {"model": "command-a", "texts": ["a"], "embedding_types": ["float"], **said}
    assert request.left_out == left_out


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (EmbeddingsAsked(token_inputs=((1, 2),)), "token numbers"),
        (EmbeddingsAsked(inputs=("a",) * 97), "at most 96"),
    ],
)
def test_what_cohere_does_not_embed(wanted: EmbeddingsAsked, problem: str) -> None:
    with pytest.raises(UntranslatableError, match=problem):
        PROVIDER.embeddings_request(wanted, TARGET)
    assert PROVIDER.embeddings_request(EmbeddingsAsked(inputs=("a",) * 96), TARGET).body


def test_it_offers_the_rest_of_a_codec() -> None:
    assert PROVIDER.answer(b'{"message":{"content":[]}}')
    assert PROVIDER.embeddings(b'{"embeddings":{"float":[[1]]}}')
    assert repr(PROVIDER.splitter(5)) == "<EventSplitter 0 of 5 bytes held>"
    assert repr(PROVIDER.reader()) == "<CohereReader not begun 0 calls 0 pieces held>"
    assert repr(PROVIDER) == "<CohereProvider>"
    assert PROVIDER.dialect == "cohere"
