import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import Finish, Tokens
from keyrelay.wire.anthropic.endings import finish_of, read_tokens, stop_reason_of, usage_of
from tests.wire.anthropic.examples import token_counts, values


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("reason_of_tomorrow", "stop"),
        (None, "stop"),
    ],
)
def test_why_an_answer_ended(stop_reason: str | None, finish: Finish) -> None:
    assert finish_of(stop_reason, called=False) == finish


def test_an_answer_with_calls_that_does_not_say_ended_with_them() -> None:
    assert finish_of(None, called=True) == finish_of("reason_of_tomorrow", called=True) == "tool_calls"
    assert finish_of("max_tokens", called=True) == "length"


@pytest.mark.parametrize(
    ("finish", "called", "refused", "stop_reason"),
    [
        ("stop", False, False, "end_turn"),
        ("stop", True, False, "tool_use"),
        ("stop", False, True, "refusal"),
        ("stop", True, True, "refusal"),
        ("stop_sequence", False, False, "stop_sequence"),
        ("length", True, False, "max_tokens"),
        ("tool_calls", True, False, "tool_use"),
        ("content_filter", False, False, "refusal"),
        ("error", False, False, "max_tokens"),
    ],
)
def test_why_an_answer_ended_for_a_client(finish: Finish, called: bool, refused: bool, stop_reason: str) -> None:
    assert stop_reason_of(finish, called=called, refused=refused) == stop_reason


def test_what_came_from_the_cache_is_no_input_here() -> None:
    tokens = Tokens(input=100, output=20, cached=60, cache_written=30, reasoning=5)
    raw = msgspec.json.encode(usage_of(tokens))
    assert msgspec.json.decode(raw) == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 5},
    }
    assert read_tokens(msgspec.Raw(raw)) == tokens


def test_a_cache_larger_than_the_input_makes_nothing_negative() -> None:
    assert usage_of(Tokens(input=5, cached=10)).input_tokens == 0


BEFORE = Tokens(input=100, output=2, cached=60, cache_written=30)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (b'{"output_tokens":9}', Tokens(input=100, output=9, cached=60, cache_written=30)),
        (b'{"input_tokens":0,"output_tokens":9}', Tokens(input=100, output=9, cached=60, cache_written=30)),
        (b'{"input_tokens":8,"output_tokens":9}', Tokens(input=8, output=9)),
        (b'{"input_tokens":8,"cache_read_input_tokens":70}', Tokens(input=78, output=2, cached=70)),
        (b'{"output_tokens_details":null,"output_tokens":3}', Tokens(input=100, output=3, cached=60, cache_written=30)),
        (b"null", BEFORE),
        (b"{}", BEFORE),
        (b"", BEFORE),
        (b'{"input_tokens":"8"}', BEFORE),
        (b'{"input_tokens":8,"output_tokens":-1}', BEFORE),
        (b'{"input_tokens":9007199254740992}', BEFORE),
    ],
)
def test_later_counts_stand_on_earlier_ones(usage: bytes, tokens: Tokens) -> None:
    assert read_tokens(msgspec.Raw(usage), BEFORE) == tokens


@given(values)
def test_nonsense_is_not_reported(value: object) -> None:
    tokens = read_tokens(msgspec.Raw(msgspec.json.encode({"input_tokens": value, "output_tokens": value})))
    assert tokens is None or tokens == Tokens(input=tokens.input, output=tokens.output)


@given(token_counts(), st.none() | token_counts())
def test_counts_come_back(tokens: Tokens, before: Tokens | None) -> None:
    assert read_tokens(msgspec.Raw(msgspec.json.encode(usage_of(tokens))), before) == tokens
