from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Conversation,
    Format,
    Message,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)
from keyrelay.wire.dialects import UntranslatableError, Written
from keyrelay.wire.sse import EventSplitter
from tests.wire.chat.samples import PROVIDER, asked, target, written

HELLO = (Message(role="user", parts=(Text(text="Hello"),)),)
GREETING = [{"role": "user", "content": "Hello"}]
F, G, SH = Tool(name="f"), Tool(name="g"), Tool(name="sh", custom=True, grammar='{"type":"text"}')


def hello(**members: Any) -> Conversation:
    return Conversation(messages=HELLO, **members)


def test_all_that_a_conversation_may_wish() -> None:
    conversation = hello(
        format=Format(schema='{"type":"object"}', name="n", description="d", strict=True),
        reasoning=Reasoning(effort="low"),
        sampling=Sampling(
            temperature=0.5, top_p=0.25, top_k=4, seed=7, presence_penalty=0.5, frequency_penalty=1.0, logprobs=False
        ),
        max_output_tokens=99,
        stop=("a",),
        stream=True,
        user="ann",
        tier="flex",
        cache_key="k",
    )
    out = PROVIDER.request(conversation, target())
    assert msgspec.json.decode(out.body) == {
        "model": "some-model",
        "messages": GREETING,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
        },
        "reasoning_effort": "low",
        "temperature": 0.5,
        "top_p": 0.25,
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 1.0,
        "max_tokens": 99,
        "stop": ["a"],
        "user": "ann",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert (out.headers, out.left_out) == ((), ("top_k",))
    assert written(conversation, target("openrouter"))["top_k"] == 4


@pytest.mark.parametrize(
    ("members", "shape", "left_out"),
    [
        ({}, {}, ()),
        ({"format": Format()}, {"response_format": {"type": "json_object"}}, ()),
        (
            {"format": Format(schema="{}")},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}}},
            (),
        ),
        ({"reasoning": Reasoning(budget_tokens=5000)}, {"reasoning_effort": "medium"}, ("reasoning.budget_tokens",)),
        ({"reasoning": Reasoning(shown=True)}, {}, ()),
        ({"sampling": Sampling(logprobs=True, top_logprobs=2)}, {}, ("logprobs",)),
        ({"tier": "standard_only"}, {}, ("tier",)),
        ({"tool_choice": ToolChoice(mode="required")}, {}, ()),
    ],
)
def test_a_wish(members: dict[str, Any], shape: dict[str, Any], left_out: tuple[str, ...]) -> None:
    out = PROVIDER.request(hello(**members), target())
    assert msgspec.json.decode(out.body) == {"model": "some-model", "messages": GREETING, **shape}
    assert out.left_out == left_out


def test_only_one_answer_is_translated() -> None:
    with pytest.raises(UntranslatableError) as caught:
        PROVIDER.request(hello(answers=2), target())
    assert caught.value.field == "answers"


def test_tools_as_openai_takes_them() -> None:
    tools = (Tool(name="f", description="d", schema='{"a":1}', strict=False, cache="5m"), SH)
    out = PROVIDER.request(hello(tools=tools), target("openai"))
    assert msgspec.json.decode(out.body)["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": 1}, "strict": False}},
        {"type": "custom", "custom": {"name": "sh", "format": {"type": "text"}}},
    ]
    assert out.left_out == ("cache",)
    assert written(hello(tools=(Tool(name="sh", custom=True),)), target("openai"))["tools"] == [
        {"type": "custom", "custom": {"name": "sh"}}
    ]


def test_custom_tools_are_lowered_elsewhere() -> None:
    out = PROVIDER.request(hello(tools=(SH,)), target())
    (tool,) = msgspec.json.decode(out.body)["tools"]
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    assert tool == {"type": "function", "function": {"name": "sh", "parameters": schema}}
    assert out.left_out == ("tools.grammar",)


def test_cache_marks_of_tools_go_to_openrouter() -> None:
    tools = (Tool(name="f", cache="5m"), Tool(name="g", cache="1h"))
    shapes = written(hello(tools=tools), target("openrouter"))["tools"]
    assert [shape["cache_control"] for shape in shapes] == [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}]


def named(name: str, kind: str = "function") -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


