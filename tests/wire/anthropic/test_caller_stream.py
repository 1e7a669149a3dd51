from typing import Any

import pytest

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finish,
    Finished,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Tokens,
)
from keyrelay.core.errors import CallerError
from tests.wire.anthropic.examples import CALLER, MODEL, events_of, facts_of

BEGUN = Begun(id="x", model="y", tokens=Tokens(input=20, output=1, cached=8, cache_written=2))
SIGNATURE = ThinkingPiece(signature="c2ln", signed_by="anthropic")


def streamed(*events: Event) -> list[dict[str, Any]]:
    writer = CALLER.writer(facts_of())
    return events_of(b"".join(map(writer.write, events)) + writer.end())


def brief(events: list[dict[str, Any]]) -> list[str]:
    """The blocks between start and end in short, after a look at their order."""
    types = [event["type"] for event in events]
    assert (types[0], types[-2:]) == ("message_start", ["message_delta", "message_stop"])
    said, index = [], -1
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                index += 1
                said.append("+" + "/".join(str(value) for value in event["content_block"].values()))
            case "content_block_delta":
                said.append("/".join(event["delta"].values()))
            case "content_block_stop":
                said.append("-")
        assert event["index"] == index
    assert said.count("-") == index + 1
    return said


def test_the_start_has_the_whole_usage() -> None:
    start = streamed(BEGUN, TextPiece("a"), Finished("stop"))[0]
    assert start["message"] == {
        "id": "msg_" + "0" * 32,
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 8,
            "output_tokens": 1,
            "output_tokens_details": {"thinking_tokens": 0},
        },
    }


def test_where_the_provider_does_not_count_the_prompt_the_estimate_stands() -> None:
    events = streamed(Begun(), TextPiece("eight ch"), Finished("stop"))
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert (events[-2]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"]) == (7, 2)


def test_the_end_says_why_and_what_it_used() -> None:
    tokens = Tokens(input=30, output=9, cached=8, reasoning=4)
    events = streamed(
        BEGUN, Finished("stop_sequence", "END"), Counted(tokens=BEGUN.tokens or Tokens()), Counted(tokens=tokens)
    )
    assert events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        "usage": {
            "input_tokens": 22,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 8,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((TextPiece("a"), TextPiece(""), TextPiece("b")), ["+text/", "text_delta/a", "text_delta/b", "-"]),
        ((TextPiece(""),), []),
        (
            (ThinkingPiece("hm"), ThinkingPiece(), SIGNATURE, TextPiece("a")),
            ["+thinking//", "thinking_delta/hm", "signature_delta/c2ln", "-", "+text/", "text_delta/a", "-"],
        ),
        (
            (ThinkingPiece("a", signature="c2ln", signed_by="anthropic"), ThinkingPiece("b")),
            ["+thinking//", "thinking_delta/a", "signature_delta/c2ln", "-", "+thinking//", "thinking_delta/b", "-"],
        ),
        ((SIGNATURE,), ["+thinking//", "signature_delta/c2ln", "-"]),
        (
            (ThinkingPiece("a", signature="x", signed_by="gemini"), ThinkingPiece("b")),
            ["+thinking//", "thinking_delta/a", "-", "+thinking//", "thinking_delta/b", "-"],
        ),
        (
            (ThinkingPiece("a"), ThinkingPiece(redacted="x", signed_by="anthropic")),
            ["+thinking//", "thinking_delta/a", "-", "+redacted_thinking/x", "-"],
        ),
        ((ThinkingPiece(redacted="x", signed_by="openai"),), []),
        (
            (CallBegun("c", "f"), CallPiece('{"a"'), CallPiece(""), CallPiece(":1}"), CallBegun("d.e", "g")),
            [
                "+tool_use/c/f/{}",
                'input_json_delta/{"a"',
                "input_json_delta/:1}",
                "-",
                "+tool_use/toolu_kr64_ZC5l/g/{}",
                "-",
            ],
        ),
        (
            (CallBegun("c", "f", custom=True), CallPiece('say "\n'), CallPiece("é"), TextPiece("b")),
            [
                "+tool_use/c/f/{}",
                'input_json_delta/{"input":"',
                'input_json_delta/say \\"\\n',
                "input_json_delta/é",
                'input_json_delta/"}',
                *("-", "+text/", "text_delta/b", "-"),
            ],
        ),
    ],
)
def test_blocks_come_one_after_the_other(events: tuple[Event, ...], said: list[str]) -> None:
    assert brief(streamed(BEGUN, *events, Finished("stop"))) == said
    assert brief(streamed(*events)) == said


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [("stop", "tool_use"), ("tool_calls", "tool_use"), ("length", "max_tokens"), ("content_filter", "refusal")],
)
def test_why_an_answer_with_calls_ended(finish: Finish, stop_reason: str) -> None:
    assert streamed(BEGUN, CallBegun("c", "f"), Finished(finish))[-2]["delta"]["stop_reason"] == stop_reason


def test_a_refusal_is_text_with_a_reason_of_its_own() -> None:
    events = streamed(BEGUN, TextPiece("Well."), RefusalPiece("I must "), RefusalPiece("not."), Finished("stop"))
    assert brief(events) == ["+text/", "text_delta/Well.", "-", "+text/", "text_delta/I must ", "text_delta/not.", "-"]
    assert events[-2]["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": "I must not."},
    }


def test_an_answer_that_says_nothing_has_a_start_and_an_end() -> None:
    assert brief(streamed()) == brief(streamed(BEGUN)) == brief(streamed(BEGUN, BEGUN)) == []


def test_an_answer_that_breaks_off_ends_with_the_error_alone() -> None:
    writer = CALLER.writer(facts_of())
    writer.write(TextPiece("a"))
    assert writer.fail(CallerError(502, "It broke.")) == b""


def test_its_state_can_be_seen() -> None:
    writer = CALLER.writer(facts_of())
    writer.write(TextPiece("a"))
    assert repr(writer) == "<AnthropicWriter block 0 text>"
    writer.write(Finished("stop"))
    assert repr(writer) == "<AnthropicWriter block 1 closed>"


QUIET: list[dict[str, Any] | None] = [
    None,
    {"type": "disabled"},
    {"type": "adaptive", "display": "omitted"},
    {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
]


@pytest.mark.parametrize("thinking", QUIET)
def test_who_did_not_ask_for_thoughts_is_given_none_but_hears_that_they_go_on(thinking: dict[str, Any] | None) -> None:
    writer = CALLER.writer(facts_of(thinking=thinking))
    thoughts = [ThinkingPiece("hm ")] * 40
    events: list[Event] = [
        Begun(),
        *thoughts,
        SIGNATURE,
        ThinkingPiece(redacted="x", signed_by="anthropic"),
        TextPiece("a"),
    ]
    said = events_of(b"".join(map(writer.write, events)) + writer.end())
    kinds = [event["type"] for event in said]
    assert kinds.count("ping") == 2
    assert [event["content_block"]["type"] for event in said if "content_block" in event] == ["text"]
    assert said[-2]["usage"]["output_tokens"] > 25


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2048}])
def test_who_asked_for_thoughts_sees_them_although_nobody_signed_them(thinking: dict[str, Any]) -> None:
    writer = CALLER.writer(facts_of(thinking=thinking))
    events: list[Event] = [Begun(), ThinkingPiece("hm"), TextPiece("a")]
    said = events_of(b"".join(map(writer.write, events)) + writer.end())
    blocks = [event["content_block"] for event in said if "content_block" in event]
    assert [block["type"] for block in blocks] == ["thinking", "text"]
    assert blocks[0]["signature"] == ""
