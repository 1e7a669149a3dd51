from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Answer,
    Audio,
    CallBegun,
    CallPiece,
    Conversation,
    Document,
    Event,
    Finished,
    Image,
    MediaPiece,
    Message,
    Sampling,
    Text,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from tests.wire.chat.samples import CALLER, asked, facts, read

HELLO = (Message(role="user", parts=(Text(text="Hello"),)),)


def test_all_that_a_caller_says_of_the_answer() -> None:
    conversation = read(
        temperature=1, top_p=0.5, top_k=40, seed=7, presence_penalty=0.1, frequency_penalty=-0.1, logprobs=True,
        top_logprobs=3, max_completion_tokens=99, max_tokens=5, stop=["a", "b"], n=2, stream=True, user="ann",
        service_tier="flex", prompt_cache_key="k", reasoning_effort="low",
    )  # fmt: skip
    assert conversation == Conversation(
        messages=HELLO,
        reasoning=conversation.reasoning,
        sampling=Sampling(
            temperature=1.0,
            top_p=0.5,
            top_k=40,
            seed=7,
            presence_penalty=0.1,
            frequency_penalty=-0.1,
            logprobs=True,
            top_logprobs=3,
        ),
        max_output_tokens=99,
        stop=("a", "b"),
        answers=2,
        stream=True,
        user="ann",
        tier="flex",
        cache_key="k",
    )


def test_one_stop_and_the_newer_name_of_the_user() -> None:
    assert read(stop="END", safety_identifier="u1").stop == ("END",)
    assert read(stop="", safety_identifier="u1").user == "u1"
    assert read(stop=None) == read()


def test_members_without_a_place_are_named_as_left_out_unless_they_change_nothing() -> None:
    conversation = read(
        logit_bias={"1": 2}, verbosity="low", metadata={"a": "b"}, store=True, web_search_options={}, prediction=None,
        stream_options={"include_usage": True}, modalities=["text", "audio"],
    )  # fmt: skip
    assert conversation.left_out == ("logit_bias", "verbosity", "modalities")


def test_reading_twice_gives_the_same_and_leaves_the_request_alone() -> None:
    request = asked(tools=[{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}])
    before = msgspec.structs.replace(request, fields=dict(request.fields))
    assert CALLER.conversation(request) == CALLER.conversation(request)
    assert request == before


def test_errors_are_in_openais_shape() -> None:
    error = CallerError(429, "Too many.", kind="rate_limit_error", code="rate_limit_exceeded")
    status, body = CALLER.error(error, "req_1")
    assert status == 429
    assert msgspec.json.decode(body) == {
        "error": {"message": "Too many.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    }
    assert CALLER.error_event(error, "req_1") == b"data: " + body + b"\n\n"
    assert (CALLER.whole_type, CALLER.stream_type) == ("application/json", "text/event-stream; charset=utf-8")


CURSOR = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "input": [
        {"role": "user", "content": "Rename it."},
        {"type": "function_call", "call_id": "c1", "name": "ApplyPatch", "arguments": "*** Begin Patch"},
        {"type": "function_call", "call_id": "c2", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Done."},
        {"type": "function_call_output", "call_id": "c2", "output": "Text."},
    ],
    "tools": [{"type": "custom", "name": "ApplyPatch"}, {"type": "function", "name": "read"}],
}


def reshaped(**members: Any) -> CallRequest:
    return CALLER.request("chat", msgspec.json.encode({**CURSOR, **members}), max_depth=20)


def test_a_request_of_the_responses_dialect_is_read_and_answered_as_a_chat() -> None:
    request = reshaped()
    assert (request.reshaped, request.plain, request.dialect, request.wants_usage) == (True, False, "openai", True)
    assert not reshaped(stream=False).wants_usage
    assert not reshaped(stream_options=None).wants_usage
    _, said, results = CALLER.conversation(request).messages
    assert said.parts == (
        ToolCall(id="c1", name="ApplyPatch", arguments="*** Begin Patch", custom=True),
        ToolCall(id="c2", name="read", arguments="{}"),
    )
    assert [part.custom for part in results.parts if isinstance(part, ToolResult)] == [True, False]


def test_its_custom_calls_are_functions_with_free_text() -> None:
    request = reshaped()
    call = ToolCall(id="c1", name="ApplyPatch", arguments='{"input":"*** Begin Patch"}')
    body = msgspec.json.decode(CALLER.answer(Answer(parts=(call,)), facts(request)))
    assert body["choices"][0]["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "ApplyPatch", "arguments": "*** Begin Patch"}}
    ]
    writer = CALLER.writer(facts(request))
    events: tuple[Event, ...] = (
        CallBegun(id="c1", name="ApplyPatch"),
        CallPiece(arguments='{"input":"*** Begin Patch"}'),
        Finished("tool_calls"),
    )
    text = (b"".join(map(writer.write, events)) + writer.end()).decode()
    assert '"function":{"name":"ApplyPatch","arguments":""}' in text
    assert '"function":{"arguments":"*** Begin Patch"}' in text
    assert "custom" not in text


@pytest.mark.parametrize(
    "body", [{"model": "m"}, {"model": "m", "messages": None}, {"model": "m", "messages": 5, "input": "a"}]
)
def test_what_is_neither_is_told_what_a_chat_needs(body: dict[str, Any]) -> None:
    with pytest.raises(CallerError) as caught:
        CALLER.request("chat", msgspec.json.encode(body), max_depth=20)
    assert caught.value.param == "messages"


def test_other_operations_are_not_taken_for_it() -> None:
    with pytest.raises(CallerError) as caught:
        CALLER.request("completions", b'{"model":"m","input":"a"}', max_depth=20)
    assert caught.value.param == "prompt"


def test_a_chat_has_a_place_for_pictures_and_sound() -> None:
    picture, sound = Image(url="https://a.example/b.png"), Audio(media_type="audio/wav", data="UklG")
    chat, prompt = asked(), asked("completions", prompt="a")
    assert CALLER.shows(picture, chat)
    assert CALLER.shows(sound, chat)
    assert not CALLER.shows(Audio(media_type="audio/wav", data=""), chat)
    assert not CALLER.shows(Document(url="https://a.example/b.pdf"), chat)
    assert not CALLER.shows(picture, prompt)
    body = msgspec.json.decode(CALLER.answer(Answer(parts=(picture,)), facts()))
    assert body["choices"][0]["message"]["images"] == [
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}, "index": 0}
    ]
    assert CALLER.writer(facts()).write(MediaPiece(Document(file_id="a"))) == b""
