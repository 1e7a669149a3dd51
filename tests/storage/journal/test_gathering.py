"""Records of many requests in one call: what `commit` promises, and that otherwise nothing else becomes of them."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.storage.journal.segments import segments_in
from keyrelay.storage.journal.writer import SEGMENTS_IN_BOUND, FileJournal
from tests.storage.journal.entries import MIB, all_rows, kill, line, number_of, opened, recovered, reserved


def gathering(data_dir: Path, *, max_bytes: int = MIB, fsync: bool = False) -> FileJournal:
    journal = opened(data_dir, max_bytes=max_bytes, fsync=fsync)
    journal.gathers = True
    return journal


async def numbers_after_death(journal: FileJournal, data_dir: Path) -> list[int]:
    kill(journal)
    leftover = recovered(data_dir)
    rows = [number_of(row) for row in await all_rows(leftover)]
    leftover.close()
    return rows


async def test_what_is_committed_survives_and_what_is_not_was_never_sent(tmp_path: Path) -> None:
    journal = gathering(tmp_path)
    for number in range(3):
        journal.reserved(reserved(number))
    journal.ended(line(1))
    assert (journal.bytes_waiting, await journal.read(9, 9999)) == (0, [])
    journal.commit()
    written = journal.bytes_waiting
    assert [number_of(row) for row in await journal.read(9, 9999)] == [1]
    journal.commit()
    journal.reserved(reserved(7))
    assert journal.bytes_waiting == written
    assert await numbers_after_death(journal, tmp_path) == [1, 0, 2]


async def test_what_nobody_commits_is_written_at_the_end_of_the_turn(tmp_path: Path) -> None:
    journal = gathering(tmp_path)
    journal.reserved(reserved(1))
    journal.ended(line(1))
    await asyncio.sleep(0)
    assert [number_of(row) for row in await all_rows(journal)] == [1]
    journal.close()


@pytest.mark.parametrize("ending", ["close", "synced"])
async def test_closing_and_syncing_commit(tmp_path: Path, ending: str) -> None:
    journal = FileJournal.open(tmp_path, max_bytes=MIB, fsync=ending == "synced")
    journal.gathers = True
    journal.ended(line(1))
    if ending == "synced":
        await journal.synced()
        assert await numbers_after_death(journal, tmp_path) == [1]
    else:
        journal.close()
        leftover = recovered(tmp_path)
        assert [number_of(row) for row in await all_rows(leftover)] == [1]
        leftover.close()


async def test_what_does_not_fit_a_segment_any_more_goes_on_in_the_next(tmp_path: Path) -> None:
    journal = gathering(tmp_path)
    journal.reserved(reserved(10**6))
    number = 0
    while len(segments_in(journal._directory)) < 3:
        for _ in range(50):
            journal.reserved(reserved(number))
            journal.ended(line(number, words="w" * (MIB // SEGMENTS_IN_BOUND // 400)))
            number += 1
        journal.commit()
    assert journal.rows_waiting == number
    assert await numbers_after_death(journal, tmp_path) == [*range(number), 10**6]


@given(verbs=st.lists(st.tuples(st.sampled_from("rec"), st.integers(0, 4)), max_size=40))
def test_gathered_or_not_the_same_is_left(
    verbs: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def left(*, gathers: bool) -> list[int]:
        directory = tmp_path_factory.mktemp("journal")
        journal = opened(directory)
        journal.gathers = gathers
        for verb, number in verbs:
            if verb == "r":
                journal.reserved(reserved(number))
            elif verb == "e":
                journal.ended(line(number))
            else:
                journal.commit()
        journal.commit()
        return await numbers_after_death(journal, directory)

    assert asyncio.run(left(gathers=True)) == asyncio.run(left(gathers=False))
