import itertools
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.wire.ollama.lines import LineSplitter
from keyrelay.wire.sse import EventTooLargeError
from tests.wire.ollama.samples import EXAMPLES

BOM = b"\xef\xbb\xbf"

# A stream, its lines, and what it leaves behind.
STREAMS: dict[str, tuple[bytes, list[bytes], bytes]] = {
    "newlines": (b'{"a":1}\n{"a":2}\n', [b'{"a":1}\n', b'{"a":2}\n'], b""),
    "carriage returns with newlines": (b'{"a":1}\r\n{"a":2}\r\n', [b'{"a":1}\n', b'{"a":2}\n'], b""),
    "carriage returns": (b'{"a":1}\r{"a":2}\r', [b'{"a":1}\n', b'{"a":2}\n'], b""),
    "mixed": (b"\n{}\r\r\n1\n\r2\n\n", [b"{}\n", b"1\n", b"2\n"], b""),
    "a byte order mark": (BOM + b"{}\n" + BOM + b"{}\n", [b"{}\n", BOM + b"{}\n"], b""),
    "a byte order mark alone": (BOM + b" \n{}\n", [b"{}\n"], b""),
    "lines of spaces": (b" \n\t\r\n{} \n", [b"{} \n"], b""),
    "no last line end": (b'{"a":1}\n{"a":', [b'{"a":1}\n'], b'{"a":'),
    "nothing but a rest": (BOM + b" {} ", [], b"{}"),
    "line ends that are none": (
        '{"a":"\u2028\u2029\x85\x0b"}\n'.encode(),
        ['{"a":"\u2028\u2029\x85\x0b"}\n'.encode()],
        b"",
    ),
    "nothing": (b"", [], b""),
}


def split(chunks: list[bytes], max_bytes: int = 100) -> tuple[list[bytes], bytes]:
    splitter = LineSplitter(max_bytes)
    return [line for chunk in chunks for line in splitter.feed(chunk)], splitter.rest()


@pytest.mark.parametrize(("stream", "lines", "rest"), STREAMS.values(), ids=STREAMS)
def test_lines_do_not_depend_on_how_they_arrive(stream: bytes, lines: list[bytes], rest: bytes) -> None:
    assert split([stream]) == (lines, rest)
    assert split([stream[place : place + 1] for place in range(len(stream))]) == (lines, rest)
    for place in range(len(stream) + 1):
        assert split([stream[:place], stream[place:]]) == (lines, rest)


@settings(max_examples=EXAMPLES)
@given(
    values=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)),
    end=st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]),
    cuts=st.lists(st.integers(0, 400)),
)
def test_values_arrive_whatever_ends_a_line(values: list[dict[str, str]], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(json.dumps(value, ensure_ascii=False).encode() + end for value in values)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    lines, rest = split(chunks, 10_000)
    assert [json.loads(line) for line in lines] == values
    assert not rest


@pytest.mark.parametrize(
    "chunks", [[b"x" * 11], [b"x" * 10, b"x"], [b"x" * 11 + b"\n"], [b"{}\n" + b"x" * 11 + b"\n{}"]]
)
def test_a_line_has_a_bound(chunks: list[bytes]) -> None:
    with pytest.raises(EventTooLargeError, match=re.escape("larger than 10 bytes")):
        split(chunks, 10)


def test_a_line_of_just_that_size_passes() -> None:
    assert split([b"{}\n", b"x" * 10 + b"\n", b"y" * 10], 10) == ([b"{}\n", b"x" * 10 + b"\n"], b"y" * 10)


def test_a_line_in_a_hundred_thousand_chunks_costs_no_more_than_its_bytes() -> None:
    splitter = LineSplitter(200_000)
    began = time.process_time()
    for _ in range(100_000):
        assert not splitter.feed(b"x")
    assert len(splitter.feed(b"\n")[0]) == 100_001
    assert time.process_time() - began < 2


def test_it_says_how_much_it_holds() -> None:
    splitter = LineSplitter(10)
    splitter.feed(b"{}\n{")
    assert repr(splitter) == "<LineSplitter 1 of 10 bytes held>"
