import msgspec

from keyrelay.core.conversation import Conversation, Message, Sampling, Text
from keyrelay.core.errors import CallerError
from tests.wire.chat.samples import CALLER, asked, read

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
