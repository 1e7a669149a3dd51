import msgspec
import pytest

from keyrelay.core.providers import Operation
from keyrelay.core.usage import Usage
from keyrelay.replay.bodies import Place, Sizes, answer_body, answer_events, envelope_of, read_body, request_body
from keyrelay.replay.trace import TraceRequest
from keyrelay.simulator.prompts import read_prompt
from keyrelay.simulator.styles import style_of
from keyrelay.wire.openai import decode_request, read_answer
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.stream import StreamReader

OPERATIONS: tuple[Operation, ...] = ("chat", "completions", "embeddings")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("tokens", [40, 41, 1000, 100_000])
def test_a_body_has_the_tokens_that_the_trace_says(operation: Operation, tokens: int) -> None:
    request = TraceRequest(at_s=0, model="m", operation=operation, input_tokens=tokens, output_tokens=7, max_tokens=9)
    body = request_body(request, 12)
    assert read_prompt(operation, body).input_tokens == pytest.approx(tokens, abs=5)
    call = decode_request(operation, body, max_depth=8)
    assert (call.model, call.max_output_tokens) == ("m", 9)
    asked, sizes = read_body(body)
    assert sizes == Sizes(12, tokens, 7)
    assert (asked.model, asked.stream) == ("m", False)


def test_a_tiny_prompt_says_its_size_all_the_same() -> None:
    assert read_body(request_body(TraceRequest(at_s=0, model="m", input_tokens=1), 0))[1] == Sizes(0, 1, 0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_whole_answer_is_one_and_reports_its_tokens(operation: Operation) -> None:
    envelope = envelope_of(operation, "m", style=style_of("groq"), usage="none", moment=(1, 2))
    reading = read_answer(
        operation, answer_body(operation, envelope, Sizes(0, 100, 0 if operation == "embeddings" else 50))
    )
    assert (reading.problem, reading.is_error) == ("", False)
    assert reading.usage == Usage(100, 0 if operation == "embeddings" else 50)


@pytest.mark.parametrize(
    ("provider", "place", "usage"),
    [
        ("openai", "event", Usage(100, 50)),
        ("openai", "last", Usage(100, 50)),
        ("openai", "none", None),
        ("groq", "none", None),
    ],
)
def test_a_stream_has_content_in_both_pieces_and_ends(provider: str, place: Place, usage: Usage | None) -> None:
    envelope = envelope_of("chat", "m", style=style_of(provider), usage=place, moment=(1, 2))
    first, rest = answer_events(envelope, Sizes(0, 100, 50))
    reader = StreamReader(hide_usage=False, max_event_bytes=1_000_000)
    reader.feed(first)
    assert (reader.committed, str(reader.end)) == (True, StreamEnd.OPEN)
    reader.feed(rest)
    assert str(reader.end) == StreamEnd.DONE
    assert reader.usage == usage
    if usage is None:  # then the gateway counts events: each token is one
        assert 50 <= reader.content_events <= 51


def test_bodies_hold_nothing_but_filler() -> None:
    body = msgspec.json.decode(request_body(TraceRequest(at_s=0, model="m", input_tokens=30, output_tokens=2), 3))
    assert body["messages"][0]["content"].replace("abc ", "") == "[[request 3 of 30 and 2 tokens]]"
