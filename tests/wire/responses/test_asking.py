import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import Conversation, Format, Message, Reasoning, Sampling, Text, ToolChoice
from keyrelay.core.errors import CallerError
from tests.wire.responses.asked import CALLER, asked, understood
from tests.wire.responses.written import conversations, written

SCHEMA = '{"type": "object"}'


def test_a_string_is_one_message_of_the_users() -> None:
    assert understood(input="Hi").messages == (Message(role="user", parts=(Text("Hi"),)),)


def test_an_empty_string_says_nothing() -> None:
    assert understood(input="").messages == ()


def test_instructions_come_first() -> None:
    messages = understood(instructions="Be brief.", input=[{"role": "developer", "content": "No emoji."}]).messages
    assert messages == (
        Message(role="system", parts=(Text("Be brief."),)),
        Message(role="system", parts=(Text("No emoji."),)),
    )


def test_settings_are_what_they_are() -> None:
    conversation = understood(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=9,
        stream=True,
        user="u",
        service_tier="flex",
        prompt_cache_key="k",
    )
    assert conversation.sampling == Sampling(temperature=0.5, top_p=0.9)
    assert (conversation.max_output_tokens, conversation.stream) == (9, True)
    assert (conversation.user, conversation.tier, conversation.cache_key) == ("u", "flex", "k")
    assert understood(safety_identifier="s").user == "s"
    assert conversation.left_out == ()


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, Format()),
        (
            {"type": "json_schema", "name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
            Format(schema=SCHEMA, name="n", description="d", strict=True),
        ),
        ({"type": "json_schema", "schema": {"type": "object"}}, Format(schema=SCHEMA)),
    ],
)
def test_formats(said: dict[str, object] | None, wanted: Format | None) -> None:
    assert understood(text={"format": said}).format == wanted


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (None, None),
        ({}, None),
        ({"effort": None}, None),
        ({"effort": "xhigh"}, Reasoning(effort="xhigh")),
        ({"summary": "auto"}, Reasoning(shown=True)),
        ({"effort": "none", "generate_summary": "concise"}, Reasoning(effort="none", shown=True)),
    ],
)
def test_reasoning(said: dict[str, object] | None, wanted: Reasoning | None) -> None:
    assert understood(reasoning=said).reasoning == wanted


def test_a_choice_without_tools_is_none() -> None:
    assert understood(tool_choice="auto", parallel_tool_calls=True).tool_choice is None
    tools = [{"type": "function", "name": "f"}]
    assert understood(tools=tools, parallel_tool_calls=False).tool_choice == ToolChoice(parallel=False)


@pytest.mark.parametrize(
    ("members", "left_out"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["message.output_text.logprobs"]}, "include: message.output_text.logprobs"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ],
)
def test_what_would_have_changed_the_answer_is_named(members: dict[str, object], left_out: str) -> None:
    assert understood(**members).left_out == (left_out,)


@pytest.mark.parametrize(
    "members",
    [
        {"text": {"verbosity": "medium"}},
        {"truncation": "disabled"},
        {"include": ["reasoning.encrypted_content"]},
        {"reasoning": {"mode": "standard"}},
        {"background": False, "conversation": None, "prompt": None, "previous_response_id": None},
        {"metadata": {"a": "b"}, "store": True, "max_tool_calls": 3, "unknown": 1},
    ],
)
def test_what_would_not_is_passed_over(members: dict[str, object]) -> None:
    assert understood(**members).left_out == ()


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"reasoning": 5}, "reasoning"),
        ({"temperature": "hot"}, "temperature"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": {"type": "function"}}, "tools"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": "a"}, 5]}, "input[1]"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(members: dict[str, object], param: str) -> None:
    request = asked(**members)
    with pytest.raises(CallerError) as caught:
        CALLER.conversation(request)
    assert (caught.value.status, caught.value.param) == (400, param)


@given(conversations())
def test_what_a_client_writes_is_what_is_read(conversation: Conversation) -> None:
    request = CALLER.request("chat", written(conversation), max_depth=64)
    assert CALLER.conversation(request) == conversation
    assert CALLER.conversation(request) == conversation  # a second time, too


WORDS = st.sampled_from([
    "type", "role", "content", "text", "id", "call_id", "name", "namespace", "arguments", "input", "output", "summary",
    "encrypted_content", "tools", "function", "image_url", "file_data", "input_audio", "data", "parameters", "format",
    "schema", "strict", "execution", "effort", "mode", "verbosity", "refusal",
])  # fmt: skip
VALUES = st.sampled_from([
    "message", "user", "assistant", "developer", "reasoning", "function_call", "function_call_output", "function",
    "custom", "custom_tool_call", "custom_tool_call_output", "tool_search", "tool_search_call", "tool_search_output",
    "namespace", "additional_tools", "input_text", "input_image", "input_file", "input_audio", "output_text", "refusal",
    "item_reference", "web_search", "allowed_tools", "client", "auto", "kr1.AAAA", "data:image/png;base64,AA", "{}", "",
    None, True, 0, 1.5, -1,
])  # fmt: skip
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6), max_leaves=40
)
MEMBERS = st.sampled_from([
    "tools", "tool_choice", "text", "reasoning", "instructions", "temperature", "top_p", "max_output_tokens",
    "parallel_tool_calls", "include", "user", "service_tier", "prompt_cache_key", "truncation", "stream", "background",
])  # fmt: skip


@given(st.lists(ANYTHING, min_size=1, max_size=4) | ANYTHING, st.dictionaries(MEMBERS, ANYTHING, max_size=3))
def test_whatever_is_sent_is_read_or_refused(said: Any, members: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "input": said, **members}).encode()
    came: Conversation | CallerError
    try:
        came = CALLER.conversation(CALLER.request("chat", body, max_depth=64))
    except CallerError as error:
        came = error
    assert isinstance(came, Conversation) or (came.status == 400 and came.param)
