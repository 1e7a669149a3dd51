import json

import msgspec
import pytest

from keyrelay.core.conversation import (
    Embeddings,
    EmbeddingsAsked,
    Image,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import CallerCodec, EmbeddingFacts
from keyrelay.wire.responses.caller import ResponsesCaller, is_responses_shaped
from keyrelay.wire.responses.shapes import RESOLVED
from tests.wire.responses.asked import CALLER, asked, events_in, fixture


def test_it_is_a_codec_of_callers() -> None:
    codec: CallerCodec = ResponsesCaller()
    assert codec.dialect == "responses"
    assert repr(codec) == "<ResponsesCaller>"


def test_a_request_is_read_as_far_as_routing_needs() -> None:
    request = asked(stream=True, max_output_tokens=50, tools=[{"type": "function", "name": "f"}])
    assert (request.model, request.stream, request.wants_usage, request.max_output_tokens) == ("m", True, True, 50)
    assert request.needs == ("chat", "tools")
    assert request.dialect == "responses"


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        ({}, ("chat",)),
        ({"tools": []}, ("chat",)),
        ({"text": {"format": {"type": "text"}}}, ("chat",)),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}}, ("chat", "json_schema")),
        ({"input": [{"type": "additional_tools", "tools": []}]}, ("chat", "tools")),
    ],
)
def test_what_a_model_must_be_able_to_do(members: dict[str, object], needs: tuple[str, ...]) -> None:
    assert asked(**members).needs == needs


def test_model_and_stream_of_the_path_come_first() -> None:
    request = CALLER.request("chat", b'{"input":"Hi","stream":true}', max_depth=9, model="given", stream=False)
    assert (request.model, request.stream) == ("given", False)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": "m"}, "input", "missing_field"),
        ({"model": "m", "input": None}, "input", "missing_field"),
        ({"model": "m", "input": 5}, "input", "invalid_type"),
        ({"model": "m", "input": {}}, "input", "invalid_type"),
        ({"model": "m", "input": []}, "input", "invalid_value"),
        ({"input": "Hi"}, "model", "missing_field"),
        ({"model": "", "input": "Hi"}, "model", "invalid_value"),
        ({"model": "a\nb", "input": "Hi"}, "model", "invalid_value"),
        ({"model": 5, "input": "Hi"}, "model", "invalid_type"),
        ({"model": "m", "input": "Hi", "stream": "yes"}, "stream", "invalid_type"),
        ({"model": "m", "input": "Hi", "max_output_tokens": -1}, "max_output_tokens", "invalid_value"),
        ({"model": "m", "input": "Hi", "text": {"format": 5}}, "text.format", "invalid_type"),
    ],
)
def test_a_bad_request_is_refused_with_its_field(body: dict[str, object], param: str, code: str) -> None:
    with pytest.raises(CallerError) as caught:
        CALLER.request("chat", json.dumps(body).encode(), max_depth=64)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_a_request_that_goes_on_may_bring_nothing_new() -> None:
    assert CALLER.request("chat", b'{"model":"m","previous_response_id":"resp_1"}', max_depth=9).model == "m"
    request = asked(**{RESOLVED: "resp_1"})
    assert CALLER.conversation(request).messages[0].parts == (Text("Hi"),)


def test_the_traffic_of_codex_is_understood() -> None:
    request = fixture("codex_first")
    conversation = CALLER.conversation(request)
    assert [message.role for message in conversation.messages] == ["system", "system", "user", "user"]
    assert conversation.messages[3].parts[1] == Image(media_type="image/png", data="iVBORw0KGgo=", detail="high")
    assert [(tool.name, tool.custom) for tool in conversation.tools] == [
        ("shell_command", False),
        ("apply_patch", True),
        ("mcp__node_repl__js", False),
        ("tool_search", False),
        ("functions__exec", True),
    ]
    assert json.loads(conversation.tools[1].grammar)["syntax"] == "lark"
    assert conversation.reasoning == Reasoning(effort="high", shown=True)
    assert conversation.cache_key == "0199f3a0-7c3e-7000-8000-000000000001"
    assert conversation.left_out == ("tools[4]: web_search",)


def test_the_history_of_codex_is_two_turns_between_the_users() -> None:
    conversation = CALLER.conversation(fixture("codex_second"))
    roles = [message.role for message in conversation.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert conversation.messages[2].parts == (
        Thinking(text="Look first.", signature="signed", signed_by="anthropic"),
        Text("I look at the files."),
        ToolCall(id="call_1", name="shell_command", arguments='{"command":"ls"}'),
        ToolCall(id="call_2", name="mcp__node_repl__js", arguments='{"code":"1+1"}'),
        ToolCall(id="call_3", name="functions__exec", arguments="text('hi')", custom=True),
        ToolCall(id="call_4", name="tool_search", arguments='{"query": "calendar"}'),
    )
    assert conversation.messages[3].parts == (
        ToolResult(call_id="call_1", parts=(Text("a.py\nb.py"),)),
        ToolResult(call_id="call_2", parts=(Text("2"), Image(url="https://example.com/2.png"))),
        ToolResult(call_id="call_3", parts=(Text("hi"),), custom=True),
        ToolResult(call_id="call_4", parts=(Text("Tools found: mcp__calendar__create"),), name="tool_search"),
    )
    assert conversation.tools[-1].name == "mcp__calendar__create"
    assert conversation.left_out == ("input[11]: web_search_call",)


def test_what_cursor_sends_to_chat_is_known_and_read() -> None:
    request = fixture("cursor_chat")
    assert is_responses_shaped(request.fields)
    conversation = CALLER.conversation(request)
    assert [message.role for message in conversation.messages] == ["system", "user"]
    assert conversation.tools == (
        Tool(
            name="edit_file",
            description="Edits a file.",
            schema='{"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}',
        ),
    )


@pytest.mark.parametrize(
    ("body", "shaped"),
    [
        (b'{"input":"Hi"}', True),
        (b'{"input":[{}],"messages":null}', True),
        (b'{"messages":[{}]}', False),
        (b'{"messages":[{}],"input":"Hi"}', False),
        (b'{"input":null}', False),
        (b"{}", False),
    ],
)
def test_a_chat_body_is_none(body: bytes, shaped: bool) -> None:
    assert is_responses_shaped(msgspec.json.decode(body, type=dict[str, msgspec.Raw])) is shaped


def test_there_are_no_embeddings() -> None:
    with pytest.raises(CallerError, match="no embeddings"):
        CALLER.embeddings_asked(asked())
    facts = EmbeddingFacts(model="m", input_tokens=1, asked=EmbeddingsAsked())
    with pytest.raises(CallerError, match="no embeddings"):
        CALLER.embeddings(Embeddings(vectors=()), facts)


def test_errors_have_the_shape_of_openai() -> None:
    error = CallerError(404, "No such model.", code="model_not_found", param="model")
    status, body = CALLER.error(error, "req_1")
    assert status == 404
    assert json.loads(body)["error"] == {
        "message": "No such model.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_an_error_in_a_stream_of_which_nothing_is_known_fails_it() -> None:
    (event,) = events_in(CALLER.error_event(CallerError(502, "Broken."), "req_00ff"))
    assert event["type"] == "response.failed"
    assert event["response"]["id"] == "resp_00ff"
    assert event["response"]["error"] == {"code": "server_error", "message": "Broken."}
