import itertools
import re
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.wire.sse import EventSplitter, EventTooLargeError, event_data

BOM = b"\xef\xbb\xbf"

# A stream, and the events that it has, their data, and what it leaves behind.
STREAMS: dict[str, tuple[bytes, list[bytes], list[bytes | None], bytes]] = {
    "newlines": (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"], [b"a", b"b"], b""),
    "carriage returns with newlines": (
        b"data: a\r\n\r\ndata: b\r\n\r\n",
        [b"data: a\r\n\r\n", b"data: b\r\n\r\n"],
        [b"a", b"b"],
        b"",
    ),
    "carriage returns": (b"data: a\r\rdata: b\r\rx", [b"data: a\r\r", b"data: b\r\r"], [b"a", b"b"], b"x"),
    "a last carriage return may be half of a line end": (
        b"data: a\r\rdata: b\r\r",
        [b"data: a\r\r"],
        [b"a"],
        b"data: b",
    ),
    "mixed": (
        b"data: a\r\n\ndata: b\n\r\ndata: c\n\rdata: d\r\r\ndata: e\r\n\rf",
        [b"data: a\r\n\n", b"data: b\n\r\n", b"data: c\n\r", b"data: d\r\r\n", b"data: e\r\n\r"],
        [b"a", b"b", b"c", b"d", b"e"],
        b"f",
    ),
    "a byte order mark": (
        BOM + b"data: a\n\ndata: " + BOM + b"\n\n",
        [b"data: a\n\n", b"data: " + BOM + b"\n\n"],
        [b"a", BOM],
        b"",
    ),
    "half of a byte order mark": (BOM[:2] + b"data: a\n\n", [BOM[:2] + b"data: a\n\n"], [None], b""),
    "comments": (b": up\n\n:\n\ndata: a\n\n", [b": up\n\n", b":\n\n", b"data: a\n\n"], [None, None, b"a"], b""),
    "data in several lines": (
        b"data: a\ndata:b\ndata\ndata:  c\n\ndata: d\r\ndata: e\r\n\r\n",
        [b"data: a\ndata:b\ndata\ndata:  c\n\n", b"data: d\r\ndata: e\r\n\r\n"],
        [b"a\nb\n\n c", b"d\ne"],
        b"",
    ),
    "other fields": (
        b"event: x\nid: 1\ndata: a\n\nretry: 5\n\ndatabase: b\n\n",
        [b"event: x\nid: 1\ndata: a\n\n", b"retry: 5\n\n", b"database: b\n\n"],
        [b"a", None, None],
        b"",
    ),
    "line ends that are none": (
        'data: {"a":"\u2028\u2029\x85\x0b\x0c\x1c"}\n\n'.encode(),
        ['data: {"a":"\u2028\u2029\x85\x0b\x0c\x1c"}\n\n'.encode()],
        ['{"a":"\u2028\u2029\x85\x0b\x0c\x1c"}'.encode()],
        b"",
    ),
    "empty lines before and between": (
        b"\n\ndata: a\n\n\n\n\ndata: b\n\n\n\r\n\r\ndata: c\n\n",
        [b"data: a\n\n", b"data: b\n\n", b"data: c\n\n"],
        [b"a", b"b", b"c"],
        b"",
    ),
    "no data in data": (
        b"data:\n\ndata: \n\ndata\n\n",
        [b"data:\n\n", b"data: \n\n", b"data\n\n"],
        [None, None, None],
        b"",
    ),
    "a missing last line": (b"data: a\n\ndata: b\n", [b"data: a\n\n"], [b"a"], b"data: b"),
    "half an event": (b"data: a\n\ndata: b", [b"data: a\n\n"], [b"a"], b"data: b"),
    "nothing": (b"", [], [], b""),
    "empty lines only": (b"\n\n\r\n\r\n\n", [], [], b""),
    "something else": (b'{"error": "x"}', [], [], b'{"error": "x"}'),
}


def split(pieces: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter(1000)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, splitter.rest()


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_its_events(name: str) -> None:
    stream, events, data, rest = STREAMS[name]
    assert split([stream]) == (events, rest)
    assert [event_data(event) for event in events] == data


@pytest.mark.parametrize("name", STREAMS)
def test_wherever_it_is_cut_in_three(name: str) -> None:
    stream, events, _, rest = STREAMS[name]
    for first, second in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        assert split([stream[:first], stream[first:second], stream[second:]]) == (events, rest), (first, second)


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte(name: str) -> None:
    stream, events, _, rest = STREAMS[name]
    assert split(stream[index : index + 1] for index in range(len(stream))) == (events, rest)


PIECES = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b"data: a", b"data:", b": c", b"data: [DONE]\n\n", BOM, b"\xef", b"x"]
    ),
    max_size=20,
)


