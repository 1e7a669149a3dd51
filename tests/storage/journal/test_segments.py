import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.storage.journal.format import ENDED, framed
from keyrelay.storage.journal.segments import (
    DrainedNote,
    Position,
    SegmentReader,
    create_segment,
    filled_bytes,
    segments_in,
)


@pytest.mark.parametrize("durable", [False, True])
def test_a_segment_has_its_room_from_the_beginning(tmp_path: Path, durable: bool) -> None:
    segment = create_segment(tmp_path, 3, 100_000, durable=durable)
    segment.grow(200_000, durable=durable)
    stat = segment.path.stat()
    assert (stat.st_size, stat.st_mode & 0o777) == (200_000, 0o600)
    assert stat.st_blocks * 512 >= 200_000
    assert segments_in(tmp_path) == {3: segment.path}
    segment.discard()
    assert segments_in(tmp_path) == {}


def test_where_nothing_can_be_set_aside_zeros_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_offered(*arguments: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not offered by this file system")

    monkeypatch.setattr(os, "posix_fallocate", not_offered)
    segment = create_segment(tmp_path, 1, 150_000, durable=False)
    assert segment.path.read_bytes() == bytes(150_000)
    assert segment.path.stat().st_blocks * 512 >= 150_000
    segment.discard()


def test_a_segment_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        create_segment(tmp_path, 1, 1 << 62, durable=False)
    assert segments_in(tmp_path) == {}


@given(st.binary(max_size=50), st.integers(0, 200_000))
def test_what_is_filled_ends_where_the_zeros_begin(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, zeros: int
) -> None:
    path = tmp_path_factory.mktemp("filled") / "file"
    path.write_bytes(data + bytes(zeros))
    assert filled_bytes(path) == len(data.rstrip(b"\0"))


@settings(max_examples=60)
@given(
    payloads=st.lists(st.binary(max_size=3000), min_size=1, max_size=20),
    max_records=st.integers(1, 5),
    max_bytes=st.integers(16, 2000),
    spare=st.integers(0, 3000),
)
def test_pieces_of_any_size_give_all_records(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], max_records: int, max_bytes: int, spare: int
) -> None:
    directory = tmp_path_factory.mktemp("pieces")
    data = b"".join(framed(ENDED, payload) for payload in payloads) + bytes(spare)
    (directory / "00000001.seg").write_bytes(data)
    reader = SegmentReader(directory)
    at, found = Position(1, 0), list[bytes]()
    while at.offset < len(data):
        piece = reader.read(at, len(data), max_records, max_bytes)
        assert piece.end > at.offset
        assert len(piece.records) <= max_records
        at = Position(1, piece.end)
        found += [payload for _, payload in piece.records]
    reader.close()
    assert found == payloads


def test_damage_is_told_from_a_torn_tail(tmp_path: Path) -> None:
    frames = [framed(ENDED, bytes([65 + number]) * 40) for number in range(3)]
    damaged = frames[0] + b"?" * 50 + frames[1] + frames[2][:-1] + bytes(200)
    (tmp_path / "00000001.seg").write_bytes(damaged)
    for size in (1000, 70):
        reader = SegmentReader(tmp_path)
        at, lost, torn = Position(1, 0), 0, 0
        while at.offset < len(damaged):
            piece = reader.read(at, len(damaged), 100, size)
            lost, torn, at = lost + piece.damaged, piece.torn, Position(1, piece.end)
        assert (lost, torn) == (50, 49), size
        reader.close()


def test_a_segment_that_is_gone_or_shorter_ends_where_it_ends(tmp_path: Path) -> None:
    frame = framed(ENDED, b"row")
    (tmp_path / "00000001.seg").write_bytes(frame + frame[:5])
    reader = SegmentReader(tmp_path)
    piece = reader.read(Position(1, 0), 1000, 100, 100)
    assert ([payload for _, payload in piece.records], piece.end) == ([b"row"], 1000)
    assert reader.read(Position(2, 0), 1000, 100, 100).end == 1000
    reader.close()
    with pytest.raises(OSError, match="let go"):
        reader.read(Position(1, 0), 1000, 100, 100)


def test_the_note_says_what_was_noted_last(tmp_path: Path) -> None:
    note = DrainedNote(tmp_path)
    assert note.load() is None
    for position in (Position(1, 2**40), Position(2, 7)):
        note.save(position)
        assert note.load() == position
    note.close()
    assert Position(1, 2**40) < Position(2, 7)


def test_a_note_that_is_torn_says_nothing(tmp_path: Path) -> None:
    note = DrainedNote(tmp_path)
    note.save(Position(5, 1234))
    note.close()
    path = tmp_path / DrainedNote.NAME
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert note.load() is None
        path.write_bytes(whole[:place])
        assert note.load() is None


def test_without_posix_fallocate_zeros_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    segment = create_segment(tmp_path, 1, 70_000, durable=False)
    assert segment.path.stat().st_size == 70_000
    segment.discard()
