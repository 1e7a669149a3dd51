import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import Tool
from keyrelay.core.errors import CallerError
from keyrelay.wire.responses.tools import MAX_NAME, Origin, flat_name, names_of
from tests.wire.responses.asked import asked, understood


def test_a_function_is_what_it_says() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    wanted = Tool(name="f", description="d", schema='{"type": "object"}', strict=True)
    assert understood(tools=[tool]).tools == (wanted,)
    assert understood(tools=[{"type": "function", "name": "f", "parameters": None}]).tools == (Tool(name="f"),)


def test_a_function_as_chat_writes_it_is_one_too() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert understood(tools=[tool]).tools == (Tool(name="f", schema='{"type": "object"}'),)


@pytest.mark.parametrize(
    "kind",
    ["web_search", "file_search", "code_interpreter", "mcp", "local_shell", "image_generation", "apply_patch", "shell"],
)
def test_tools_that_openai_runs_or_defines_are_named(kind: str) -> None:
    conversation = understood(tools=[{"type": "function", "name": "f"}, {"type": kind}])
    assert [tool.name for tool in conversation.tools] == ["f"]
    assert conversation.left_out == (f"tools[1]: {kind}",)


def test_a_tool_search_that_openai_runs_is_named() -> None:
    assert understood(tools=[{"type": "tool_search"}]).left_out == ("tools[0]: tool_search",)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "function": {}}, "tools[0].name"),
        ({"name": "f"}, "tools[0].type"),
        ({"type": "function", "name": "f", "parameters": []}, "tools[0].parameters"),
        ({"type": "function", "name": 5}, "tools[0].name"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}, "tools[0].tools[0]"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "namespace", "name": "n"}]}, "tools[0].tools[0]"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}, "tools[0].tools[0].name"),
    ],
)
def test_what_is_no_tool_is_refused_with_its_place(tool: dict[str, object], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        understood(tools=[tool])
    assert caught.value.param == param


def test_names_go_both_ways() -> None:
    tools = [
        {"type": "namespace", "name": "mcp__x__", "tools": [{"type": "function", "name": "run"}]},
        {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]},
        {"type": "namespace", "name": "empty"},
    ]
    names = names_of(asked(tools=tools))
    assert names.origin("mcp__x__run") == Origin("run", "mcp__x__")
    assert names.origin("functions__exec") == Origin("exec", "functions", "custom")
    assert names.origin("other") == Origin("other")
    assert names.flat("run", "mcp__x__") == "mcp__x__run"
    assert names.flat("other", "undeclared") == "undeclared__other"
    assert names.within("functions") == ("functions__exec",)
    assert "functions__exec" in names
    assert "exec" not in names
    assert repr(names) == "<ToolNames mcp__x__run, functions__exec>"


def test_tools_of_items_are_found_for_the_answer() -> None:
    tools = [{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "exec"}]}]
    request = asked(input=[{"type": "additional_tools", "role": "developer", "tools": tools}])
    assert names_of(request).origin("n__exec") == Origin("exec", "n", "custom")
    assert names_of(asked(input=[{"type": "additional_tools"}])).origin("x") == Origin("x")


def test_nothing_is_decoded_where_names_stand_for_themselves() -> None:
    assert repr(names_of(asked(tools=[{"type": "function", "name": "f"}]))) == "<ToolNames >"


def test_two_tools_of_one_flat_name_are_told_apart() -> None:
    tools = [
        {"type": "function", "name": "a__b"},
        {"type": "namespace", "name": "a", "tools": [{"type": "function", "name": "b"}]},
    ]
    names = names_of(asked(tools=tools))
    first, second = (tool.name for tool in understood(tools=tools).tools)
    assert first == "a__b"
    assert (names.origin(first), names.origin(second)) == (Origin("a__b"), Origin("b", "a"))


def test_a_tool_that_is_declared_again_is_one_tool() -> None:
    again = {"type": "additional_tools", "tools": [{"type": "function", "name": "f", "description": "new"}]}
    conversation = understood(
        tools=[{"type": "function", "name": "f"}], input=[again, {"role": "user", "content": "Hi"}]
    )
    assert conversation.tools == (Tool(name="f", description="new"),)


@given(st.text(min_size=1, max_size=100), st.text(min_size=1, max_size=100))
def test_flat_names_are_names_that_providers_take(name: str, namespace: str) -> None:
    flat = flat_name(name, namespace)
    assert 0 < len(flat) <= MAX_NAME
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in flat)
    assert flat_name(name, "") == name
