import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.usage import Usage
from keyrelay.wire.readings import StreamEnd
from keyrelay.wire.stream import StreamReader

DONE = b"data: [DONE]\n\n"


def event(**members: Any) -> bytes:
    return b"data: " + msgspec.json.encode(members) + b"\n\n"


def delta(**members: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": members, "finish_reason": None}])


def finish(reason: str = "stop") -> bytes:
    return event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])


ROLE = delta(role="assistant", content="")
HELLO = delta(content="Hello")
USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
AZURE_FIRST = event(choices=[], prompt_filter_results=[{"prompt_index": 0}])
ERROR = event(error={"message": "Overloaded", "code": 503})


def reader(*, hide_usage: bool = False, max_event_bytes: int = 10_000) -> StreamReader:
    return StreamReader(hide_usage=hide_usage, max_event_bytes=max_event_bytes)


def test_a_whole_stream_event_by_event() -> None:
    reading = reader()
    assert reading.feed(ROLE) == b""
    assert repr(reading) == "<StreamReader open held back 0 events>"
    assert reading.feed(HELLO) == ROLE + HELLO
    assert repr(reading) == "<StreamReader open committed 1 events>"
    assert reading.feed(HELLO) == HELLO
    assert (reading.finished, reading.ended_whole("any")) == (False, False)
    assert reading.feed(finish()) == finish()
    assert (reading.finished, reading.ended_whole("any"), reading.ended_whole("done")) == (True, True, False)
    assert reading.feed(USAGE) == USAGE
    assert reading.usage == Usage(7, 2)
    assert reading.feed(DONE) == DONE
    assert reading.close() == b""
    assert (reading.end, reading.ended_whole("any"), reading.ended_whole("done")) == (StreamEnd.DONE, True, True)
    assert (reading.content_events, reading.problem, reading.error_data) == (3, "", b"")


WHOLE = b"".join((b": hi\n\n", ROLE, HELLO, b": hi\n\n", HELLO, finish(), USAGE, DONE))


@pytest.mark.parametrize("hide_usage", [False, True])
def test_a_whole_stream_cut_anywhere(*, hide_usage: bool) -> None:
    expected = b"".join((ROLE, HELLO, b": hi\n\n", HELLO, finish(), b"" if hide_usage else USAGE, DONE))
    for cut in range(len(WHOLE) + 1):
        reading = reader(hide_usage=hide_usage)
        assert reading.feed(WHOLE[:cut]) + reading.feed(WHOLE[cut:]) == expected
        assert (reading.end, reading.usage, reading.content_events) == (StreamEnd.DONE, Usage(7, 2), 3)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_and_in_any_pieces(cuts: list[int]) -> None:
    reading = reader()
    pieces = itertools.pairwise([0, *sorted(cuts), len(WHOLE)])
    passed = b"".join(reading.feed(WHOLE[start:end]) for start, end in pieces)
    assert passed == WHOLE.removeprefix(b": hi\n\n")


@pytest.mark.parametrize(
    "first",
    [
        ROLE,
        delta(),
        delta(role="assistant"),
        delta(role="assistant", content=None),
        delta(role="assistant", content="", refusal=None, tool_calls=None, reasoning_content=""),
        delta(content=[]),
        delta(tool_calls=[]),
        event(choices=[{"index": 0, "delta": None}]),
        event(choices=[{"index": 0, "delta": ""}]),
        event(choices=[{"index": 0}]),
        event(choices=[{"index": 0, "text": ""}]),
        event(choices=[{"index": 0, "text": "", "finish_reason": ""}]),
        event(choices=[]),
        event(choices=None),
        event(id="x"),
        AZURE_FIRST,
        USAGE,
    ],
)
def test_without_content_an_event_is_held_back(first: bytes) -> None:
    reading = reader()
    assert reading.feed(first) == b""
    assert (reading.committed, reading.content_events, reading.end) == (False, 0, StreamEnd.OPEN)
    assert reading.feed(HELLO) == first + HELLO


