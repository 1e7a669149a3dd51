import os
from pathlib import Path

import pytest

from keyrelay.core.errors import StoreError
from keyrelay.core.records import RequestRecord
from keyrelay.storage.journal.recovery import recover
from keyrelay.storage.journal.segments import segments_in
from keyrelay.storage.journal.writer import MARGIN_SEGMENTS, SEGMENTS_IN_BOUND, FileJournal
from tests.storage.journal.entries import MIB, all_rows, forget, kill, line, number_of, opened, recovered, reserved

SEGMENT = MIB // SEGMENTS_IN_BOUND


def serve(journal: FileJournal, number: int, *, words: str = "") -> None:
    journal.reserved(reserved(number))
    journal.ended(line(number, words=words))


def serve_until_full(journal: FileJournal, first: int = 0) -> int:
    """How many requests were admitted."""
    number = first
    while not journal.full:
        serve(journal, number)
        number += 1
    return number - first


@pytest.mark.parametrize("from_file", [False, True])
async def test_rows_are_read_back_in_order_once_they_are_kept(tmp_path: Path, from_file: bool) -> None:
    journal = opened(tmp_path)
    for number in range(10):
        serve(journal, number)
    assert journal.rows_waiting == 10
    most = 4
    if from_file:
        forget(journal)
        most = 8  # records, of which half are reservations
    first = await journal.read(most, 10_000)
    assert await journal.read(most, 10_000) == first
    assert [number_of(row) for row in first] == [0, 1, 2, 3]
    await journal.kept()
    assert journal.rows_waiting == 6
    assert [number_of(row) for row in await all_rows(journal)] == [4, 5, 6, 7, 8, 9]
    assert (journal.rows_waiting, journal.bytes_waiting) == (0, 0)
    assert await journal.read(8, 10_000) == []
    journal.close()


