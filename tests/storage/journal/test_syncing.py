import asyncio
import os
import threading
from pathlib import Path

import pytest

from keyrelay.storage.journal import syncing
from keyrelay.storage.journal.segments import Position
from keyrelay.storage.journal.syncing import GroupSync
from tests.storage.journal.entries import all_rows, line, opened, recovered, reserved


class Disk:
    """`fdatasync` as it is, counted, and held up while the gate is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0

    async def called(self) -> None:
        """Return once a sync is under way."""
        while not self.calls:  # noqa: ASYNC110  it is another thread that calls
            await asyncio.sleep(0.001)

    def sync(self, fd: int) -> None:
        self.calls += 1
        self.gate.wait(10)
        os.fsync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(syncing, "sync_data", found.sync)
    return found


async def test_those_who_wait_at_the_same_time_share_one_sync(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, fsync=True)

    async def serve(number: int) -> None:
        journal.reserved(reserved(number))
        journal.ended(line(number))
        await journal.synced()

    await asyncio.gather(*(serve(number) for number in range(200)))
    assert disk.calls <= 2
    await journal.synced()
    assert disk.calls <= 2  # everything is there
    await all_rows(journal)
    journal.close()


async def test_who_comes_while_a_sync_is_under_way_waits_for_the_next(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, fsync=True)
    disk.gate.clear()
    journal.ended(line(1))
    first = asyncio.create_task(journal.synced())
    await disk.called()
    journal.ended(line(2))
    second = asyncio.create_task(journal.synced())
    gone = asyncio.create_task(journal.synced())
    await asyncio.sleep(0.02)
    gone.cancel()
    disk.gate.set()
    await first
    await second
    assert disk.calls == 2
    assert gone.cancelled() or gone.cancelling()
    journal.close()


async def test_a_sync_covers_segments_that_were_sealed_since(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, fsync=True)
    for number in range(500):
        journal.ended(line(number))
    assert len(journal._sync._retired) >= 1
    await journal.synced()
    assert journal._sync._retired == []
    assert disk.calls >= 2
    journal.close()


async def test_without_the_option_nothing_is_waited_for(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path)
    journal.ended(line(1))
    with pytest.raises(StopIteration):
        journal.synced().send(None)
    assert (journal.syncs, disk.calls) == (False, 0)
    journal.close()


async def test_closing_syncs_what_has_not_been(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, fsync=True)
    journal.ended(line(1))
    journal.close()
    assert disk.calls == 1
    assert len(list(recovered(tmp_path).records())) == 1


async def test_closing_while_a_sync_is_under_way_leaves_the_files_to_it(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, fsync=True)
    disk.gate.clear()
    journal.ended(line(1))
    waiting = asyncio.create_task(journal.synced())
    await disk.called()
    journal.close()
    assert journal._sync._retired
    disk.gate.set()
    await waiting
    assert journal._sync._retired == []
    assert journal._sync.problem == ""


async def test_a_disk_that_does_not_take_it_is_reported_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    os.close(fd)  # from now on it is no file
    current, position = fd, Position(1, 5)
    sync = GroupSync(lambda: (current, position))
    await asyncio.wait_for(sync.reach(position), 5)
    assert sync.problem == "the journal cannot be brought to the disk: Bad file descriptor"
    assert repr(sync) == f"<GroupSync up to 1:5 {sync.problem}>"
    current = os.open(path, os.O_RDWR)
    await sync.try_again()
    assert sync.problem == ""
    sync.retire(current)
    sync.close()


async def test_a_journal_that_cannot_be_synced_is_full_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, fsync=True)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(syncing, "sync_data", broken)
        journal.ended(line(1))
        await asyncio.wait_for(journal.synced(), 5)
        await journal.tend()
        assert (journal.full, journal.problem) == (
            True,
            "the journal cannot be brought to the disk: Input/output error",
        )
    await journal.tend()
    assert (journal.full, journal.problem) == (False, "")
    journal.close()
