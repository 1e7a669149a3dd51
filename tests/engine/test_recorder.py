"""The recorder over real journals and a store in memory that fails as told."""

import asyncio
import contextlib
import errno
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from keyrelay.core.errors import StoreError
from keyrelay.engine.recorder import Backlog, Recorder, RecorderSettings
from keyrelay.storage.journal.recovery import recover
from keyrelay.storage.journal.rejects import RejectedRows
from keyrelay.storage.journal.segments import segments_in
from keyrelay.storage.journal.writer import FileJournal
from tests.engine.rig import FakeClock
from tests.storage.journal.entries import all_rows, forget, id_of, kill, line, number_of, opened, recovered, reserved

QUICK = RecorderSettings(
    interval_s=0.01,
    max_rows=100,
    max_bytes=20_000,
    backoff_s=0.005,
    max_backoff_s=0.02,
    write_timeout_s=5.0,
    slow_s=5.0,
)
ENOUGH_S = 10.0

Trouble = Callable[[Sequence[bytes]], Exception | None]
"""What a store says to a batch."""


class MemoryStore:
    """Implements `ports.UsageStore`: all rows of a batch or none, each once; `trouble` and `delay_s` get in the way."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.batches: list[int] = []
        self.trouble: Trouble = lambda lines: None
        self.delay_s = 0.0

    async def write(self, lines: Sequence[bytes]) -> None:
        await asyncio.sleep(self.delay_s)
        self.batches.append(len(lines))
        if error := self.trouble(lines):
            raise error
        for row in lines:
            self.rows.setdefault(id_of(row), row)

    @property
    def numbers(self) -> list[int]:
        return [number_of(row) for row in self.rows.values()]


class Rig:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = MemoryStore()
        self.journal = opened(directory)
        self.said: list[str] = []
        self.recorder = self.make(self.journal)

    def make(self, *backlogs: Backlog, settings: RecorderSettings = QUICK) -> Recorder:
        return Recorder(
            self.store,
            backlogs,
            RejectedRows(self.directory),
            clock=FakeClock(),
            random=random.Random(0).random,
            report=self.said.append,
            settings=settings,
        )

    def serve(self, *numbers: int) -> None:
        for number in numbers:
            self.journal.reserved(reserved(number))
            self.journal.ended(line(number))

    def rejected(self) -> list[int]:
        path = self.directory / "rejected.jsonl"
        if not path.exists():
            return []
        return [number_of(msgspec.json.decode(text)["row"].encode()) for text in path.read_bytes().splitlines()]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(ENOUGH_S):
            while not condition():  # noqa: ASYNC110  what is waited for has no event
                await asyncio.sleep(0.002)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.store.trouble, made.store.delay_s = lambda lines: None, 0
    await made.recorder.drain(0.5)
    made.journal.close()


def down(lines: Sequence[bytes]) -> Exception:
    return StoreError("the database cannot be reached")


def refusing(*numbers: int, error: Exception | None = None) -> Trouble:
    """A store that takes no batch in which one of these is."""
    bad = [line(number) for number in numbers]

    def say(lines: Sequence[bytes]) -> Exception | None:
        hit = any(row in bad for row in lines)
        return (error or StoreError("a row is no record", lasting=True)) if hit else None

    return say


class Tidying:
    """A backlog that takes its time to tidy up after it has noted that rows are kept."""

    exhausted = False
    problem = ""
    bytes_waiting = damaged_bytes = 0

    def __init__(self, *numbers: int) -> None:
        self.lines = [line(number) for number in numbers]
        self.taken = 0
        self.tidying = asyncio.Event()
        self.tidy = asyncio.Event()

    @property
    def rows_waiting(self) -> int:
        return len(self.lines)

    async def read(self, max_rows: int, max_bytes: int) -> Sequence[bytes]:
        self.taken = len(self.lines)
        return self.lines[: self.taken]

    async def kept(self) -> None:
        del self.lines[: self.taken]
        self.tidying.set()
        await self.tidy.wait()

    async def tend(self) -> None:
        """Nothing."""


async def test_what_comes_while_a_journal_is_tidied_is_flushed_too(rig: Rig) -> None:
    backlog = Tidying(*range(5))
    recorder = rig.make(backlog)
    recorder.start()
    await backlog.tidying.wait()
    backlog.lines += [line(number) for number in range(5, 8)]
    flushing = asyncio.create_task(recorder.flush(ENOUGH_S))
    await asyncio.sleep(0.01)
    backlog.tidy.set()
    assert await flushing
    assert rig.store.numbers == list(range(8))
    assert await recorder.drain(ENOUGH_S)


async def test_rows_come_to_the_store_in_order_and_the_journal_empties(rig: Rig) -> None:
    rig.recorder.start()
    rig.recorder.start()
    for first in range(0, 1000, 50):
        rig.serve(*range(first, first + 50))
        await asyncio.sleep(0.001)
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.store.numbers == list(range(1000))
    assert sum(rig.store.batches) == 1000
    counts = rig.recorder.counts()
    assert (counts.rows_written, counts.rows_waiting, counts.failures) == (1000, 0, 0)
    assert rig.journal.bytes_waiting < 200
    assert (rig.recorder.degraded, rig.said) == (None, [])


async def test_batches_are_bounded_by_count_and_bytes(rig: Rig) -> None:
    rig.serve(*range(500))
    rig.recorder = rig.make(rig.journal, settings=replace(QUICK, max_rows=20))
    rig.recorder.start()
    assert await rig.recorder.flush(ENOUGH_S)
    assert max(rig.store.batches) <= 20
    rig.store.batches.clear()
    await rig.recorder.drain(ENOUGH_S)
    rig.recorder = rig.make(rig.journal, settings=replace(QUICK, max_rows=10_000, max_bytes=5_000))
    rig.serve(*range(500, 1000))
    rig.recorder.start()
    assert await rig.recorder.flush(ENOUGH_S)
    assert max(rig.store.batches) <= 5_000 // len(line(500))


@pytest.mark.parametrize("at_call", range(1, 12))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_call_that_fails_loses_and_doubles_nothing(rig: Rig, at_call: int, after: bool) -> None:
    """Whether the store has failed before it kept the batch or lost its answer after."""
    written = Counter[int]()

    def once(lines: Sequence[bytes]) -> Exception | None:
        fails = len(rig.store.batches) == at_call
        if after and fails:
            rig.store.rows.update({id_of(row): row for row in lines})
        if not fails:
            written.update(number_of(row) for row in lines)
        return StoreError("connection reset") if fails else None

    rig.store.trouble = once
    rig.recorder.start()
    for first in range(0, 400, 40):
        rig.serve(*range(first, first + 40))
        assert await rig.recorder.flush(ENOUGH_S)
    assert sorted(rig.store.numbers) == list(range(400))
    assert set(written.values()) == {1}
    assert rig.recorder.counts().failures == (at_call <= len(rig.store.batches))
    assert rig.recorder.degraded is None


async def test_a_store_that_is_down_costs_nothing_but_time(rig: Rig) -> None:
    rig.store.trouble = down
    rig.recorder.start()
    rig.serve(*range(300))
    assert not await rig.recorder.flush(0.05)
    degraded = rig.recorder.degraded
    assert degraded is not None
    assert degraded.why == "the database cannot be reached"
    rig.serve(*range(300, 400))
    await rig.until(lambda: len(rig.store.batches) > 4)
    assert rig.recorder.degraded == degraded  # since the first failure
    counts = rig.recorder.counts()
    assert (counts.rows_waiting, counts.rows_written, counts.last_error) == (400, 0, degraded.why)
    assert counts.bytes_waiting > 400 * 400
    assert repr(rig.recorder) == "<Recorder 1 journals, 0 rows written, degraded>"
    rig.store.trouble = lambda lines: None
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.store.numbers == list(range(400))
    assert rig.recorder.degraded is None
    assert [text.split(",")[0] for text in rig.said] == [
        "rows wait in the journal: the database cannot be reached",
        "rows get into the store again",
    ]


async def test_tries_come_further_and_further_apart(rig: Rig) -> None:
    rig.store.trouble = down
    rig.recorder = rig.make(rig.journal, settings=replace(QUICK, interval_s=0.001, backoff_s=0.01, max_backoff_s=0.08))
    rig.serve(1)
    rig.recorder.start()
    await asyncio.sleep(0.4)
    assert 4 <= len(rig.store.batches) <= 10  # 7.5, 15, 30 and then 60 ms


async def test_a_store_that_hangs_is_reported_given_up_and_tried_again(rig: Rig) -> None:
    rig.store.delay_s = 60
    rig.recorder = rig.make(rig.journal, settings=replace(QUICK, write_timeout_s=0.1, slow_s=0.02))
    rig.serve(*range(10))
    rig.recorder.start()
    await asyncio.sleep(0.06)
    degraded = rig.recorder.degraded
    assert degraded is not None
    assert degraded.why.startswith("the store has not answered for")
    await rig.until(lambda: rig.recorder.counts().failures > 0)
    assert rig.recorder.counts().last_error == "the store has not answered in time"
    rig.store.delay_s = 0
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.store.numbers == list(range(10))


async def test_a_slow_store_gets_everything(rig: Rig) -> None:
    rig.store.delay_s = 0.02
    rig.recorder.start()
    rig.serve(*range(300))
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.store.numbers == list(range(300))


@pytest.mark.parametrize("error", [None, KeyError("secret text")], ids=["lasting", "foreign"])
@pytest.mark.parametrize("bad", [(0,), (37,), (99,), (0, 50, 99), tuple(range(10, 20)), tuple(range(0, 100, 3))])
async def test_rows_that_the_store_never_takes_are_set_aside(
    rig: Rig, bad: tuple[int, ...], error: Exception | None
) -> None:
    rig.store.trouble = refusing(*bad, error=error)
    rig.serve(*range(100))
    rig.recorder.start()
    assert await rig.recorder.flush(ENOUGH_S)
    rig.serve(100)
    assert await rig.recorder.flush(ENOUGH_S)
    assert sorted(rig.store.numbers) == [number for number in range(101) if number not in bad]
    assert sorted(rig.rejected()) == list(bad)
    counts = rig.recorder.counts()
    assert (counts.rows_rejected, counts.rows_written, counts.rows_waiting) == (len(bad), 101 - len(bad), 0)
    assert sum("has been set aside" in text for text in rig.said) == len(bad)
    assert not any("secret" in text for text in rig.said)
    assert rig.recorder.degraded is None


async def test_a_bad_row_alone_waits_until_the_store_has_taken_another(rig: Rig) -> None:
    rig.store.trouble = refusing(1)
    rig.serve(1)
    rig.recorder.start()
    await rig.until(lambda: rig.recorder.counts().failures > 3)
    assert rig.rejected() == []
    rig.serve(2)
    assert await rig.recorder.flush(ENOUGH_S)
    assert (rig.store.numbers, rig.rejected()) == ([2], [1])


async def test_a_bad_row_alone_in_what_was_left_is_told_by_the_rows_of_others(rig: Rig) -> None:
    rig.store.trouble = refusing(1)
    rig.serve(1)
    await rig.recorder.drain(0)
    kill(rig.journal)
    leftovers = recover(rig.directory)
    rig.journal = opened(rig.directory)
    rig.recorder = rig.make(*leftovers, rig.journal)
    rig.recorder.start()
    await rig.until(lambda: rig.recorder.counts().failures > 2)
    assert rig.rejected() == []
    rig.serve(2)
    await rig.until(lambda: rig.rejected() == [1])
    await rig.until(lambda: leftovers[0].exhausted)
    assert rig.store.numbers == [2]


async def test_a_store_that_refuses_everything_is_at_fault_itself(rig: Rig) -> None:
    rig.store.trouble = lambda lines: StoreError("there is no such table", lasting=True)
    rig.serve(*range(100))
    rig.recorder.start()
    await rig.until(lambda: rig.recorder.counts().failures > 5)
    assert len(rig.store.batches) < 40  # no batch is taken apart for nothing
    assert rig.rejected() == []
    rig.store.trouble = lambda lines: None
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.store.numbers == list(range(100))


async def test_most_of_a_batch_is_never_set_aside(rig: Rig) -> None:
    rig.store.trouble = refusing(*range(1, 100))
    rig.serve(*range(100))
    rig.recorder.start()
    await rig.until(lambda: rig.recorder.counts().failures > 2)
    assert rig.rejected() == []
    rig.store.trouble = lambda lines: None
    assert await rig.recorder.flush(ENOUGH_S)
    assert sorted(rig.store.numbers) == list(range(100))


async def test_a_store_that_goes_down_while_a_bad_row_is_looked_for_gets_the_rest_later(rig: Rig) -> None:
    bad = refusing(30)
    rig.store.trouble = lambda lines: down(lines) if 4 < len(rig.store.batches) < 9 else bad(lines)
    rig.serve(*range(100))
    rig.recorder.start()
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.rejected() == [30]
    assert sorted(rig.store.numbers) == [number for number in range(100) if number != 30]


async def test_a_bad_row_that_cannot_be_set_aside_stays(rig: Rig) -> None:
    obstacle = rig.directory / "rejected.jsonl"
    obstacle.mkdir()
    rig.store.trouble = refusing(3)
    rig.serve(*range(10))
    rig.recorder.start()
    await rig.until(lambda: "rejected.jsonl cannot be written: Is a directory" in rig.recorder.counts().last_error)
    assert rig.recorder.counts().rows_waiting == 10
    obstacle.rmdir()
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.rejected() == [3]


async def test_what_was_left_comes_first_and_its_directory_goes(rig: Rig) -> None:
    rig.serve(*range(300))
    rig.journal.reserved(reserved(900))
    kill(rig.journal)
    leftovers = recover(rig.directory)
    rig.journal = opened(rig.directory)
    rig.serve(*range(300, 310))
    rig.recorder = rig.make(*leftovers, rig.journal)
    rig.recorder.start()
    assert await rig.recorder.flush(ENOUGH_S)
    assert sorted(rig.store.numbers) == [*range(310), 900]
    assert rig.store.numbers[:10] == list(range(10))
    assert [each.exhausted for each in leftovers] == [True]
    assert not leftovers[0]._directory.exists()


async def test_a_journal_left_later_is_taken_in(rig: Rig) -> None:
    rig.recorder.start()
    other = opened(rig.directory)
    other.ended(line(77))
    kill(other)
    rig.recorder.add(recovered(rig.directory))
    await rig.until(lambda: rig.store.numbers == [77])


async def test_a_journal_that_cannot_be_read_holds_up_no_other(rig: Rig) -> None:
    other = opened(rig.directory)
    other.ended(line(77))
    kill(other)
    (path,) = segments_in(other._directory).values()
    whole = path.read_bytes()
    leftover = recovered(rig.directory)
    path.unlink()
    path.mkdir()
    rig.recorder = rig.make(leftover, rig.journal)
    rig.recorder.start()
    rig.serve(1)
    await rig.until(lambda: rig.store.numbers == [1])
    assert "cannot be read: Is a directory" in rig.recorder.counts().last_error
    path.rmdir()
    path.write_bytes(whole)
    leftover._replay._reader._let_go()
    assert await rig.recorder.flush(ENOUGH_S)
    assert rig.store.numbers == [1, 77]


async def test_drain_gives_up_in_time_and_the_rest_is_there_at_the_next_start(rig: Rig) -> None:
    rig.recorder.start()
    rig.serve(*range(50))
    assert await rig.recorder.flush(ENOUGH_S)
    rig.store.trouble = down
    rig.serve(*range(50, 80))
    began = time.monotonic()
    assert not await rig.recorder.drain(0.1)
    assert time.monotonic() - began < 1
    rig.journal.close()
    rows = await all_rows(recovered(rig.directory))
    assert sorted(rig.store.numbers + [number_of(row) for row in rows]) == list(range(80))
    rig.journal = opened(rig.directory)


async def test_drain_does_not_wait_for_a_write_that_hangs(rig: Rig) -> None:
    rig.recorder.start()
    rig.store.delay_s = 60
    rig.serve(1)
    assert not await rig.recorder.drain(0.05)
    assert not await rig.recorder.drain(0.05)  # it has stopped
    assert rig.journal.rows_waiting == 1


async def test_flush_returns_while_others_go_on_writing(rig: Rig) -> None:
    rig.recorder.start()

    async def go_on() -> None:
        number = 1000
        while True:
            rig.serve(number)
            number += 1
            await asyncio.sleep(0)

    writing = asyncio.create_task(go_on())
    rig.serve(*range(100))
    assert await rig.recorder.flush(ENOUGH_S)
    assert set(range(100)) <= set(rig.store.numbers)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    await asyncio.gather(*(rig.recorder.flush(ENOUGH_S) for _ in range(3)))
    assert rig.recorder.counts().rows_waiting == 0


async def test_trouble_with_the_disk_degrades_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        rig.recorder.start()
        await rig.until(lambda: rig.recorder.degraded is not None)
        assert rig.said == ["the journal cannot be written: No space left on device"]
        assert rig.journal.full
    await rig.until(lambda: rig.recorder.degraded is None)
    assert not rig.journal.full


async def test_damage_is_reported_once(rig: Rig) -> None:
    rig.serve(*range(20))
    (path,) = segments_in(rig.journal._directory).values()
    data = bytearray(path.read_bytes())
    data[data.find(line(5))] ^= 1
    forget(rig.journal)
    path.write_bytes(data)
    rig.recorder.start()
    assert await rig.recorder.flush(ENOUGH_S)
    await asyncio.sleep(0.03)
    assert sorted(rig.store.numbers) == [number for number in range(20) if number != 5]
    (said,) = rig.said
    assert said.startswith(f"{len(line(5)) + 10} bytes of <FileJournal")


async def test_the_event_loop_stays_free_while_much_waits(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.journal.close()
    rig.journal = FileJournal.open(tmp_path, max_bytes=1 << 30)
    rig.serve(*range(20_000))
    rig.recorder = rig.make(rig.journal, settings=RecorderSettings())
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    rig.recorder.start()
    assert await rig.recorder.drain(30)
    watching.cancel()
    assert len(rig.store.rows) == 20_000
    assert longest_s < 0.1, f"{longest_s * 1000:.1f} ms"
    rig.journal.close()
