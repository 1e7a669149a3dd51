import pytest

from keyrelay.core.conversation import ToolChoice
from keyrelay.core.errors import CallerError
from tests.wire.responses.asked import understood

TOOLS = [
    {"type": "function", "name": "f"},
    {"type": "custom", "name": "c"},
    {
        "type": "namespace",
        "name": "ns",
        "tools": [{"type": "function", "name": "a"}, {"type": "function", "name": "b"}],
    },
    {"type": "tool_search", "execution": "client"},
]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (None, None),
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "name": "f"}, ToolChoice(mode="required", names=("f",))),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(mode="required", names=("f",))),
        ({"type": "function", "name": "a", "namespace": "ns"}, ToolChoice(mode="required", names=("ns__a",))),
        ({"type": "custom", "name": "c"}, ToolChoice(mode="required", names=("c",))),
        ({"type": "tool_search"}, ToolChoice(mode="required", names=("tool_search",))),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(mode="required", names=("f",)),
        ),
        (
            {"type": "allowed_tools", "tools": [{"type": "namespace", "name": "ns"}, {"type": "custom", "name": "c"}]},
            ToolChoice(names=("ns__a", "ns__b", "c")),
        ),
        ({"type": "allowed_tools"}, ToolChoice(mode="none")),
    ],
)
def test_choices(said: object, wanted: ToolChoice | None) -> None:
    conversation = understood(tools=TOOLS, tool_choice=said)
    assert conversation.tool_choice == wanted
    assert conversation.left_out == ()


def test_parallel_calls_go_with_every_choice() -> None:
    for said, wanted in (
        (None, ToolChoice(parallel=False)),
        ("auto", ToolChoice(parallel=False)),
        ({"type": "function", "name": "f"}, ToolChoice(mode="required", names=("f",), parallel=False)),
        ({"type": "web_search_preview"}, ToolChoice(parallel=False)),
    ):
        assert understood(tools=TOOLS, tool_choice=said, parallel_tool_calls=False).tool_choice == wanted


def test_a_tool_that_cannot_be_had_is_named() -> None:
    conversation = understood(tools=TOOLS, tool_choice={"type": "web_search_preview"})
    assert conversation.tool_choice is None
    assert conversation.left_out == ("tool_choice: web_search_preview",)
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}, {"type": "mcp", "name": "x"}]}
    conversation = understood(tools=TOOLS, tool_choice=allowed)
    assert conversation.tool_choice == ToolChoice(names=("f",))
    assert conversation.left_out == ("tool_choice.tools[1]: mcp",)


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ("sometimes", "tool_choice"),
        (5, "tool_choice"),
        ({"type": "function"}, "tool_choice.name"),
        ({"type": "allowed_tools", "tools": [{"type": "custom"}]}, "tool_choice.tools[0].name"),
        ({"type": "allowed_tools", "mode": "maybe"}, "tool_choice.mode"),
    ],
)
def test_what_is_no_choice_is_refused(said: object, param: str) -> None:
    with pytest.raises(CallerError) as caught:
        understood(tools=TOOLS, tool_choice=said)
    assert caught.value.param == param