@pytest.mark.parametrize(
    "first",
    [
        HELLO,
        delta(content=" "),
        delta(content="é"),
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]),
        delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
        delta(function_call={"name": "f"}),
        delta(reasoning="Hm."),
        delta(reasoning_content="Hm."),
        delta(refusal="No."),
        delta(audio={"id": "x"}),
        event(choices=[{"index": 0, "delta": "of another shape"}]),
        event(choices=[{"index": 0, "text": "Hello"}]),
        event(choices=[{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "Hello"}}]),
        finish(),
        finish("length"),
        finish("tool_calls"),
    ],
)
def test_content_of_any_kind_passes_at_once(first: bytes) -> None:
    reading = reader()
    assert reading.feed(ROLE + first) == ROLE + first
    assert (reading.committed, reading.content_events) == (True, 1)


def test_the_first_choice_without_content_does_not_undo_the_second() -> None:
    reading = reader()
    reading.feed(event(choices=[{"index": 1, "delta": {"content": "x"}}, {"index": 0, "delta": {}}]))
    assert reading.committed


def test_comments_before_content_are_dropped_and_later_ones_pass() -> None:
    reading = reader()
    assert reading.feed(b": OPENROUTER PROCESSING\n\n") == b""
    assert reading.feed(b": OPENROUTER PROCESSING\n\n" + HELLO) == HELLO
    assert reading.feed(b": OPENROUTER PROCESSING\n\n") == b": OPENROUTER PROCESSING\n\n"
    assert reading.feed(b"event: ping\n\n") == b"event: ping\n\n"
    assert reading.content_events == 1


@pytest.mark.parametrize("empty", [b"data:\n\n", b"data: \n\n", b"data\n\n"])
def test_bug_an_event_with_empty_data_broke_the_stream(empty: bytes) -> None:
    reading = reader()
    assert reading.feed(HELLO + empty + HELLO) == HELLO + empty + HELLO
    assert reading.end is StreamEnd.OPEN


class TestUsage:
    def test_it_is_hidden_from_a_caller_who_did_not_ask(self) -> None:
        reading = reader(hide_usage=True)
        assert reading.feed(HELLO + USAGE) == HELLO
        assert reading.feed(USAGE) == b""
        assert reading.usage == Usage(7, 2)

    def test_what_has_no_usage_is_not_hidden(self) -> None:
        reading = reader(hide_usage=True)
        assert reading.feed(AZURE_FIRST + HELLO) == AZURE_FIRST + HELLO
        assert reading.feed(event(choices=[], usage=None)) == event(choices=[], usage=None)

    def test_beside_content_it_is_read_and_passes(self) -> None:
        both = event(
            choices=[{"index": 0, "delta": {"content": "x"}}], usage={"prompt_tokens": 1, "completion_tokens": 2}
        )
        reading = reader(hide_usage=True)
        assert reading.feed(both) == both
        assert reading.usage == Usage(1, 2)

    def test_the_last_one_counts(self) -> None:
        reading = reader()
        reading.feed(event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 1}) + USAGE)
        reading.feed(event(choices=[], usage={"prompt_tokens": -1}))
        assert reading.usage == Usage(7, 2)

    def test_bug_absurd_usage_was_shown_to_a_caller_who_did_not_ask(self) -> None:
        reading = reader(hide_usage=True)
        assert reading.feed(HELLO + event(choices=[], usage={"prompt_tokens": -1})) == HELLO
        assert reading.usage is None


