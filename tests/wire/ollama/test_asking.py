import pytest

from keyrelay.core.conversation import (
    EmbeddingsAsked,
    Format,
    Image,
    Message,
    Reasoning,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.parts import tool_id
from tests.wire.ollama.samples import CHAT, GENERATE, JPEG, PNG, asked

USER = {"role": "user", "content": "Hi"}


def said(text: str, role: str = "user") -> Message:
    return Message(role=role, parts=(Text(text=text),))  # type: ignore[arg-type]  # the tests give roles that there are


def test_a_whole_request_is_read() -> None:
    conversation = CHAT.conversation(
        asked(
            {
                "model": "llama3",
                "stream": False,
                "messages": [
                    {"role": "System", "content": "Be brief."},
                    {"role": "user", "content": "What is this?", "images": [PNG]},
                    {
                        "role": "assistant",
                        "content": "Let me look.",
                        "thinking": "A picture.",
                        "tool_calls": [{"id": "call_1", "function": {"name": "look", "arguments": {"far": True}}}],
                    },
                    {"role": "tool", "content": "A cat", "tool_name": "look", "tool_call_id": "call_1"},
                ],
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
                    }
                ],
                "format": {"type": "object"},
                "think": "high",
                "keep_alive": "5m",
                "logprobs": True,
                "top_logprobs": 3,
                "options": {
                    "temperature": 0.5,
                    "top_p": 1,
                    "top_k": 40.0,
                    "seed": 7,
                    "presence_penalty": 0.1,
                    "frequency_penalty": 0.2,
                    "num_predict": 100,
                    "stop": ["END"],
                    "num_ctx": 4096,
                    "repeat_penalty": 1.1,
                    "num_thread": 4,
                },
            }
        )
    )
    assert conversation.messages == (
        said("Be brief.", "system"),
        Message(role="user", parts=(Image(media_type="image/png", data=PNG), Text(text="What is this?"))),
        Message(
            role="assistant",
            parts=(
                Thinking(text="A picture."),
                Text(text="Let me look."),
                ToolCall(id="call_1", name="look", arguments='{"far": true}'),
            ),
        ),
        Message(role="user", parts=(ToolResult(call_id="call_1", parts=(Text(text="A cat"),), name="look"),)),
    )
    assert conversation.tools == (Tool(name="look", description="Looks.", schema='{"type": "object"}'),)
    assert conversation.format == Format(schema='{"type": "object"}')
    assert conversation.reasoning == Reasoning(effort="high", shown=True)
    assert conversation.sampling == Sampling(
        temperature=0.5,
        top_p=1.0,
        top_k=40,
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=3,
    )
    assert (conversation.max_output_tokens, conversation.stop) == (100, ("END",))
    assert not conversation.stream
    assert conversation.left_out == ("options.num_ctx", "options.repeat_penalty")


def test_calls_without_ids_get_the_same_ones_each_time() -> None:
    called = [{"function": {"name": "f", "arguments": {}}}, {"function": {"name": "g"}}, {"function": {"name": "f"}}]
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": called},
        {"role": "tool", "content": "of g", "tool_name": "g"},
        {"role": "tool", "content": "of the first f"},
        {"role": "tool", "content": "of the second f", "tool_name": "f"},
    ]
    ids = [tool_id(1, place, name) for place, name in enumerate("fgf")]
    request = asked({"model": "m", "messages": messages})
    _, calls, *results = CHAT.conversation(request).messages
    assert calls.parts == tuple(ToolCall(id=ids[place], name=name, arguments="{}") for place, name in enumerate("fgf"))
    assert [result.parts for result in results] == [
        (ToolResult(call_id=ids[1], parts=(Text(text="of g"),), name="g"),),
        (ToolResult(call_id=ids[0], parts=(Text(text="of the first f"),), name="f"),),
        (ToolResult(call_id=ids[2], parts=(Text(text="of the second f"),), name="f"),),
    ]
    assert CHAT.conversation(request) == CHAT.conversation(request)


