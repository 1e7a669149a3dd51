from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Conversation,
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
from keyrelay.wire.anthropic.provider_request import DEFAULT_MAX_TOKENS
from keyrelay.wire.dialects import Target, UntranslatableError
from tests.wire.anthropic.examples import MODEL, PROVIDER, TARGET, asking, written

F = Tool(name="f", schema='{"type":"object"}')
G = Tool(name="g", schema='{"type":"object"}')
THINKS = Reasoning(budget_tokens=-1)


def target_of(**quirks: Any) -> Target:
    return Target(provider_id="x", model="m", quirks=QuirksRow(**quirks))


def left_out_of(conversation: Conversation, target: Target = TARGET) -> tuple[str, ...]:
    return PROVIDER.request(conversation, target).left_out


def test_a_whole_request() -> None:
    conversation = asking(
        tools=(
            Tool(name="f", description="Finds.", schema='{"type":"object","properties":{}}', strict=True, cache="5m"),
        ),
        tool_choice=ToolChoice(parallel=False),
        format=Format(schema='{"type":"object"}', name="answer"),
        reasoning=Reasoning(effort="high"),
        max_output_tokens=500,
        stop=("END",),
        stream=True,
        user="u1",
        tier="auto",
    )
    request = PROVIDER.request(conversation, TARGET)
    assert (request.headers, request.left_out) == ((), ())
    assert msgspec.json.decode(request.body) == {
        "model": MODEL,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "How are you?"}]}],
        "tools": [
            {
                "name": "f",
                "description": "Finds.",
                "input_schema": {"type": "object", "properties": {}},
                "strict": True,
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "service_tier": "auto",
        "stream": True,
    }


def test_what_nobody_says_is_not_written() -> None:
    assert set(written(asking())) == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(
    ("asked", "most", "bound"),
    [
        (None, 0, DEFAULT_MAX_TOKENS),
        (None, 64_000, 64_000),
        (500, 0, 500),
        (500, 64_000, 500),
        (99_000, 64_000, 64_000),
    ],
)
def test_there_is_always_a_bound(asked: int | None, most: int, bound: int) -> None:
    target = Target(provider_id="x", model="m", max_output_tokens=most)
    assert written(asking(max_output_tokens=asked), target)["max_tokens"] == bound


def test_a_budget_makes_the_bound_grow_only_where_the_caller_set_none() -> None:
    target = Target(provider_id="x", model="m")
    request = written(asking(reasoning=Reasoning(budget_tokens=8000)), target)
    assert (request["max_tokens"], request["thinking"]["budget_tokens"]) == (12_096, 8000)
    request = written(asking(reasoning=Reasoning(budget_tokens=8000), max_output_tokens=5000), target)
    assert (request["max_tokens"], request["thinking"]["budget_tokens"]) == (5000, 4999)


@pytest.mark.parametrize(
    ("sampling", "reasoning", "said", "left_out"),
    [
        (Sampling(temperature=0.5, top_k=40), None, {"temperature": 0.5, "top_k": 40}, ()),
        (Sampling(temperature=1.7), None, {"temperature": 1.0}, ("temperature",)),
        (Sampling(temperature=0.5, top_p=0.9), None, {"temperature": 0.5}, ("top_p",)),
        (Sampling(top_p=0.9), None, {"top_p": 0.9}, ()),
        (Sampling(temperature=0.5), THINKS, {"temperature": 1.0}, ("temperature",)),
        (Sampling(temperature=1), THINKS, {"temperature": 1.0}, ()),
        (Sampling(top_p=0.9), THINKS, {}, ("top_p",)),
        (Sampling(top_p=0.96, top_k=5), THINKS, {"top_p": 0.96}, ("top_k",)),
        (Sampling(top_p=0.5, top_k=5), Reasoning(budget_tokens=0), {"top_p": 0.5, "top_k": 5}, ()),
        (
            Sampling(seed=0, presence_penalty=0.1, frequency_penalty=0.2, logprobs=True, top_logprobs=3),
            None,
            {},
            ("seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"),
        ),
        (Sampling(presence_penalty=0, frequency_penalty=0, logprobs=False), None, {}, ()),
    ],
)
def test_sampling(
    sampling: Sampling, reasoning: Reasoning | None, said: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    conversation = asking(sampling=sampling, reasoning=reasoning)
    request = written(conversation)
    assert {name: request[name] for name in ("temperature", "top_p", "top_k") if name in request} == said
    assert left_out_of(conversation) == left_out


@pytest.mark.parametrize(
    ("conversation", "left_out"),
    [
        (asking(cache_key="k"), ("cache_key",)),
        (asking(tier="flex"), ("tier",)),
        (asking(tier="default"), ()),
        (asking(stop=("\n", "", "END")), ("stop",)),
        (asking(format=Format()), ("format",)),
        (asking(format=Format(schema="{}", description="An answer.")), ("format.description",)),
        (asking(Image(url="u", detail="low"), Image(url="u", detail="low")), ("detail",)),
        (asking(tools=(F,), tool_choice=ToolChoice(mode="required"), reasoning=THINKS), ("reasoning",)),
    ],
)
def test_preferences_that_cannot_be_said_are_told(conversation: Conversation, left_out: tuple[str, ...]) -> None:
    assert left_out_of(conversation) == left_out


def test_stop_sequences_of_white_space_are_refused_so_they_do_not_go() -> None:
    assert written(asking(stop=("\n", "END")))["stop_sequences"] == ["END"]
    assert "stop_sequences" not in written(asking(stop=("\n",)))


def test_a_tier_of_another_dialect_that_means_the_same() -> None:
    assert written(asking(tier="default"))["service_tier"] == "standard_only"


def test_one_answer_at_a_time() -> None:
    with pytest.raises(UntranslatableError, match="answers"):
        written(asking(answers=2))


@pytest.mark.parametrize(
    ("tool", "schema"),
    [
        (F, {"type": "object"}),
        (Tool(name="f"), {"type": "object", "properties": {}}),
        (Tool(name="f", schema="{}"), {"type": "object"}),
        (Tool(name="f", schema='{"properties":{}}'), {"type": "object", "properties": {}}),
    ],
)
def test_a_schema_is_always_one_of_an_object(tool: Tool, schema: dict[str, Any]) -> None:
    assert written(asking(tools=(tool,)))["tools"] == [{"name": "f", "input_schema": schema}]


@pytest.mark.parametrize(
    "conversation", [asking(tools=(Tool(name="f", schema="[]"),)), asking(format=Format(schema="true"))]
)
def test_a_schema_that_is_none_is_not_lost_in_silence(conversation: Conversation) -> None:
    with pytest.raises(UntranslatableError, match="schema"):
        written(conversation)


def test_a_custom_tool_becomes_a_function_with_one_string() -> None:
    grammar = '{"type":"grammar","syntax":"lark"}'
    conversation = asking(tools=(Tool(name="f", description="Patches.", custom=True, grammar=grammar),))
    (tool,) = written(conversation)["tools"]
    assert tool["input_schema"]["required"] == ["input"]
    assert tool["description"] == f"Patches.\n\nThe input has this format: {grammar}"
    assert left_out_of(conversation) == ("tools.grammar",)


@pytest.mark.parametrize(
    ("choice", "said", "names"),
    [
        (None, None, ["f", "g"]),
        (ToolChoice(mode="none", parallel=False), {"type": "none"}, ["f", "g"]),
        (ToolChoice(mode="required"), {"type": "any"}, ["f", "g"]),
        (
            ToolChoice(mode="required", names=("g",), parallel=True),
            {"type": "tool", "name": "g", "disable_parallel_tool_use": False},
            ["f", "g"],
        ),
        (ToolChoice(mode="required", names=("g", "h")), {"type": "any"}, ["g"]),
        (ToolChoice(names=("f",)), {"type": "auto"}, ["f"]),
    ],
)
def test_whether_tools_are_called(choice: ToolChoice | None, said: dict[str, Any] | None, names: list[str]) -> None:
    request = written(asking(tools=(F, G), tool_choice=choice))
    assert request.get("tool_choice") == said
    assert [tool["name"] for tool in request["tools"]] == names


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((), ToolChoice(mode="required")),
        ((F,), ToolChoice(mode="required", names=("web_search",))),
        ((F,), ToolChoice(mode="required", names=("g", "h"))),
    ],
)
def test_a_tool_that_must_be_called_and_is_not_there(tools: tuple[Tool, ...], choice: ToolChoice) -> None:
    with pytest.raises(UntranslatableError, match="tool_choice: there is no tool"):
        written(asking(tools=tools, tool_choice=choice))