class TestErrors:
    def test_as_the_first_event(self) -> None:
        reading = reader()
        assert reading.feed(ERROR) == b""
        assert (reading.end, reading.committed, reading.problem) == (
            StreamEnd.ERROR,
            False,
            "the stream holds an error",
        )
        assert msgspec.json.decode(reading.error_data) == {"error": {"message": "Overloaded", "code": 503}}
        assert repr(reading) == "<StreamReader error held back 0 events>"

    def test_after_the_role(self) -> None:
        reading = reader()
        assert reading.feed(ROLE) + reading.feed(ERROR) == b""
        assert (reading.end, reading.committed) == (StreamEnd.ERROR, False)

    def test_in_the_middle_what_came_before_it_passes(self) -> None:
        reading = reader()
        assert reading.feed(HELLO) == HELLO
        assert reading.feed(HELLO + ERROR + HELLO) == HELLO
        assert (reading.end, reading.committed) == (StreamEnd.ERROR, True)

    def test_alone_in_the_middle(self) -> None:
        reading = reader()
        reading.feed(HELLO)
        assert reading.feed(ERROR) == b""
        assert reading.end is StreamEnd.ERROR

    @pytest.mark.parametrize("fatal", [ERROR, b"data: {\n\n"])
    def test_bug_content_that_came_together_with_an_error_counted_as_passed_on(self, fatal: bytes) -> None:
        reading = reader()
        assert reading.feed(ROLE + HELLO + fatal) == b""
        assert not reading.committed  # so another candidate may still take over

    @pytest.mark.parametrize("bare", ['{\n  "error": {\n    "code": 503\n  }\n}', '[{\n  "error": {"code": 503}\n}]'])
    @pytest.mark.parametrize("ended", ["", "\n", "\r\n\r\n"])
    @pytest.mark.parametrize("before", [b"", ROLE, HELLO])
    def test_gemini_writes_it_bare_into_the_stream(self, bare: str, ended: str, before: bytes) -> None:
        reading = reader()
        passed = reading.feed(before) + reading.feed((bare + ended).encode()) + reading.close()
        assert passed == (HELLO if before == HELLO else b"")
        assert (reading.end, reading.error_data) == (StreamEnd.ERROR, bare.encode())

    @pytest.mark.parametrize("name", [b"event: error\n", b"event:error\r\n", b"id: 1\nevent: error\n"])
    def test_by_the_name_of_the_event_whatever_its_data_is(self, name: bytes) -> None:
        reading = reader()
        assert reading.feed(HELLO + name + b'data: {"message": "no sk-test-0123456789"}\n\n' + HELLO) == b""
        assert (reading.end, reading.error_data) == (StreamEnd.ERROR, b'{"message": "no sk-test-0123456789"}')

    def test_an_event_of_another_name_is_none(self) -> None:
        reading, named = reader(), b"event: ping\n" + event(message="event: error")
        assert reading.feed(HELLO) + reading.feed(named) == HELLO + named

    @pytest.mark.parametrize("nothing", [None, {}, "", []])
    def test_an_error_that_says_nothing_is_none(self, nothing: object) -> None:
        harmless = event(error=nothing, choices=[{"index": 0, "delta": {"content": "x"}}])
        assert reader().feed(harmless) == harmless

    def test_bug_an_answer_that_finished_with_an_error_was_taken_for_whole(self) -> None:
        reading = reader()
        reading.feed(HELLO)
        assert reading.feed(finish("error")) == b""
        assert (reading.end, reading.ended_whole("any")) == (StreamEnd.ERROR, False)

    @pytest.mark.parametrize(
        "data",
        [
            b"{",
            b"nonsense",
            b"[]",
            b'"text"',
            b'{"choices":{}}',
            b'{"choices":[null]}',
            b'{"choices":[{"finish_reason":5}]}',
            b"\xff",
            b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}',
            b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        ],
    )
    def test_what_is_not_the_json_expected_is_malformed(self, data: bytes) -> None:
        reading = reader(max_event_bytes=100_000)
        assert reading.feed(HELLO) == HELLO
        assert reading.feed(b"data: " + data + b"\n\n") == b""
        assert (reading.end, reading.problem) == (StreamEnd.MALFORMED, "an event is not the JSON that was expected")
        assert reading.error_data == data

    def test_an_endless_line_is_malformed(self) -> None:
        reading = reader(max_event_bytes=60)
        reading.feed(HELLO[:50])
        assert reading.feed(b"x" * 11) == b""
        assert (reading.end, reading.problem) == (StreamEnd.MALFORMED, "an event is larger than 60 bytes")

    def test_events_without_content_are_not_held_for_ever(self) -> None:
        reading = reader(max_event_bytes=1_000_000)
        role = delta(role="x" * 1000)
        for _ in range(1024 * 1024 // len(role)):
            assert reading.feed(role) == b""
        assert reading.end is StreamEnd.OPEN
        assert reading.feed(role) == b""
        assert (reading.end, reading.problem) == (StreamEnd.MALFORMED, "no content in the first 1048576 bytes")

    def test_comments_before_content_are_not_held_at_all(self) -> None:
        reading = reader()
        for _ in range(20):
            reading.feed(b": " + b"x" * 90_000 + b"\n\n")
        assert reading.end is StreamEnd.OPEN

    @pytest.mark.parametrize("last", [DONE, ERROR, b"data: {\n\n"])
    def test_after_the_end_nothing_is_read_or_passed_on(self, last: bytes) -> None:
        reading = reader()
        reading.feed(HELLO + last)
        before = (reading.end, reading.usage, reading.problem)
        assert reading.feed(HELLO) + reading.feed(USAGE + USAGE) + reading.feed(ERROR) + reading.close() == b""
        assert (reading.end, reading.usage, reading.problem) == before


class TestEnds:
    def test_done_with_nothing(self) -> None:
        reading = reader()
        assert reading.feed(DONE) == b""
        assert (reading.end, reading.committed) == (StreamEnd.DONE, False)

    def test_done_after_the_role_alone(self) -> None:
        reading = reader()
        assert reading.feed(ROLE + DONE) == b""
        assert (reading.end, reading.committed, reading.finished) == (StreamEnd.DONE, False, False)

    def test_an_empty_answer_with_a_finish_reason_is_an_answer(self) -> None:
        reading = reader()
        assert reading.feed(ROLE + finish("length") + DONE) == ROLE + finish("length") + DONE
        assert reading.committed

    def test_a_clean_end_behind_the_finish_reason(self) -> None:
        reading = reader()
        reading.feed(HELLO + finish())
        assert reading.close() == b""
        assert (reading.end, reading.ended_whole("any"), reading.ended_whole("done")) == (StreamEnd.OPEN, True, False)

    def test_a_clean_end_before_it(self) -> None:
        reading = reader()
        reading.feed(HELLO)
        assert (reading.close(), reading.ended_whole("any")) == (b"", False)

    @pytest.mark.parametrize("cut", [1, 2])
    def test_the_last_event_without_its_empty_line_passes_with_it(self, cut: int) -> None:
        reading = reader()
        reading.feed(HELLO + finish()[:-cut])
        assert reading.close() == finish()
        assert reading.ended_whole("any")

    def test_and_so_does_done(self) -> None:
        reading = reader()
        reading.feed(HELLO + b"data: [DONE]")
        assert (reading.close(), reading.end) == (DONE, StreamEnd.DONE)

    def test_the_whole_answer_may_be_one_event_without_its_empty_line(self) -> None:
        reading = reader()
        assert reading.feed(ROLE + HELLO.rstrip()) == b""
        assert (reading.close(), reading.committed) == (ROLE + HELLO, True)


@given(
    st.lists(st.sampled_from([ROLE, HELLO, finish(), USAGE, DONE, ERROR, b": c\n\n", b"data: x", b"\n"]), max_size=9)
)
def test_any_mixture_is_read_to_some_end(events: list[bytes]) -> None:
    reading = reader(hide_usage=True)
    passed = b"".join(reading.feed(piece) for piece in events) + reading.close()
    assert USAGE not in passed
    assert ERROR not in passed
    if not reading.committed:
        assert passed == b""