def test_a_result_may_have_pictures_and_an_id_that_nobody_knows() -> None:
    messages = [USER, {"role": "tool", "tool_call_id": "old", "images": [PNG]}]
    result = ToolResult(call_id="old", parts=(Text(text=""), Image(media_type="image/png", data=PNG)))
    assert CHAT.conversation(asked({"model": "m", "messages": messages})).messages[1].parts == (result,)


@pytest.mark.parametrize(
    ("data", "image"),
    [
        (JPEG, Image(media_type="image/jpeg", data=JPEG)),
        ("UklGRhIA", Image(media_type="image/webp", data="UklGRhIA")),
        ("AAAA", Image(media_type="image/jpeg", data="AAAA")),
        ("data:image/gif;base64,AAAA", Image(media_type="image/gif", data="AAAA")),
    ],
)
def test_the_first_bytes_say_what_a_picture_is(data: str, image: Image) -> None:
    messages = [{"role": "user", "images": [data]}]
    assert CHAT.conversation(asked({"model": "m", "messages": messages})).messages[0].parts == (image,)


def test_a_turn_without_words_is_an_empty_text() -> None:
    messages = [{"role": "user"}, {"role": "assistant", "content": ""}]
    conversation = CHAT.conversation(asked({"model": "m", "messages": messages}))
    assert conversation.messages == (said(""), Message(role="assistant", parts=()))


@pytest.mark.parametrize(
    ("think", "reasoning"),
    [
        (None, None),
        (True, Reasoning(budget_tokens=-1, shown=True)),
        (False, Reasoning(effort="none", shown=False)),
        ("none", Reasoning(effort="none", shown=False)),
        ("max", Reasoning(effort="max", shown=True)),
    ],
)
def test_think_says_how_much_and_whether_it_is_shown(think: object, reasoning: Reasoning | None) -> None:
    assert CHAT.conversation(asked({"model": "m", "messages": [USER], "think": think})).reasoning == reasoning


@pytest.mark.parametrize(
    ("wanted", "format_"), [(None, None), ("", None), ("json", Format()), ({"a": 1}, Format(schema='{"a": 1}'))]
)
def test_a_format_is_json_or_a_schema(wanted: object, format_: Format | None) -> None:
    assert CHAT.conversation(asked({"model": "m", "messages": [USER], "format": wanted})).format == format_


@pytest.mark.parametrize(("bound", "most"), [(-1, None), (-2, None), (0, None), (12.7, 12), (5, 5)])
def test_a_bound_below_one_is_none(bound: float, most: int | None) -> None:
    request = asked({"model": "m", "messages": [USER], "options": {"num_predict": bound, "stop": "END"}})
    conversation = CHAT.conversation(request)
    assert conversation.max_output_tokens == request.max_output_tokens == most
    assert conversation.stop == ("END",)


def test_tools_of_other_types_are_named() -> None:
    tools = [{"type": "web_search"}, {"function": {"name": "f"}}]
    conversation = CHAT.conversation(asked({"model": "m", "messages": [USER], "tools": tools}))
    assert conversation.tools == (Tool(name="f"),)
    assert conversation.left_out == ("tools[0]: web_search",)


