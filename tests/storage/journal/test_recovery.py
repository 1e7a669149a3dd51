import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from keyrelay.core.errors import StoreError
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.usage import Usage
from keyrelay.storage.journal.recovery import look_at, recover, unknown_record
from keyrelay.storage.journal.segments import DrainedNote, segments_in
from tests.house.sources import ROOT
from tests.storage.journal.entries import (
    SENT_S,
    all_rows,
    kill,
    line,
    number_of,
    only,
    opened,
    recovered,
    request_id,
    reserved,
)


def test_where_nothing_was_left_there_is_nothing(tmp_path: Path) -> None:
    assert recover(tmp_path) == ()


async def test_a_process_that_came_to_nothing_left_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal" / "0000-1").mkdir(parents=True)
    leftover = recovered(tmp_path)
    assert (leftover.bytes_waiting, list(leftover.records())) == (0, [])
    assert await all_rows(leftover) == []
    assert leftover.exhausted
    assert recover(tmp_path) == ()


async def test_rows_come_first_and_then_what_nobody_ended(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in (1, 2, 3):
        journal.reserved(reserved(number))
    journal.ended(line(2))
    kill(journal)
    leftover = recovered(tmp_path)
    assert [leftover.rows_waiting] == [None]
    found = list(leftover.records())
    assert [(record.id, record.category) for record in found] == [
        (request_id(2), ""),
        (request_id(1), "unknown"),
        (request_id(3), "unknown"),
    ]
    assert leftover.rows_waiting == 3
    rows = await all_rows(leftover)
    assert [msgspec.json.decode(row, type=RequestRecord).id for row in rows] == [record.id for record in found]
    assert rows[0] == line(2)
    assert (leftover.rows_waiting, leftover.bytes_waiting, leftover.exhausted) == (0, 0, True)
    assert await leftover.read(1, 1) == []
    assert recover(tmp_path) == ()


async def test_who_looks_finds_the_rows_of_the_dead_and_the_living_and_takes_nothing(tmp_path: Path) -> None:
    assert look_at(tmp_path) == ()
    dead, living = opened(tmp_path), opened(tmp_path)
    for number, journal in ((1, dead), (2, living)):
        journal.reserved(reserved(number))
        journal.ended(line(number))
    kill(dead)
    before = _changed_ns(tmp_path)
    journals = look_at(tmp_path)
    assert [[record.id for record in each.records()] for each in journals] == [[request_id(1)], [request_id(2)]]
    assert [each.rows_waiting for each in journals] == [1, 1]
    for each in journals:
        each.close()
    assert _changed_ns(tmp_path) == before
    living.close()
    assert len(recover(tmp_path)) == 2


def _changed_ns(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_a_directory_of_journals_that_cannot_be_looked_at_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal" / "0000-1" / "00000001.seg").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be read"):
        look_at(tmp_path)


def test_an_attempt_that_nobody_ended_counts_what_it_reserved() -> None:
    amounts = {"requests": 1, "input_tokens": 400, "output_tokens": 256, "usd_micros": 1250, "units": 2}
    record = unknown_record({1: reserved(5, 1, **amounts), 0: reserved(5, 0, input_tokens=7)})
    expected = RequestRecord(
        id=request_id(5),
        time="2026-09-21T14:13:21Z",
        level="warning",
        client="team",
        operation="chat",
        provider="gemini",
        key="key-1",
        model="flash",
        category="unknown",
        reserved_input_tokens=400,
        reserved_output_tokens=256,
        usage=Usage(400, 256, estimated=True),
        cost_usd=0.00125,
        charged=(1, 407, 256, 1250),
        attempts=[
            Attempt("gemini", "key-0", "flash", sent_s=SENT_S, requests=1, input_tokens=7),
            Attempt(
                "gemini",
                "key-1",
                "flash",
                sent_s=SENT_S + 1,
                requests=1,
                input_tokens=400,
                output_tokens=256,
                usd_micros=1250,
                units=2,
            ),
        ],
    )
    assert msgspec.to_builtins(record) == msgspec.to_builtins(expected)
    assert unknown_record({0: reserved(5)}).cost_usd is None


async def test_what_is_in_the_store_is_not_written_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(1000):
        journal.reserved(reserved(number))
        if number != 7:
            journal.ended(line(number))
    kept = [number_of(row) for row in await journal.read(500, 64 * 1024)]
    await journal.kept()
    kill(journal)
    leftover = recovered(tmp_path)
    filled = leftover.bytes_waiting
    rest = [number_of(row) for row in await all_rows(leftover)]
    assert sorted(kept + rest) == list(range(1000))
    assert rest[-1] == 7
    assert 0 < filled < 1000 * 700


async def test_a_recovery_that_was_cut_short_goes_on_where_it_was(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(1000):
        journal.reserved(reserved(number))
        if number % 100:
            journal.ended(line(number))
    kill(journal)
    leftover = recovered(tmp_path)
    first = await leftover.read(1000, 300_000)
    assert await leftover.read(1, 1) == first  # the same until they are kept
    await leftover.kept()
    assert await leftover.read(1000, 100_000)
    leftover.close()
    again = recovered(tmp_path)
    assert repr(again) == f"<Leftover {again.writer_id} {again.bytes_waiting} bytes waiting>"
    found = [number_of(row) for row in first + await all_rows(again)]
    assert sorted(found) == list(range(1000))
    assert repr(again).endswith("exhausted>")


@pytest.mark.parametrize("torn", [0, 5])
async def test_a_note_that_was_torn_costs_rows_written_twice(tmp_path: Path, torn: int) -> None:
    journal = opened(tmp_path)
    for number in range(10):
        journal.ended(line(number))
    await all_rows(journal)
    kill(journal)
    note = journal._directory / DrainedNote.NAME
    note.write_bytes(note.read_bytes()[:torn])
    assert [number_of(row) for row in await all_rows(recovered(tmp_path))] == list(range(10))


async def test_journals_cut_short_at_any_byte_give_what_is_whole(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(3):
        journal.reserved(reserved(number))
        journal.ended(line(number))
    end = journal._offset
    kill(journal)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "journal", kept)
    (path,) = segments_in(journal._directory).values()
    for cut in range(end % 23, end + 1, 23):
        shutil.rmtree(tmp_path / "journal")
        shutil.copytree(kept, tmp_path / "journal")
        with path.open("r+b") as file:
            file.truncate(cut)
        leftover = recovered(tmp_path)
        found = list(leftover.records())
        assert [number_of(msgspec.json.encode(record)) for record in found] == list(range(len(found)))
        assert [record.category for record in found][:-1] == [""] * (len(found) - 1)
        assert leftover.damaged_bytes == 0
        leftover.close()
    assert len(found) == 3


async def test_bytes_that_were_flipped_cost_a_record_each(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(200):
        journal.ended(line(number))
    kill(journal)
    (path,) = segments_in(journal._directory).values()
    data = bytearray(path.read_bytes())
    for number in (3, 77, 150):
        data[data.find(line(number)) + 50] ^= 0x20
    path.write_bytes(data)
    leftover = recovered(tmp_path)
    found = [number_of(row) for row in await all_rows(leftover, max_bytes=1000)]
    assert found == [number for number in range(200) if number not in {3, 77, 150}]
    assert leftover.damaged_bytes == sum(len(line(number)) + 10 for number in (3, 77, 150))


async def test_a_row_that_is_no_record_is_for_the_recorder_alone(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for row in (line(1), b"no JSON", b'"\xff"', line(2)):
        journal.ended(row)
    kill(journal)
    leftover = recovered(tmp_path)
    assert [record.id for record in leftover.records()] == [request_id(1), request_id(2)]
    assert await all_rows(leftover) == [line(1), b"no JSON", b'"\xff"', line(2)]


async def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.ended(line(1))
    kill(journal)
    leftover = recovered(tmp_path)
    (path,) = segments_in(journal._directory).values()
    path.unlink()
    path.mkdir()  # can be opened, but not read
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        await leftover.read(10, 1000)
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        list(leftover.records())
    leftover.close()
    (tmp_path / "journal" / "lock").unlink()
    (tmp_path / "journal" / "lock").mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        recover(tmp_path)


async def test_the_living_are_left_alone(tmp_path: Path) -> None:
    living, dead = opened(tmp_path), opened(tmp_path)
    living.ended(line(1))
    dead.ended(line(2))
    kill(dead)
    leftover = recovered(tmp_path)
    assert leftover.writer_id == dead._directory.name
    assert recover(tmp_path) == ()  # taken, by this very process
    leftover.close()
    await all_rows(living)
    living.close()
    assert [number_of(row) for row in await all_rows(only(recover(tmp_path)))] == [2]


RECOVERING = """
import sys
from pathlib import Path
from keyrelay.storage.journal.recovery import recover
print("ready", flush=True)
sys.stdin.readline()
found = recover(Path(sys.argv[1]))
print(" ".join(each.writer_id for each in found), flush=True)
sys.stdin.readline()
"""


def test_of_processes_that_start_at_once_each_journal_goes_to_one(tmp_path: Path) -> None:
    for number in range(40):
        journal = opened(tmp_path)
        journal.ended(line(number))
        kill(journal)
    names = sorted(path.name for path in (tmp_path / "journal").iterdir() if path.is_dir())
    command = [sys.executable, "-c", RECOVERING, str(tmp_path)]
    children = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)
    ]
    taken = list[str]()
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None
        taken += child.stdout.readline().split()
    for child in children:
        child.communicate("end\n", timeout=20)
    assert sorted(taken) == names
    rows = [row for leftover in recover(tmp_path) for row in asyncio.run(all_rows(leftover))]
    assert sorted(number_of(row) for row in rows) == list(range(40))
