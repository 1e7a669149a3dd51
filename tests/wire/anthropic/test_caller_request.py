from typing import Any

import pytest

from keyrelay.core.conversation import (
    Document,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from tests.wire.anthropic.examples import conversation_of

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}


def part_of(block: dict[str, Any], role: str = "user") -> Part:
    conversation = conversation_of(messages=[{"role": role, "content": [block]}])
    assert conversation.left_out == ()
    return conversation.messages[0].parts[0]


def test_a_whole_request() -> None:
    conversation = conversation_of(
        system="Be brief.",
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, I am"}],
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        stream=True,
        metadata={"user_id": "u1"},
        service_tier="standard_only",
        max_tokens=1000,
    )
    assert conversation.messages == (
        Message(role="system", parts=(Text("Be brief."),)),
        Message(role="user", parts=(Text("Hi"),)),
        Message(role="assistant", parts=(Text("Hello, I am"),)),
    )
    assert conversation.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=40)
    assert (conversation.stop, conversation.stream, conversation.user) == (("END",), True, "u1")
    assert (conversation.tier, conversation.max_output_tokens) == ("standard_only", 1000)
    assert (conversation.tools, conversation.tool_choice, conversation.reasoning, conversation.format) == (
        (),
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("system", "parts"),
    [
        (None, None),
        ("", None),
        ([], None),
        (
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": HOUR}],
            (Text("a"), Text("b", "1h")),
        ),
    ],
)
def test_instructions(system: object, parts: tuple[Part, ...] | None) -> None:
    messages = conversation_of(system=system).messages
    assert [message.parts for message in messages if message.role == "system"] == ([] if parts is None else [parts])


def test_instructions_in_the_middle_stay_there() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": "b"}]}]
    assert [message.role for message in conversation_of(messages=messages).messages] == ["user", "system"]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "text", "text": "a", "cache_control": MARK, "citations": []}, Text("a", "5m")),
        (
            {"type": "image", "source": PNG, "cache_control": HOUR},
            Image(media_type="image/png", data="AAAA", cache="1h"),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}, Image(url="https://x/a.png")),
        (
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            Document(media_type="image/*", file_id="file_1"),
        ),
        (
            {"type": "document", "source": {**PNG, "media_type": "application/pdf"}, "title": "T"},
            Document(media_type="application/pdf", data="AAAA", name="T"),
        ),
        ({"type": "document", "source": {"type": "url", "url": "https://x"}, "title": None}, Document(url="https://x")),
        ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, Document(file_id="file_1")),
        (
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "é"},
                "cache_control": MARK,
            },
            Document(media_type="text/plain", data="w6k=", cache="5m"),
        ),
        ({"type": "document", "source": {"type": "content", "content": "a"}}, Text("a")),
        ({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}}, Text("a")),
        (
            {"type": "search_result", "source": "https://x", "title": "T", "content": [{"type": "text", "text": "a"}]},
            Text("T (https://x)\na"),
        ),
        ({"type": "tool_result", "tool_use_id": "t"}, ToolResult(call_id="t", parts=())),
        (
            {"type": "tool_result", "tool_use_id": "t", "content": "a", "is_error": True, "cache_control": MARK},
            ToolResult(call_id="t", parts=(Text("a"),), failed=True, cache="5m"),
        ),
        (
            {"type": "tool_result", "tool_use_id": "toolu_kr64_ZC5l", "content": [{"type": "image", "source": PNG}]},
            ToolResult(call_id="d.e", parts=(Image(media_type="image/png", data="AAAA"),)),
        ),
        (
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "f"}]},
            ToolResult(call_id="t", parts=(Text("f"),)),
        ),
    ],
)
def test_what_a_user_shows(block: dict[str, Any], part: Part) -> None:
    assert part_of(block) == part


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "thinking", "thinking": "a", "signature": "s"},
            Thinking(text="a", signature="s", signed_by="anthropic"),
        ),
        ({"type": "thinking", "thinking": "a", "signature": ""}, Thinking(text="a")),
        ({"type": "thinking", "thinking": "a"}, Thinking(text="a")),
        ({"type": "redacted_thinking", "data": "x"}, Thinking(redacted="x", signed_by="anthropic")),
        (
            {"type": "tool_use", "id": "toolu_kr64_ZC5l", "name": "f", "input": {"a": 1}},
            ToolCall(id="d.e", name="f", arguments='{"a":1}'),
        ),
        ({"type": "compaction", "content": "Before that."}, Text("Before that.")),
    ],
)
def test_what_an_assistant_said(block: dict[str, Any], part: Part) -> None:
    assert part_of(block, "assistant") == part


@pytest.mark.parametrize(
    ("block", "left_out"),
    [
        ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, ": server_tool_use"),
        (
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "error"}},
            ": web_search_tool_result",
        ),
        ({"type": "block_of_tomorrow", "text": 5, "source": [], "content": 1}, ": block_of_tomorrow"),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {}, "cache_control": MARK}, ".cache_control"),
        ({"type": "document", "source": {"type": "url", "url": "u"}, "citations": {"enabled": True}}, ".citations"),
        ({"type": "document", "source": {"type": "url", "url": "u"}, "context": "From 1999."}, ".context"),
    ],
)
def test_what_is_left_out_is_told_with_its_place(block: dict[str, Any], left_out: str) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}, block]},
    ]
    assert conversation_of(messages=messages).left_out == (f"messages[1].content[1]{left_out}",)


