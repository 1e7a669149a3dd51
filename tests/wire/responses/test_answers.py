import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from openai.types.responses import ResponseError

from keyrelay.core.conversation import Answer, Finish, Message, Part, Text, Thinking, Tokens
from keyrelay.core.errors import CallerError
from keyrelay.wire.responses.answers import error_out
from tests.wire.responses.asked import ANSWER_ID, CALLER, asked, checked, facts_of
from tests.wire.responses.strategies import ANSWERS, REQUEST, TOOLS, joined


def answered(answer: Answer, **members: Any) -> dict[str, Any]:
    return checked(CALLER.answer(answer, facts_of(asked(**members))))


def test_an_answer_says_what_the_sdk_insists_on() -> None:
    tokens = Tokens(input=10, output=5, cached=4, cache_written=2, reasoning=3)
    response = answered(Answer(parts=(Text("Hello"),), tokens=tokens))
    assert response["id"] == f"resp_{ANSWER_ID}"
    assert (response["object"], response["created_at"], response["model"]) == (
        "response",
        1_780_000_000,
        "served-model",
    )
    assert (response["status"], response["error"], response["incomplete_details"]) == ("completed", None, None)
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
    }


def test_usage_is_estimated_where_the_provider_did_not_count() -> None:
    usage = answered(Answer(parts=(Text("x" * 40),)))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 10, 17)


def test_settings_come_back_as_they_were_or_as_they_are_by_default() -> None:
    said = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "tools": TOOLS,
        "tool_choice": "required",
        "reasoning": {"effort": "low"},
        "service_tier": "flex",
        "store": False,
        "truncation": "auto",
        "max_output_tokens": 9,
        "max_tool_calls": 2,
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "text": {"verbosity": "low"},
        "top_p": 0.5,
        "user": "u",
    }
    response = answered(Answer(parts=()), **said)
    assert {name: response[name] for name in said} == said
    response = answered(Answer(parts=()), service_tier="auto", temperature=None)
    assert response["service_tier"] == "default"
    assert (response["temperature"], response["top_p"]) == (1.0, 1.0)
    assert (response["tools"], response["tool_choice"], response["parallel_tool_calls"]) == ([], "auto", True)
    assert response["text"] == {"format": {"type": "text"}}
    assert response["previous_response_id"] is None


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_an_answer_ended(finish: Finish, status: str, reason: str | None) -> None:
    response = answered(Answer(parts=(Text("a"),), finish=finish))
    assert response["status"] == status
    assert response["output"][0]["status"] == status
    assert (response["incomplete_details"] or {}).get("reason") == reason


def test_an_answer_that_the_model_broke_off_has_failed() -> None:
    response = answered(Answer(parts=(Text("a"),), finish="error"))
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CallerError(502, "Broken."), "server_error", "Broken."),
        (CallerError(400, "Bad."), "invalid_prompt", "Bad."),
        (CallerError(400, "Long.", code="context_length_exceeded"), "context_length_exceeded", "Long."),
        (CallerError(429, "Paid up.", code="insufficient_quota"), "insufficient_quota", "Paid up."),
        (CallerError(429, "Full."), "rate_limit_exceeded", "Full."),
        (
            CallerError(429, "Full.", headers=(("retry-after", "12"),)),
            "rate_limit_exceeded",
            "Full. Please try again in 12s.",
        ),
        (
            CallerError(429, "Try again in 3 s.", headers=(("retry-after", "3"),)),
            "rate_limit_exceeded",
            "Try again in 3 s.",
        ),
        (CallerError(503, "Busy.", headers=(("retry-after", "3"),)), "server_error", "Busy."),
    ],
)
def test_errors_have_codes_on_which_clients_act(error: CallerError, code: str, message: str) -> None:
    out = error_out(error)
    assert (out.code, out.message) == (code, message)
    ResponseError.model_construct(**msgspec.to_builtins(out))


def turns(parts: tuple[Part, ...]) -> list[Message]:
    return [Message(role="assistant", parts=parts)] if parts else []


@given(ANSWERS)
def test_output_that_is_sent_back_is_the_answer_that_it_was(answer: Answer) -> None:
    response = checked(CALLER.answer(answer, facts_of(REQUEST)))
    if not response["output"]:
        assert not answer.parts
        return
    body = json.dumps({"model": "m", "input": response["output"], "tools": TOOLS}).encode()
    messages = CALLER.conversation(CALLER.request("chat", body, max_depth=64)).messages
    assert list(messages) == turns(joined(answer).parts)


@given(ANSWERS)
def test_the_same_answer_gives_the_same_bytes(answer: Answer) -> None:
    facts = facts_of(REQUEST)
    assert CALLER.answer(answer, facts) == CALLER.answer(answer, facts)


def test_thoughts_can_be_kept_by_the_client() -> None:
    thought = Thinking(text="Hm.", signature="c2ln", signed_by="anthropic")
    (item,) = answered(Answer(parts=(thought,)))["output"]
    body = json.dumps({"model": "m", "input": [item]}).encode()
    assert CALLER.conversation(CALLER.request("chat", body, max_depth=9)).messages[0].parts == (thought,)
