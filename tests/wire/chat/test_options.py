from typing import Any

import pytest

from keyrelay.core.conversation import Format, Reasoning, Tool, ToolChoice
from keyrelay.core.errors import CallerError
from tests.wire.chat.samples import read

FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("shape", "tool"),
    [
        (FUNCTION, Tool(name="f")),
        (
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
            Tool(name="f", description="d", schema='{"type":"object"}', strict=True, cache="1h"),
        ),
        ({"type": "function", "function": {"name": "f", "parameters": None}}, Tool(name="f")),
        (
            {"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": False},
            Tool(name="f", description="d", schema="{}", strict=False),
        ),
        (
            {"type": "custom", "custom": {"name": "sh", "description": "d", "format": {"type": "text"}}},
            Tool(name="sh", description="d", custom=True, grammar='{"type":"text"}'),
        ),
        ({"type": "custom", "custom": {"name": "sh"}}, Tool(name="sh", custom=True)),
    ],
)
def test_a_tool(shape: dict[str, Any], tool: Tool) -> None:
    assert read(tools=[shape]).tools == (tool,)


def test_tools_of_other_kinds_are_named_as_left_out() -> None:
    conversation = read(tools=[{"type": "web_search"}, FUNCTION, {"type": "custom"}])
    assert conversation.tools == (Tool(name="f"),)
    assert conversation.left_out == ("tools[0]: web_search", "tools[2]: custom")


def test_legacy_functions_are_tools_of_which_one_is_called_at_a_time() -> None:
    conversation = read(functions=[{"name": "f", "parameters": {}}], function_call={"name": "f"})
    assert conversation.tools == (Tool(name="f", schema="{}"),)
    assert conversation.tool_choice == ToolChoice(mode="required", names=("f",), parallel=False)
    assert read(functions=[{"name": "f"}]).tool_choice == ToolChoice(parallel=False)
    assert read(functions=[{"name": "f"}], function_call="none").tool_choice == ToolChoice(mode="none", parallel=False)


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, ToolChoice(mode="auto")),
        ({"tool_choice": "none"}, ToolChoice(mode="none")),
        ({"tool_choice": "required"}, ToolChoice(mode="required")),
        ({"tool_choice": "any"}, ToolChoice(mode="required")),
        ({"parallel_tool_calls": False}, ToolChoice(parallel=False)),
        ({"tool_choice": "required", "parallel_tool_calls": True}, ToolChoice(mode="required", parallel=True)),
        ({"tool_choice": FUNCTION}, ToolChoice(mode="required", names=("f",))),
        ({"tool_choice": {"type": "custom", "custom": {"name": "sh"}}}, ToolChoice(mode="required", names=("sh",))),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [FUNCTION, {"type": "custom", "custom": {"name": "sh"}}],
                    },
                }
            },
            ToolChoice(mode="auto", names=("f", "sh")),
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION, {}]}}},
            ToolChoice(mode="required", names=("f",)),
        ),
    ],
)
def test_a_choice_of_tools(members: dict[str, Any], choice: ToolChoice | None) -> None:
    assert read(tools=[FUNCTION], **members).tool_choice == choice


def test_a_choice_of_another_kind_is_named_as_left_out() -> None:
    conversation = read(tool_choice={"type": "mcp"})
    assert (conversation.tool_choice, conversation.left_out) == (None, ("tool_choice: mcp",))
    conversation = read(tool_choice={"type": "allowed_tools"}, parallel_tool_calls=True)
    assert conversation.tool_choice == ToolChoice(parallel=True)


@pytest.mark.parametrize(
    ("members", "form", "left_out"),
    [
        ({}, None, ()),
        ({"type": "text"}, None, ()),
        ({"type": "json_object"}, Format(), ()),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "description": "d", "schema": {"a": 1}, "strict": True},
            },
            Format(schema='{"a":1}', name="n", description="d", strict=True),
            (),
        ),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, Format(name="n"), ()),
        ({"type": "regex"}, None, ("response_format: regex",)),
    ],
)
def test_a_response_format(members: dict[str, Any], form: Format | None, left_out: tuple[str, ...]) -> None:
    conversation = read(response_format=members) if members else read()
    assert (conversation.format, conversation.left_out) == (form, left_out)


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        ({}, None),
        ({"reasoning_effort": "xhigh"}, Reasoning(effort="xhigh")),
        ({"reasoning": {"effort": "low", "exclude": True}}, Reasoning(effort="low", shown=False)),
        ({"reasoning": {"max_tokens": 2000, "exclude": False}}, Reasoning(budget_tokens=2000, shown=True)),
        ({"reasoning": {"enabled": False}}, Reasoning(effort="none")),
        ({"reasoning": {"enabled": True}}, None),
        ({"thinking": {"type": "disabled"}}, Reasoning(effort="none")),
        ({"thinking": {"type": "enabled", "budget_tokens": 500}}, Reasoning(budget_tokens=500)),
        ({"thinking": {"budget_tokens": 5}, "reasoning": {"max_tokens": 6}}, Reasoning(budget_tokens=6)),
        ({"reasoning_effort": "high", "reasoning": {"effort": "low"}}, Reasoning(effort="high")),
    ],
)
def test_how_much_to_think(members: dict[str, Any], reasoning: Reasoning | None) -> None:
    assert read(**members).reasoning == reasoning


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": 1}}]}, "tools[0].custom.name"),
        ({"functions": [{}]}, "functions[0].name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"function_call": "sometimes"}, "function_call"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice.custom.name"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [1]}, "stop[0]"),
        ({"n": 0}, "n"),
    ],
)
def test_what_is_wrong_is_pointed_to(members: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        read(**members)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_custom_tool_may_stand_flat_as_in_the_responses_dialect() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "a"}
    flat = {"type": "custom", "name": "ApplyPatch", "description": "Edits.", "format": grammar}
    (tool,) = read(tools=[flat]).tools
    nested = {"type": "custom", "custom": {"name": "ApplyPatch", "description": "Edits.", "format": grammar}}
    assert (tool,) == read(tools=[nested]).tools
    assert (tool.name, tool.custom, bool(tool.grammar)) == ("ApplyPatch", True, True)
