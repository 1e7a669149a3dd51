"""Claude Code's traffic as it is on the wire, written down by hand: `fixtures/` holds requests and streams."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Finished,
    Format,
    Image,
    Reasoning,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
    ToolChoice,
    ToolResult,
    Unheld,
)
from keyrelay.core.requests import CallRequest
from keyrelay.wire.anthropic.caller import FORWARDED_HEADERS, count_tokens_request
from keyrelay.wire.dialects import StreamEnded, StreamFailure, Target, UntranslatableError
from tests.wire.anthropic.examples import CALLER, PROVIDER, TARGET, events_of, facts_of, read_all

FIXTURES = Path(__file__).parent / "fixtures"
MESSAGES = ("first_turn", "tool_turn", "title", "quota_probe", "web_search")
STREAMS = ("tool_turn", "server_tools", "overloaded")


def recorded(name: str) -> dict[str, Any]:
    request: dict[str, Any] = msgspec.json.decode((FIXTURES / f"{name}.json").read_bytes())
    return request


def sent(name: str) -> CallRequest:
    return CALLER.request("chat", msgspec.json.encode(recorded(name)["body"]), max_depth=100)


def conversation(name: str) -> Conversation:
    return CALLER.conversation(sent(name))


def stream(name: str) -> bytes:
    return (FIXTURES / f"{name}.sse").read_bytes()


@pytest.mark.parametrize("name", [*MESSAGES, "count_tokens"])
def test_every_request_goes_to_the_root_with_headers_that_go_on(name: str) -> None:
    request = recorded(name)
    assert request["path"].startswith("/v1/messages")
    assert set(FORWARDED_HEADERS) <= set(request["headers"])
    assert request["headers"]["authorization"].startswith("Bearer sk-keyrelay-test-")


@pytest.mark.parametrize("name", MESSAGES)
def test_to_anthropic_it_passes_byte_for_byte_but_for_the_model(name: str) -> None:
    request = sent(name)
    assert PROVIDER.passed(request, Target(provider_id="anthropic", model=request.model)).body is request.body
    passed = PROVIDER.passed(request, TARGET).body
    model = f'"model":"{request.model}"'.encode()
    assert passed == request.body.replace(model, f'"model":"{TARGET.model}"'.encode(), 1)


def test_the_first_turn() -> None:
    request, found = sent("first_turn"), conversation("first_turn")
    assert (request.stream, request.needs, request.max_output_tokens) == (True, ("chat", "tools"), 32_000)
    assert [part.cache for part in found.messages[0].parts if isinstance(part, Text)] == ["", "1h", "5m"]
    assert [tool.name for tool in found.tools] == ["Bash", "Read", "mcp__tracker__find_issues", "Edit"]
    assert [tool.cache for tool in found.tools] == ["", "", "", "5m"]
    assert found.reasoning == Reasoning(effort="medium", budget_tokens=-1)
    assert found.left_out == ("context_management",)
    assert found.user.startswith('{"device_id"')


def test_a_turn_with_results() -> None:
    found = conversation("tool_turn")
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "user", "system"]
    thought, hidden, said, read, run = found.messages[2].parts
    assert isinstance(thought, Thinking)
    assert (thought.signature, thought.signed_by) == ("RmFrZVNpZ25hdHVyZQ==", "anthropic")
    assert hidden == Thinking(redacted="RmFrZVJlZGFjdGVk", signed_by="anthropic")
    assert said == Text("I'll look at both.")
    assert isinstance(read, ToolCall)
    assert isinstance(run, ToolCall)
    assert (read.id, read.arguments) == ("toolu_01TestRead", '{"file_path":"/home/test/project/tests/test_sum.py"}')
    assert found.messages[3].parts == (
        ToolResult(
            call_id="toolu_01TestRead", parts=(Text("     1\tdef test_sum():\n     2\t    assert 1 + 1 == 2\n"),)
        ),
        ToolResult(
            call_id="toolu_01TestBash",
            parts=(Text("pytest: command not found"), Image(media_type="image/png", data="iVBORw0KGgo=")),
            failed=True,
            cache="5m",
        ),
    )


def test_a_title_is_json_without_thinking() -> None:
    found = conversation("title")
    assert sent("title").needs == ("chat", "json_schema")
    assert found.reasoning == Reasoning(budget_tokens=0)
    assert isinstance(found.format, Format)
    assert msgspec.json.decode(found.format.schema)["required"] == ["title"]
    assert (found.tools, found.left_out) == ((), ())


def test_a_search_is_told_to_be_anthropics_and_not_made_up_by_others() -> None:
    found = conversation("web_search")
    assert found.left_out == ("tools[0]: web_search_20250305",)
    assert found.tool_choice == ToolChoice(mode="required", names=("web_search",))
    with pytest.raises(UntranslatableError, match="web_search"):
        PROVIDER.request(found, TARGET)


@pytest.mark.parametrize("name", ["first_turn", "tool_turn", "title", "quota_probe"])
def test_what_is_read_can_be_said_again(name: str) -> None:
    found = conversation(name)
    written = PROVIDER.request(found, TARGET)
    again = CALLER.conversation(CALLER.request("chat", written.body, max_depth=100))
    assert written.left_out == ()
    assert (again.tools, again.reasoning, again.format) == (found.tools, found.reasoning, found.format)
    assert [part for message in again.messages for part in message.parts if message.role != "system"] == [
        part for message in found.messages for part in message.parts if message.role != "system"
    ]


def test_counting_tokens() -> None:
    request = count_tokens_request(msgspec.json.encode(recorded("count_tokens")["body"]), max_depth=100)
    assert (request.model, request.needs) == ("claude-sonnet-5-5", ("chat", "tools"))
    assert CALLER.conversation(request).messages[0].parts == (Text("foo"),)


TOKENS = Tokens(input=15_352, output=8, cached=15_000, cache_written=340)
BEGUN = Begun(id="msg_01Test", model="claude-sonnet-5-5", tokens=TOKENS)
SAID: dict[str, list[Any]] = {
    "tool_turn": [
        BEGUN,
        ThinkingPiece("Look at the file"),
        ThinkingPiece(", then run pytest.\u2028"),
        ThinkingPiece(signature="RmFrZVNpZ25hdHVyZQ==", signed_by="anthropic"),
        ThinkingPiece(redacted="RmFrZVJlZGFjdGVk", signed_by="anthropic"),
        TextPiece("I'll look\r\n"),
        TextPiece("at both \u2013 \u2028 now\u2029."),
        CallBegun("toolu_01TestRead", "Read"),
        CallPiece('{"file_path": "/home/test'),
        CallPiece('/project/tests/test_sum.py"}'),
        CallBegun("toolu_01TestBash", "Bash"),
        CallPiece('{"command": "pytest --collect-only -q"}'),
        Finished("tool_calls"),
        Counted(tokens=Tokens(input=15_352, output=187, cached=15_000, cache_written=340, reasoning=40)),
        StreamEnded(),
    ],
    "server_tools": [
        BEGUN,
        Unheld("server_tool_use"),
        Unheld("web_search_tool_result"),
        Unheld("citations"),
        TextPiece("It is a test runner."),
        Finished("stop"),
        Counted(tokens=Tokens(input=15_352, output=30, cached=15_000, cache_written=340)),
        StreamEnded(),
    ],
    "overloaded": [
        BEGUN,
        TextPiece("I'll"),
        StreamFailure(
            problem="the stream holds an error",
            error=b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011Test"}',
        ),
    ],
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_says_the_same_wherever_it_is_cut(name: str, line_end: bytes) -> None:
    whole = stream(name).replace(b"\n", line_end)
    assert read_all(whole) == SAID[name]
    for offset in range(1, len(whole)):
        assert read_all(whole, offset) == SAID[name]
    assert read_all(whole, *range(1, len(whole))) == SAID[name]


def test_what_is_written_for_it_is_in_the_order_that_it_insists_on() -> None:
    writer = CALLER.writer(facts_of(id="01Test", model="claude-sonnet-5-5"))
    events = [event for event in SAID["tool_turn"] if not isinstance(event, StreamEnded)]
    written = b"".join(map(writer.write, events)) + writer.end()
    assert read_all(written) == [*events, StreamEnded()]
    said = events_of(written)
    expected = ["message_start", *["start", "stop"] * 5, "message_delta", "message_stop"]
    assert [
        event["type"].removeprefix("content_block_") for event in said if "delta" not in event or "usage" in event
    ] == expected
    assert [event["index"] for event in said if event["type"] == "content_block_start"] == [0, 1, 2, 3, 4]
    usage = said[0]["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (12, 15_000)
    assert said[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