def test_a_choice_without_tools_says_nothing() -> None:
    assert set(written(asking(tool_choice=ToolChoice()))) == {"model", "max_tokens", "messages"}


CALLED = (
    Message(role="user", parts=(Text("a"),)),
    Message(
        role="assistant", parts=(ToolCall(id="1", name="f", arguments="{}"), ToolCall(id="2", name="f", arguments="{}"))
    ),
    Message(role="user", parts=(ToolResult(call_id="1", parts=()), ToolResult(call_id="2", parts=()))),
)


def test_calls_of_before_have_tools_even_when_there_are_none_now() -> None:
    request = written(Conversation(messages=CALLED))
    assert request["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert request["tool_choice"] == {"type": "none"}


def test_a_budget_goes_where_others_made_the_last_calls() -> None:
    conversation = Conversation(messages=CALLED, tools=(F,), reasoning=Reasoning(budget_tokens=2000))
    assert "thinking" not in written(conversation)
    assert left_out_of(conversation) == ("reasoning",)


def test_a_provider_has_rules_of_its_own() -> None:
    conversation = asking(user="u", stream=True, sampling=Sampling(top_k=5), tier="auto")
    target = target_of(
        drop=("service_tier", "seed"), rename={"top_k": "k"}, defaults={"speed": "fast"}, model_prefix="org/"
    )
    request = PROVIDER.request(conversation, target)
    body = msgspec.json.decode(request.body)
    assert (body["model"], body["k"], body["speed"], body["metadata"]) == ("org/m", 5, "fast", {"user_id": "u"})
    assert "service_tier" not in body
    assert "top_k" not in body
    assert request.left_out == ("service_tier",)


def test_a_prefix_that_is_there_is_not_put_twice() -> None:
    target = Target(provider_id="x", model="org/m", quirks=QuirksRow(model_prefix="org/"))
    assert written(asking(), target)["model"] == "org/m"


@pytest.mark.parametrize(
    ("sampling", "said", "left_out"),
    [
        (Sampling(temperature=0.5, top_k=40), {}, ("temperature", "top_k")),
        (Sampling(temperature=1), {"temperature": 1.0}, ()),
        (Sampling(top_p=0.9), {}, ("top_p",)),
        (Sampling(), {}, ()),
    ],
)
def test_newer_models_are_not_told_how_to_choose_words(
    sampling: Sampling, said: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    target = Target(provider_id="anthropic", model="claude-opus-4-7")
    request = written(asking(sampling=sampling), target)
    assert {name: request[name] for name in ("temperature", "top_p", "top_k") if name in request} == said
    assert left_out_of(asking(sampling=sampling), target) == left_out
