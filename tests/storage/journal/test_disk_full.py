"""The disk refuses: a small file system that fills up, and a limit on the size of files, both real."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyrelay.core.errors import StoreError
from keyrelay.storage.journal.recovery import recover
from keyrelay.storage.journal.writer import FileJournal
from tests.house.sources import ROOT
from tests.storage.journal.entries import MIB, all_rows, kill, line, number_of, opened, recovered, reserved

DISK_BYTES = MIB
BOUND = 2 * MIB
"""Segments are a quarter of the disk."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount", path="/bin:/usr/bin:/sbin:/usr/sbin")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "keyrelay-test", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def tended_until_full(journal: FileJournal) -> int:
    number = 0
    while not journal.full:
        journal.reserved(reserved(number))
        journal.ended(line(number))
        number += 1
        if number % 100 == 0:
            await journal.tend()
    return number


async def test_a_full_disk_is_noticed_while_there_is_room_for_what_is_under_way(small_disk: Path) -> None:
    journal = opened(small_disk, max_bytes=BOUND)
    under_way = range(10**6, 10**6 + 200)
    for number in under_way:
        journal.reserved(reserved(number))
    written = await tended_until_full(journal)
    assert journal.problem == "the journal cannot be written: No space left on device"
    assert not journal._pending
    for number in under_way:
        journal.ended(line(number))
    assert not journal._pending
    kill(journal)
    found = {number_of(row) for row in await all_rows(recovered(small_disk))}
    assert found == {*range(written), *under_way}


async def test_what_the_disk_takes_no_more_waits_in_memory_and_is_written_when_it_can(small_disk: Path) -> None:
    journal = opened(small_disk, max_bytes=BOUND)
    ballast = small_disk / "ballast"
    await journal.tend()
    assert journal._spare is not None
    room = os.statvfs(small_disk)
    with ballast.open("wb") as file:
        file.write(bytes(room.f_bavail * room.f_frsize))
    count = 3000  # three times what the two segments hold
    for number in range(count):
        journal.reserved(reserved(number))
        journal.ended(line(number))
    assert journal.full
    assert journal._pending
    assert journal.rows_waiting == count
    before = [number_of(row) for row in await all_rows(journal)]
    assert 100 < len(before) < count
    ballast.unlink()
    after = list[int]()
    while journal._pending:
        await journal.tend()
        after += [number_of(row) for row in await all_rows(journal)]
    await journal.tend()
    assert (journal.full, journal.problem) == (False, "")
    assert before + after == list(range(count))
    journal.close()
    assert recover(small_disk) == ()


async def test_room_that_the_recorder_makes_is_used_at_once(small_disk: Path) -> None:
    journal = opened(small_disk, max_bytes=BOUND)
    written = await tended_until_full(journal)
    found = [number_of(row) for row in await all_rows(journal)]
    await journal.tend()
    assert (journal.full, journal.problem) == (False, "")
    assert found == list(range(written))
    journal.close()


async def test_a_full_disk_is_said_at_the_start(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as file:
        file.write(bytes(DISK_BYTES - 8 * 4096))
    with pytest.raises(StoreError, match="No space left on device"):
        opened(small_disk, max_bytes=BOUND)


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from tests.storage.journal.entries import line, opened, reserved

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    journal = opened(Path(sys.argv[1]))
    await journal.tend()
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    for number in range(200):
        journal.reserved(reserved(number))
        journal.ended(line(number))
    assert journal.full and "File too large" in journal.problem, journal.problem
    on_disk = 0
    while rows := await journal.read(100, 65536):
        on_disk += len(rows)
        await journal.kept()
    assert 100 < on_disk < 200, on_disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await journal.tend()
    assert not journal.full, journal.problem
    print(on_disk, flush=True)

asyncio.run(main())
"""


def test_files_that_may_not_grow_lose_no_row(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert finished.returncode == 0, finished.stderr
    found = [number_of(row) for row in asyncio.run(all_rows(recovered(tmp_path)))]
    assert found == list(range(int(finished.stdout), 200))