@given(PIECES, st.data())
def test_no_stream_depends_on_how_it_is_cut(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    cut = [stream[start:end] for start, end in itertools.pairwise([0, *cuts, len(stream)])]
    assert split(cut) == split([stream]) == split(pieces)


@given(PIECES)
def test_the_data_is_what_the_standard_says(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    events, _ = split([stream])
    for event in events:
        lines = re.split(rb"\r\n|\r|\n", event)
        said = [line.partition(b":")[2] for line in lines if line.partition(b":")[0] == b"data"]
        expected = b"\n".join(value.removeprefix(b" ") for value in said)
        assert event_data(event) == (expected or None)


def test_an_event_larger_than_allowed_is_refused() -> None:
    splitter = EventSplitter(10)
    assert splitter.feed(b"data: 6789") == []
    assert repr(splitter) == "<EventSplitter 10 of 10 bytes held>"
    with pytest.raises(EventTooLargeError, match=r"^an event is larger than 10 bytes$"):
        splitter.feed(b"0")


@pytest.mark.parametrize("line", [b"data: 67890", b"\r\ndata: 678", b"data: 0\n\ndata: 67890"])
def test_an_endless_line_is_refused_at_once(line: bytes) -> None:
    with pytest.raises(EventTooLargeError):
        EventSplitter(10).feed(line)


def test_what_comes_whole_need_not_be_held() -> None:
    event = b"data: 67890\n\n"
    assert EventSplitter(10).feed(event) == [event]


def test_the_rest_is_given_once() -> None:
    splitter = EventSplitter(10)
    splitter.feed(b"data: a\n")
    assert (splitter.rest(), splitter.rest()) == (b"data: a", b"")
    assert repr(splitter) == "<EventSplitter 0 of 10 bytes held>"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [16, 1024, 65_536])
def test_bug_an_event_in_many_pieces_took_time_by_the_square_of_its_size(size: int, line_end: bytes) -> None:
    event = b"data: " + b"x" * (4 * 1024 * 1024) + line_end * 2
    splitter = EventSplitter(5 * 1024 * 1024)
    began = time.perf_counter()
    events = [found for at in range(0, len(event), size) for found in splitter.feed(event[at : at + size])]
    assert events == [event]
    assert time.perf_counter() - began < 5  # some 0.2 s; by the square of its size it was minutes


def test_bug_and_byte_by_byte() -> None:
    event = b"data: " + b"x" * 200_000 + b"\n\n"
    splitter = EventSplitter(len(event))
    began = time.perf_counter()
    assert [found for byte in event for found in splitter.feed(bytes([byte]))] == [event]
    assert time.perf_counter() - began < 5


def test_bug_an_empty_event_was_passed_on_when_it_came_alone() -> None:
    assert split([b"data: a\n\n", b"\n\n", b"data: b\n\n"])[0] == [b"data: a\n\n", b"data: b\n\n"]


def test_bug_an_empty_line_stayed_before_an_event_or_went_as_the_stream_was_cut() -> None:
    assert split([b"data: a\n\n\ndata: b\n\n"])[0] == [b"data: a\n\n", b"data: b\n\n"]
    assert split([b"data: a\n\n", b"\ndata: b\n\n"])[0] == [b"data: a\n\n", b"data: b\n\n"]


def test_bug_a_cut_inside_a_line_end_took_half_of_it_away() -> None:
    assert split([b"data: a\r\n\r", b"\ndata: b\r\n\r\n"])[0] == [b"data: a\r\n\r\n", b"data: b\r\n\r\n"]
