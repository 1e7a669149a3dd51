import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.storage.journal.format import (
    ENDED,
    HEADER_BYTES,
    RESERVED,
    ended_id_in,
    framed,
    framed_end,
    framed_reservation,
    request_id_in,
    reservation_in,
    scan,
)
from tests.storage.journal.entries import line, request_id, reserved

records = st.lists(st.tuples(st.sampled_from([RESERVED, ENDED, 7]), st.binary(max_size=60)), max_size=8)
ROWS = [(RESERVED, framed_reservation(reserved(1))[HEADER_BYTES:]), *((ENDED, line(number)) for number in range(4))]


def written(entries: list[tuple[int, bytes]]) -> bytes:
    return b"".join(framed(kind, payload) for kind, payload in entries)


@given(records, st.integers(0, 40))
def test_what_is_written_is_read(entries: list[tuple[int, bytes]], zeros: int) -> None:
    data = written(entries)
    found = scan(data + bytes(zeros), len(data) + zeros, 100)
    assert found.records == entries
    assert found.end >= len(data)
    assert (found.wanted, found.damaged, found.torn) == (0, 0, 0)


@given(records, st.data())
def test_what_is_cut_short_anywhere_is_read_up_to_there(entries: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole = written(entries)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(written(entries[: count + 1])) for count in range(len(entries))]
    expected = entries[: sum(end <= cut for end in ends)]
    for tail in (b"", bytes(len(whole) - cut)):
        found = scan(whole[:cut] + tail, cut + len(tail), 100)
        assert found.records[: len(expected)] == expected
        extra = found.records[len(expected) :]  # a payload of zeros is the same as what is set aside
        assert extra == entries[len(expected) :][: len(extra)]


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_flipped_bit_costs_the_record_that_it_is_in(bit: int) -> None:
    data = written(ROWS)
    ends = [len(written(ROWS[: count + 1])) for count in range(len(ROWS))]
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        hit = sum(end <= place for end in ends)
        found = scan(bytes(damaged), len(damaged), 100)
        assert found.records == ROWS[:hit] + ROWS[hit + 1 :], place
        assert found.damaged + found.torn == len(framed(*ROWS[hit])), place


@given(st.binary(max_size=200))
def test_garbage_is_no_record(data: bytes) -> None:
    assert scan(data, len(data), 100).end == len(data)


def test_a_record_that_goes_beyond_the_piece_is_wanted() -> None:
    data = written(ROWS[1:3])
    first = len(framed(*ROWS[1]))
    found = scan(data[: first + 100], len(data), 100)
    assert (found.records, found.end, found.wanted) == (ROWS[1:2], first, len(data) - first)
    assert scan(data[: first + 5], len(data), 100).end == first  # not even its header


def test_no_more_records_than_asked_for() -> None:
    data = written(ROWS)
    found = scan(data, len(data), 2)
    assert found.records == ROWS[:2]
    assert scan(data[found.end :], len(data) - found.end, 100).records == ROWS[2:]


def test_a_reservation_is_read_as_it_was() -> None:
    entry = reserved(5, 2, requests=1, input_tokens=3, output_tokens=4, usd_micros=5, units=6)
    frame = framed_reservation(entry)
    assert reservation_in(frame[HEADER_BYTES:]) == entry
    assert scan(frame, len(frame), 1).records == [(RESERVED, frame[HEADER_BYTES:])]
    assert ended_id_in(frame) == ""


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"[]", msgspec.msgpack.encode(["req_1"])])
def test_what_is_no_reservation_is_none(payload: bytes) -> None:
    assert reservation_in(payload) is None


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (line(9), request_id(9)),
        (b'{"time":"t","request_id":"req_1","event":"request"}', "req_1"),
        (b'{"event":"request","request_id": "req_1"}', "req_1"),
        (b'{"event":"request"}', ""),
        (b'{"request_id":7}', ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
)
def test_the_id_in_a_line_is_found(row: bytes, expected: str) -> None:
    assert request_id_in(row) == expected
    assert ended_id_in(framed(ENDED, row)) == expected


def test_an_end_is_framed_like_any_record() -> None:
    assert framed_end(line(7)) == framed(ENDED, line(7))