async def test_reservations_alone_are_nothing_to_read(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(300):
        journal.reserved(reserved(number))
    assert journal.bytes_waiting > 300 * 50
    assert await journal.read(100, 2000) == []
    assert journal.bytes_waiting == 0
    journal.close()


async def test_a_journal_in_which_nothing_waits_leaves_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    serve(journal, 1)
    await journal.tend()
    assert await all_rows(journal)
    journal.close()
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["lock"]
    assert recover(tmp_path) == ()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_journal_in_which_something_waits_stays(tmp_path: Path, ended: bool) -> None:
    journal = opened(tmp_path)
    journal.reserved(reserved(1))
    if ended:
        journal.ended(line(1))
    else:
        await all_rows(journal)
    journal.close()
    (directory,) = (path for path in (tmp_path / "journal").iterdir() if path.is_dir())
    (segment,) = segments_in(directory).values()
    assert segment.stat().st_size < 1000  # no more than what is in it
    leftover = recovered(tmp_path)
    assert [record.category for record in leftover.records()] == ["" if ended else "unknown"]
    leftover.close()


async def test_segments_go_once_they_are_drained_however_long_a_stream_runs(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.reserved(reserved(0))
    journal.reserved(reserved(0, 1))
    directory = journal._directory
    number = 1
    while len(segments_in(directory)) < 4:
        serve(journal, number)
        number += 1
    assert len(await all_rows(journal)) == number - 1
    await journal.tend()
    assert list(segments_in(directory)) == [journal._segment.number, journal._segment.number + 1]  # and a spare
    kill(journal)
    (record,) = recovered(tmp_path).records()
    assert (record.category, [attempt.key for attempt in record.attempts]) == ("unknown", ["key-0", "key-1"])


async def test_the_end_of_a_stream_settles_it_wherever_it_is(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.reserved(reserved(0))
    number = 1
    while len(segments_in(journal._directory)) < 3:
        serve(journal, number)
        number += 1
    journal.ended(line(0))
    kill(journal)
    found = list(recovered(tmp_path).records())
    assert [record.category for record in found] == [""] * number


async def test_it_is_full_before_the_bound_and_no_longer_once_rows_are_kept(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(100_000, 100_050):
        journal.reserved(reserved(number))
    admitted = serve_until_full(journal)
    room = MIB - journal.bytes_waiting
    assert MARGIN_SEGMENTS * SEGMENT - 4096 < room < 2 * MARGIN_SEGMENTS * SEGMENT
    for number in range(100_000, 100_050):  # those under way end all the same
        journal.ended(line(number))
    await journal.tend()
    assert (journal.full, journal.problem) == (True, "")
    assert journal.bytes_waiting < MIB
    assert len(await journal.read(10_000, SEGMENT)) > 0
    await journal.kept()
    await journal.read(10_000, SEGMENT)
    await journal.kept()
    assert not journal.full
    assert serve_until_full(journal, admitted) > 50
    journal.close()


async def test_what_dead_processes_left_counts(tmp_path: Path) -> None:
    dead = opened(tmp_path)
    filled = serve_until_full(dead)
    kill(dead)
    leftover = recovered(tmp_path)
    journal = FileJournal.open(tmp_path, max_bytes=MIB, leftovers=[leftover])
    await journal.tend()
    assert journal.full
    assert len(await all_rows(leftover)) == filled
    await journal.tend()
    assert not journal.full
    journal.close()


async def test_a_record_larger_than_a_segment_is_written(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(3):
        serve(journal, number, words="x" * (SEGMENT + number))
    serve(journal, 3)
    assert [number_of(row) for row in await all_rows(journal, max_bytes=1000)] == [0, 1, 2, 3]
    journal.close()


async def test_more_open_reservations_than_a_segment_holds_are_carried_on(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    count = 2 * SEGMENT // 100
    for number in range(count):
        journal.reserved(reserved(number))
    for number in range(count, count + 100):
        serve(journal, number)
    assert len(await all_rows(journal)) == 100
    kill(journal)
    assert len(list(recovered(tmp_path).records())) == count


async def test_the_next_segment_is_there_before_it_is_needed(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    await journal.tend()
    spare = journal._spare
    assert spare is not None
    assert spare.path.stat().st_blocks * 512 >= SEGMENT
    number = 0
    while journal._segment is not spare:
        serve(journal, number)
        number += 1
    assert journal._spare is None
    await journal.tend()
    assert journal._spare is not None
    assert len(await all_rows(journal)) == number
    journal.close()


async def test_a_segment_made_in_haste_overtakes_the_one_set_aside(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    setting_aside = journal.tend()
    setting_aside.send(None)  # the thread is at it
    serve(journal, 0, words="x" * SEGMENT)
    for _ in range(3):
        await journal.tend()
    setting_aside.close()
    serve(journal, 1, words="x" * SEGMENT)
    serve(journal, 2)
    assert [number_of(row) for row in await all_rows(journal)] == [0, 1, 2]
    journal.close()


async def test_the_journal_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    with pytest.raises(StoreError, match=r"no journal can be written in .*: File exists"):
        opened(tmp_path)
    with pytest.raises(StoreError, match=r"no journal can be written in .*: Not a directory"):
        opened(tmp_path / "journal")


async def test_a_record_that_names_no_request_is_kept_like_any_other(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.ended(b"no JSON")
    assert await all_rows(journal) == [b"no JSON"]
    journal.close()


async def test_it_says_how_it_stands(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.reserved(reserved(1))
    serve(journal, 2)
    assert repr(journal) == f"<FileJournal {journal._directory.name} 1 rows waiting, 1 open, ok>"
    assert journal._directory.name.endswith(f"-{os.getpid()}")
    assert repr(journal._drain) == "<Drain at 1:0 0 rows kept>"
    journal.close()


async def test_rows_that_are_damaged_on_the_disk_are_passed_over(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(5):
        serve(journal, number)
    path = next(iter(segments_in(journal._directory).values()))
    data = bytearray(path.read_bytes())
    data[data.find(line(2))] ^= 1
    forget(journal)
    path.write_bytes(data)
    assert [number_of(row) for row in await all_rows(journal)] == [0, 1, 3, 4]
    assert journal.damaged_bytes == len(line(2)) + 10
    journal.close()


async def test_a_segment_that_somebody_removed_is_passed_over(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    number = 0
    while len(segments_in(journal._directory)) < 3:
        serve(journal, number)
        number += 1
    first = next(iter(segments_in(journal._directory).values()))
    first.unlink()
    found = [number_of(row) for row in await all_rows(journal)]
    assert 0 < found[0] < number
    assert found == list(range(found[0], number))
    journal.close()


async def test_records_are_settled_as_they_were(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    serve(journal, 7)
    kill(journal)
    (record,) = recovered(tmp_path).records()
    assert isinstance(record, RequestRecord)
    assert (record.status, record.attempts[0].input_tokens) == (200, 420)