def test_so_is_what_a_result_holds() -> None:
    block = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "browser_state", "tabs": []}]}
    conversation = conversation_of(messages=[{"role": "user", "content": [block]}])
    assert conversation.left_out == ("messages[0].content[0].content[0]: browser_state",)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "url", "url": "u"}, "citations": {"enabled": False}, "context": ""},
        {"type": "document", "source": {"type": "url", "url": "u"}, "citations": None},
    ],
)
def test_citations_that_nobody_wants_are_not_missed(block: dict[str, Any]) -> None:
    assert part_of(block) == Document(url="u")


def test_a_summary_that_failed_says_nothing() -> None:
    messages = [{"role": "assistant", "content": [{"type": "compaction", "content": None}]}]
    assert conversation_of(messages=messages).messages[0].parts == ()


def test_tools() -> None:
    conversation = conversation_of(
        tools=[
            {"name": "f", "description": "Finds.", "input_schema": {"type": "object"}, "cache_control": MARK},
            {"type": "custom", "name": "g", "input_schema": {"type": "object"}, "strict": True, "defer_loading": True},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "mcp_toolset", "mcp_server_name": "x"},
        ]
    )
    assert conversation.tools == (
        Tool(name="f", description="Finds.", schema='{"type":"object"}', cache="5m"),
        Tool(name="g", schema='{"type":"object"}', strict=True),
    )
    assert conversation.left_out == (
        "tools[2]: web_search_20250305",
        "tools[3]: bash_20250124",
        "tools[4]: mcp_toolset",
    )


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        (None, None),
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice(mode="required", parallel=True)),
        ({"type": "tool", "name": "f"}, ToolChoice(mode="required", names=("f",))),
        ({"type": "none"}, ToolChoice(mode="none")),
    ],
)
def test_whether_tools_are_called(choice: object, read: ToolChoice | None) -> None:
    assert conversation_of(tools=[TOOL], tool_choice=choice).tool_choice == read


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, Reasoning(budget_tokens=0)),
        ({"thinking": {"type": "adaptive"}}, Reasoning(budget_tokens=-1)),
        ({"thinking": {"type": "between_tools"}}, Reasoning(budget_tokens=-1)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(budget_tokens=2000)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(budget_tokens=-1, shown=False)),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, Reasoning(budget_tokens=-1, shown=True)),
        ({"output_config": {"effort": "xhigh"}}, Reasoning(effort="xhigh")),
        ({"output_config": {}}, None),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            Reasoning(effort="max", budget_tokens=-1),
        ),
    ],
)
def test_how_much_to_think(members: dict[str, Any], reasoning: Reasoning | None) -> None:
    conversation = conversation_of(**members)
    assert (conversation.reasoning, conversation.left_out) == (reasoning, ())


def test_thinking_of_tomorrow_is_left_out() -> None:
    conversation = conversation_of(thinking={"type": "deep"}, output_config={"effort": "ultra"})
    assert (conversation.reasoning, conversation.left_out) == (None, ("output_config.effort: ultra", "thinking: deep"))
    conversation = conversation_of(thinking={"type": "deep"}, output_config={"effort": "low"})
    assert conversation.reasoning == Reasoning(effort="low")


@pytest.mark.parametrize(
    "members",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
        {
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "output_format": {"type": "json_schema", "schema": {}},
        },
    ],
)
def test_what_the_answer_has_to_be(members: dict[str, Any]) -> None:
    assert conversation_of(**members).format == Format(schema='{"type":"object"}')


def test_members_that_nobody_knows_are_told() -> None:
    members: dict[str, Any] = {
        "context_management": {"edits": [1]},
        "container": None,
        "mcp_servers": [],
        "speed": "fast",
        "model_hint": 0,
    }
    assert conversation_of(**members).left_out == ("context_management", "speed", "model_hint")


def test_nulls_say_nothing() -> None:
    names = ["system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences", "temperature"]
    assert conversation_of(**dict.fromkeys(names), metadata_of_tomorrow=None) == conversation_of()
    assert conversation_of(metadata={"user_id": None}).user == ""


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "ftp"}}]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}],
                    }
                ]
            },
            "messages[0].content[0].content[0].text",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t",
                                "content": [{"type": "tool_result", "tool_use_id": "u"}],
                            }
                        ],
                    }
                ]
            },
            "messages[0].content[0].content",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": [1]}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [TOOL, {"name": "g"}]}, "tools[1].input_schema"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
        ({"thinking": {}}, "thinking.type"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
        ({"output_format": {"type": "json_schema", "schema": True}}, "output_format.schema"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": [5]}, "stop_sequences[0]"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_bad_input_is_refused_with_its_place(members: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        conversation_of(**members)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert f"'{param}'" in caught.value.message