def call(arguments: object) -> dict[str, object]:
    return {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"messages": []}, "messages", "missing_field"),
        ({"messages": None}, "messages", "missing_field"),
        ({"messages": "Hi"}, "messages", "invalid_type"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role", "missing_field"),
        ({"messages": [USER, {"role": "user", "content": 1}]}, "messages[1].content", "invalid_type"),
        ({"messages": [{"role": "poet"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "images": [""]}]}, "messages[0].images[0]", "invalid_value"),
        ({"messages": [{"role": "user", "images": [1]}]}, "messages[0].images[0]", "invalid_type"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1]", "invalid_value"),
        ({"messages": [{**call({}), "role": "user"}]}, "messages[0].tool_calls", "invalid_value"),
        ({"messages": [call([])]}, "messages[0].tool_calls[0].function.arguments", "invalid_type"),
        ({"messages": [call("x")]}, "messages[0].tool_calls[0].function.arguments", "invalid_type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_field"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name", "missing_field"),
        ({"format": "xml"}, "format", "invalid_value"),
        ({"think": "hard"}, "think", "invalid_value"),
        ({"think": 3}, "think", "invalid_type"),
        ({"options": {"temperature": "hot"}}, "options.temperature", "invalid_type"),
        ({"options": {"seed": 1e300}}, "options.seed", "invalid_value"),
    ],
)
def test_what_is_wrong_is_pointed_to(members: dict[str, object], param: str, code: str) -> None:
    request = asked({"model": "m", "messages": [USER], **members})
    with pytest.raises(CallerError) as raised:
        CHAT.conversation(request)
    error = raised.value
    assert (error.status, error.param, error.code) == (400, param, code)
    assert f"'{param}'" in error.message


def test_a_prompt_is_a_message() -> None:
    body = {
        "model": "m",
        "prompt": "Why?",
        "system": "Be brief.",
        "images": [PNG],
        "template": "{{ .Prompt }}",
        "raw": True,
        "context": [],
        "suffix": "",
        "think": True,
        "options": {"num_ctx": 1},
    }
    conversation = GENERATE.conversation(asked(body, caller=GENERATE))
    assert conversation.messages == (
        said("Be brief.", "system"),
        Message(role="user", parts=(Image(media_type="image/png", data=PNG), Text(text="Why?"))),
    )
    assert conversation.reasoning == Reasoning(budget_tokens=-1, shown=True)
    assert conversation.left_out == ("template", "raw", "options.num_ctx")
    assert conversation.stream


def test_a_prompt_may_be_a_picture_alone() -> None:
    conversation = GENERATE.conversation(asked({"model": "m", "images": [PNG]}, caller=GENERATE))
    assert conversation.messages == (Message(role="user", parts=(Image(media_type="image/png", data=PNG),)),)
    assert not conversation.left_out


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"prompt": "def f():", "suffix": "return 1"}, "suffix", "unsupported_value"),
        ({"prompt": "Why?", "context": [1, 2]}, "context", "unsupported_value"),
        ({"prompt": ""}, "prompt", "missing_field"),
        ({"prompt": 1}, "prompt", "invalid_type"),
    ],
)
def test_a_prompt_that_would_become_another_is_refused(members: dict[str, object], param: str, code: str) -> None:
    with pytest.raises(CallerError) as raised:
        GENERATE.conversation(asked({"model": "m", **members}, caller=GENERATE))
    assert (raised.value.status, raised.value.param, raised.value.code) == (400, param, code)


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"input": "a"}, EmbeddingsAsked(inputs=("a",))),
        ({"input": ["a", "b"]}, EmbeddingsAsked(inputs=("a", "b"))),
        (
            {"input": ["a"], "truncate": False, "dimensions": 64},
            EmbeddingsAsked(inputs=("a",), truncate=False, dimensions=64),
        ),
        ({"prompt": "a"}, EmbeddingsAsked(inputs=("a",), single=True)),
        ({"input": "a", "prompt": "b"}, EmbeddingsAsked(inputs=("a",))),
    ],
)
def test_embeddings_are_asked_for_in_two_ways(members: dict[str, object], wanted: EmbeddingsAsked) -> None:
    assert CHAT.embeddings_asked(asked({"model": "m", **members}, operation="embeddings")) == wanted


@pytest.mark.parametrize(("members", "param"), [({}, "input"), ({"input": []}, "input"), ({"input": [1]}, "input[0]")])
def test_embeddings_of_nothing_are_refused(members: dict[str, object], param: str) -> None:
    with pytest.raises(CallerError) as raised:
        CHAT.embeddings_asked(asked({"model": "m", **members}, operation="embeddings"))
    assert (raised.value.status, raised.value.param) == (400, param)