def allowed(mode: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


@pytest.mark.parametrize(
    ("choice", "at_openai", "elsewhere", "sent"),
    [
        (ToolChoice(), "auto", "auto", ["f", "g", "sh"]),
        (ToolChoice(mode="none"), "none", "none", ["f", "g", "sh"]),
        (ToolChoice(mode="required"), "required", "required", ["f", "g", "sh"]),
        (ToolChoice(mode="required", names=("f",)), named("f"), named("f"), ["f", "g", "sh"]),
        (ToolChoice(mode="required", names=("sh",)), named("sh", "custom"), named("sh"), ["f", "g", "sh"]),
        (
            ToolChoice(mode="auto", names=("f", "sh")),
            allowed("auto", named("f"), named("sh", "custom")),
            "auto",
            ["f", "sh"],
        ),
        (
            ToolChoice(mode="required", names=("f", "g")),
            allowed("required", named("f"), named("g")),
            "required",
            ["f", "g"],
        ),
        (ToolChoice(mode="auto", names=("g",)), allowed("auto", named("g")), "auto", ["g"]),
        (ToolChoice(mode="none", names=("g",)), "none", "none", ["g"]),
    ],
)
def test_a_choice_of_tools(choice: ToolChoice, at_openai: object, elsewhere: object, sent: list[str]) -> None:
    conversation = hello(tools=(F, G, SH), tool_choice=choice)
    assert written(conversation, target("openai"))["tool_choice"] == at_openai
    body = written(conversation)
    assert body["tool_choice"] == elsewhere
    assert [tool["function"]["name"] for tool in body["tools"]] == sent


def test_whether_several_tools_may_be_called_at_once() -> None:
    body = written(hello(tools=(F,), tool_choice=ToolChoice(parallel=False)))
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", False)


def test_quirks_rename_default_prefix_and_strip() -> None:
    conversation = hello(max_output_tokens=5, tools=(Tool(name="f", schema='{"$id":"a","type":"object"}'),))
    out = PROVIDER.request(
        conversation,
        target(
            rename={"max_tokens": "max_completion_tokens"},
            defaults={"temperature": 0.3},
            strip_tool_schema=("$id",),
            model_prefix="models/",
        ),
    )
    body = msgspec.json.decode(out.body)
    assert (body["model"], body["max_completion_tokens"], body["temperature"]) == ("models/some-model", 5, 0.3)
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert out.left_out == ()
    assert written(hello(), target(model="models/a", model_prefix="models/"))["model"] == "models/a"


def test_what_quirks_take_away_is_named() -> None:
    conversation = hello(
        sampling=Sampling(seed=1), max_output_tokens=3, reasoning=Reasoning(effort="max"), stream=True, user="ann"
    )
    out = PROVIDER.request(
        conversation,
        target(drop=("seed", "max_tokens", "stream_options", "user"), clamp={"reasoning_effort": ("low", "high")}),
    )
    assert msgspec.json.decode(out.body) == {"model": "some-model", "messages": GREETING, "stream": True}
    assert out.left_out == ("reasoning", "seed", "max_output_tokens", "user")


@pytest.mark.parametrize(
    ("members", "drop", "field"),
    [
        ({"tools": (F,)}, "tools", "tools"),
        ({"format": Format(schema="{}")}, "response_format", "format"),
    ],
)
def test_quirks_do_not_take_content_away(members: dict[str, Any], drop: str, field: str) -> None:
    with pytest.raises(UntranslatableError) as caught:
        PROVIDER.request(hello(**members), target("perplexity", drop=(drop,)))
    assert (caught.value.field, caught.value.reason) == (field, "perplexity does not take it")


def test_bytes_pass_where_nothing_has_to_change() -> None:
    request = asked("chat", odd={"a": [1, None]})
    assert PROVIDER.passed(request, target(model="fast")) == Written(body=request.body)
    request = asked("embeddings", input="a")
    assert PROVIDER.passed(request, target(model="fast", drop=("user",))) == Written(body=request.body)
    request = asked(stream=True, stream_options={"include_usage": True})
    assert PROVIDER.passed(request, target(model="fast")) == Written(body=request.body)


def passed(request: Any, **quirks: Any) -> dict[str, Any]:
    return msgspec.json.decode(PROVIDER.passed(request, target(**quirks)).body, type=dict[str, Any])


def test_the_model_the_usage_and_the_quirks_change_what_passes() -> None:
    plain = {"model": "some-model", "messages": GREETING}
    assert passed(asked()) == plain
    assert passed(asked(seed=1, max_tokens=2), drop=("seed",), rename={"max_tokens": "n_out"}) == {**plain, "n_out": 2}
    usage = {"include_usage": True}
    assert passed(asked(stream=True)) == {**plain, "stream": True, "stream_options": usage}
    assert passed(asked(stream=True), drop=("stream_options",)) == {**plain, "stream": True}
    asks = asked(stream=True, stream_options={"include_usage": False, "include_obfuscation": False})
    assert passed(asks)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert passed(asked(stream=True, stream_options=None))["stream_options"] == usage
    assert passed(asked("completions", prompt="a", stream=True))["stream_options"] == usage


def test_streams_are_server_sent_events() -> None:
    splitter = PROVIDER.splitter(100)
    assert isinstance(splitter, EventSplitter)
    assert splitter.feed(b"data: a\n\nda") == [b"data: a\n\n"]
