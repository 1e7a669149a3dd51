from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Tokens,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.wire.chat.events import _Chunks
from tests.wire.chat.samples import CALLER, ID, asked, facts

BEGUN = Begun(id="msg_1", model="claude", tokens=Tokens(input=3))
STOP = Finished(finish="stop")
CALLED = Finished(finish="tool_calls")
ROLE = {"role": "assistant", "content": ""}


def streamed(events: list[Event], request: CallRequest | None = None, **members: Any) -> list[Any]:
    """The data of each event that a caller sees, `[DONE]` as it is."""
    writer = CALLER.writer(facts(request or asked(stream=True, **members)))
    text = b"".join(map(writer.write, events)) + writer.end()
    assert text.endswith(b"\n\n")
    data = [event.removeprefix(b"data: ") for event in text[:-2].split(b"\n\n")]
    return [item if item == b"[DONE]" else msgspec.json.decode(item) for item in data]


def deltas(events: list[Event], **members: Any) -> list[Any]:
    """The deltas between the role and the end."""
    chunks = streamed([BEGUN, *events, STOP], **members)
    found = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert (found[0], found[-1]) == (ROLE, {})
    return found[1:-1]


def test_a_stream_has_one_id_a_role_first_a_finish_and_done() -> None:
    frame = {"id": "chatcmpl-" + ID, "object": "chat.completion.chunk", "created": 1_780_000_000, "model": "some-model"}
    choice = {"index": 0, "logprobs": None, "finish_reason": None}
    assert streamed([BEGUN, TextPiece(text='"Hi"\u2028'), STOP, Counted(tokens=Tokens(input=1, output=2))]) == [
        {**frame, "choices": [{**choice, "delta": ROLE}]},
        {**frame, "choices": [{**choice, "delta": {"content": '"Hi"\u2028'}}]},
        {**frame, "choices": [{**choice, "delta": {}, "finish_reason": "stop"}]},
        b"[DONE]",
    ]


def test_usage_is_a_chunk_without_choices_and_only_where_it_was_asked_for() -> None:
    events: list[Event] = [
        BEGUN,
        TextPiece(text="Hi"),
        Counted(tokens=Tokens(input=1, output=1)),
        STOP,
        Counted(tokens=Tokens(input=5, output=7, cached=2, reasoning=3)),
    ]
    chunks = streamed(events, stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None, None, None]
    assert (chunks[-2]["choices"], chunks[-2]["id"], chunks[-1]) == ([], "chatcmpl-" + ID, b"[DONE]")
    usage = chunks[-2]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 7, 12)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3


def test_usage_that_was_not_reported_is_estimated_from_what_was_written() -> None:
    events: list[Event] = [
        BEGUN,
        ThinkingPiece(text="1234"),
        TextPiece(text="5678"),
        RefusalPiece(text="90"),
        CallBegun(id="a", name="f"),
        CallPiece(arguments="{}"),
        CALLED,
    ]
    usage = streamed(events, stream_options={"include_usage": True})[-2]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 4)


def test_calls_have_an_index_and_say_id_and_name_once() -> None:
    events: list[Event] = [
        CallBegun(id="a", name="f", signature="c2ln", signed_by="gemini"),
        CallPiece(arguments='{"x"'),
        CallPiece(arguments=""),
        CallPiece(arguments=":1}"),
        CallBegun(id="b", name="sh", custom=True),
        CallPiece(arguments="ls"),
    ]
    begun = {
        "index": 0,
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert deltas(events) == [
        {"tool_calls": [begun]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "custom", "custom": {"name": "sh", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "ls"}}]},
    ]


def test_a_lowered_custom_tool_is_custom_again() -> None:
    events: list[Event] = [
        TextPiece(text="a"),
        CallBegun(id="b", name="sh"),
        CallPiece(arguments='{"input":'),
        CallPiece(arguments='"ls"}'),
    ]
    assert deltas(events, tools=[{"type": "custom", "custom": {"name": "sh"}}]) == [
        {"content": "a"},
        {"tool_calls": [{"index": 0, "id": "b", "type": "custom", "custom": {"name": "sh", "input": ""}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "ls"}}]},
    ]


def test_a_caller_of_functions_gets_one_function_call() -> None:
    events: list[Event] = [
        BEGUN,
        CallBegun(id="a", name="f"),
        CallPiece(arguments="{}"),
        CallBegun(id="b", name="g"),
        CallPiece(arguments="{1}"),
        CALLED,
    ]
    chunks = streamed(events, functions=[{"name": "f"}])
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:-2]] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "function_call"


def test_what_is_signed_is_said_as_a_whole_with_its_signature() -> None:
    events: list[Event] = [
        ThinkingPiece(text="a"),
        TextPiece(text="-"),
        ThinkingPiece(text="H"),
        ThinkingPiece(text="m."),
        ThinkingPiece(signature="s", signed_by="anthropic"),
        ThinkingPiece(redacted="x", signed_by="anthropic"),
        ThinkingPiece(),
        TextPiece(text=""),
        RefusalPiece(text="No"),
        RefusalPiece(text=""),
    ]
    signed = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    redacted = {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1", "index": 1}
    assert deltas(events) == [
        {"reasoning_content": "a"},
        {"content": "-"},
        {"reasoning_content": "H"},
        {"reasoning_content": "m."},
        {"reasoning_details": [signed]},
        {"reasoning_details": [redacted]},
        {"refusal": "No"},
    ]


def test_thoughts_are_hidden_from_a_caller_who_does_not_want_them() -> None:
    assert deltas([ThinkingPiece(text="a"), TextPiece(text="b")], reasoning={"exclude": True}) == [{"content": "b"}]


def test_a_completed_prompt_streams_words_alone() -> None:
    events: list[Event] = [
        BEGUN,
        ThinkingPiece(text="Hm."),
        TextPiece(text="upon"),
        TextPiece(text=""),
        RefusalPiece(text=" no"),
        CallBegun(id="a", name="f"),
        CALLED,
        Counted(tokens=Tokens(input=1, output=2)),
    ]
    request = asked("completions", prompt="Once", stream=True, stream_options={"include_usage": True})
    chunks = streamed(events, request)
    assert {(chunk["id"], chunk["object"]) for chunk in chunks[:-1]} == {("cmpl-" + ID, "text_completion")}
    assert [chunk["choices"] for chunk in chunks[:-1]] == [
        [{"index": 0, "text": "upon", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": " no", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
        [],
    ]
    assert chunks[-2]["usage"]["total_tokens"] == 3


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_completed_prompt_says_why_it_ended(finish: Any) -> None:
    chunks = streamed([BEGUN, Finished(finish=finish)], asked("completions", prompt="Once", stream=True))
    assert chunks[0]["choices"][0]["finish_reason"] == finish


def test_what_cannot_go_on_ends_with_the_error_event_alone() -> None:
    for request in (asked(stream=True), asked("completions", prompt="a", stream=True)):
        assert CALLER.writer(facts(request)).fail(CallerError(502, "Gone.")) == b""


def test_writers_say_how_far_they_are() -> None:
    writer = CALLER.writer(facts(stream=True))
    writer.write(TextPiece(text="abc"))
    writer.write(CallBegun(id="a", name="f"))
    assert repr(writer) == "<ChatWriter 4 characters, 1 calls>"
    assert repr(_Chunks(facts(stream=True), "a", "b")) == "<_Chunks 0 characters>"
    writer = CALLER.writer(facts(asked("completions", prompt="a", stream=True)))
    writer.write(TextPiece(text="abc"))
    assert repr(writer) == "<CompletionWriter 3 characters>"
