"""Rows written by a process of their own: real processes, real databases, real signals."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import store_rows
from keyrelay.core.errors import StoreError
from keyrelay.storage.apart import MAX_FAILURES, ApartSettings, WriterApart
from keyrelay.storage.batches import LineError
from keyrelay.storage.database import Database
from keyrelay.storage.schema import METADATA, REQUESTS, USAGE_DAYS, USED_TOTALS
from keyrelay.storage.usage_store import SqlUsageStore
from tests.storage.usage_rows import CALLS

MANY = ApartSettings().many_rows
NOW_S = 1_800_003_600.0
PASSWORD = "sk-test-password"


def some_lines(count: int, seed: int = 0) -> list[bytes]:
    return list(store_rows.lines(count, from_s=NOW_S - 600, to_s=NOW_S, seed=seed))


async def counts(database: Database) -> tuple[int, int]:
    """How many requests there are as rows, and how many in the sums; calls are as many in both."""

    def count(connection: sa.Connection) -> list[int]:
        statements = (
            sa.select(sa.func.count()).select_from(REQUESTS),
            sa.select(sa.func.sum(USAGE_DAYS.c.requests)),
            CALLS,
            sa.select(sa.func.sum(USED_TOTALS.c.requests)),
        )
        return [int(connection.execute(each).scalar_one() or 0) for each in statements]

    rows, counted, calls, used = await database.read(count)
    assert calls == used
    return rows, counted


class Rig:
    """A store with a writer apart, and what was reported."""

    def __init__(self, database: Database, url: str, data_dir: Path) -> None:
        self.database = database
        self.said: list[str] = []
        self._url = url
        self._data_dir = data_dir
        self._writers: list[WriterApart] = []
        self.writer = self.make()

    def make(self, settings: ApartSettings | None = None, *, url: str = "") -> WriterApart:
        self.writer = WriterApart(
            url or self._url,
            self._data_dir,
            durable=False,
            report=self.said.append,
            settings=settings or ApartSettings(),
        )
        self._writers.append(self.writer)
        self.store = SqlUsageStore(self.database, lambda: NOW_S, self.writer)
        return self.writer

    async def started(self) -> int:
        """The id of a process that is there and has nothing to do."""
        await self.writer.write(some_lines(1, seed=99))
        assert self.writer.pid is not None
        return self.writer.pid

    async def close(self) -> None:
        for writer in self._writers:
            await writer.aclose()


@pytest.fixture
async def rig(database: Database, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """On each database in turn."""
    rig = Rig(database, "" if database.file else request.getfixturevalue("postgres_url"), tmp_path)
    yield rig
    await rig.close()


@pytest.fixture
async def sqlite_rig(sqlite_database: Database, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(sqlite_database, "", tmp_path)
    yield rig
    await rig.close()


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Nobody else can write to the file meanwhile."""
    assert database.file is not None
    with contextlib.closing(sqlite3.connect(database.file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def until(happened: Callable[[], bool], longest_s: float = 5.0) -> None:
    async with asyncio.timeout(longest_s):
        while not happened():  # noqa: ASYNC110  nothing tells of another process's end
            await asyncio.sleep(0.005)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; somebody else may still have to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def visible_of(pid: int) -> bytes:
    """What others of the same user can look up."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


async def test_many_rows_are_written_by_one_process_and_few_by_none(rig: Rig) -> None:
    await rig.store.write(some_lines(MANY - 1))
    assert (rig.writer.running, repr(rig.writer)) == (False, "<WriterApart idle>")
    lines = some_lines(3 * MANY, seed=1)
    await rig.store.write(lines[:MANY])
    pid = rig.writer.pid
    assert repr(rig.writer) == f"<WriterApart process {pid}>"
    await rig.store.write(lines[MANY:])
    await rig.store.write(lines)
    assert rig.writer.pid == pid
    assert await counts(rig.database) == (4 * MANY - 1, 4 * MANY - 1)
    await rig.writer.aclose()
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_line_that_cannot_be_kept_is_named_as_if_nobody_were_between(rig: Rig) -> None:
    lines = some_lines(MANY)
    lines[150] = b'{"request_id":"req_1"}'
    caught = []
    for write in (rig.writer.write, rig.database.write):
        with pytest.raises(LineError) as error:
            await write(lines)
        caught.append((error.value.place, str(error.value), error.value.lasting))
    assert caught[0] == caught[1]
    assert caught[0][0] == 150
    assert rig.writer.running
    assert await counts(rig.database) == (0, 0)


async def test_what_the_database_refuses_is_told_as_if_nobody_were_between(sqlite_rig: Rig) -> None:
    rig = sqlite_rig
    await rig.database.change(METADATA.drop_all)
    caught = []
    for write in (rig.writer.write, rig.database.write):
        with pytest.raises(StoreError) as error:
            await write(some_lines(MANY))
        caught.append((str(error.value), error.value.lasting))
    assert caught[0] == caught[1]
    assert caught[0][1]
    assert (rig.writer.running, rig.writer.given_up) == (True, False)


async def test_a_process_that_is_killed_within_a_batch_costs_no_row_and_doubles_none(rig: Rig) -> None:
    lines = some_lines(8_000)
    pid = await rig.started()
    writing = asyncio.create_task(rig.writer.write(lines))
    await asyncio.sleep(0.03)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(StoreError, match="has ended") as caught:
        await writing
    assert not caught.value.lasting
    assert not rig.writer.running
    assert await counts(rig.database) == (1, 1)
    await rig.writer.write(lines)
    assert await counts(rig.database) == (8_001, 8_001)


async def test_a_process_that_dies_between_batches_is_replaced_and_nobody_notices(sqlite_rig: Rig) -> None:
    pid = await sqlite_rig.started()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not sqlite_rig.writer.running)
    await sqlite_rig.writer.write(some_lines(MANY))
    assert sqlite_rig.writer.pid not in {None, pid}
    assert await counts(sqlite_rig.database) == (MANY + 1, MANY + 1)


async def test_a_process_that_does_not_answer_is_killed(sqlite_rig: Rig) -> None:
    writer = sqlite_rig.make(ApartSettings(answer_timeout_s=0.5))
    pid = await sqlite_rig.started()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(StoreError, match="does not answer in time") as caught:
        await writer.write(some_lines(MANY))
    assert not caught.value.lasting
    await until(lambda: is_gone(pid))
    assert await counts(sqlite_rig.database) == (1, 1)


async def test_after_a_write_that_was_cancelled_the_next_one_gets_its_own_answer(sqlite_rig: Rig) -> None:
    pid = await sqlite_rig.started()
    bad = [b"{}"] * MANY
    with locked(sqlite_rig.database):
        writing = asyncio.create_task(sqlite_rig.writer.write(bad))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await until(lambda: is_gone(pid))
    await sqlite_rig.writer.write(some_lines(MANY))
    assert await counts(sqlite_rig.database) == (MANY + 1, MANY + 1)
    assert not sqlite_rig.writer.given_up


async def test_a_start_that_is_cancelled_leaves_no_process(sqlite_rig: Rig) -> None:
    writing = asyncio.create_task(sqlite_rig.writer.write(some_lines(MANY)))
    await until(lambda: sqlite_rig.writer.running)
    pid = sqlite_rig.writer.pid
    assert pid is not None
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await until(lambda: is_gone(pid))
    assert not sqlite_rig.writer.running


async def test_a_process_without_work_is_ended(sqlite_rig: Rig) -> None:
    writer = sqlite_rig.make(ApartSettings(idle_s=0.05))
    pid = await sqlite_rig.started()
    await until(lambda: is_gone(pid))
    assert (writer.running, writer.given_up) == (False, False)


async def test_after_failures_in_a_row_the_gateway_writes_by_itself_and_says_so_once(sqlite_rig: Rig) -> None:
    writer = sqlite_rig.make(ApartSettings(start_timeout_s=0.0))
    lines = some_lines(MANY)
    for _ in range(MAX_FAILURES):
        assert not writer.given_up
        with pytest.raises(StoreError):
            await sqlite_rig.store.write(lines)
    for _ in range(2):
        await sqlite_rig.store.write(lines)
    assert (writer.running, repr(writer)) == (False, "<WriterApart given up>")
    (said,) = sqlite_rig.said
    assert said.startswith("the process that writes rows does not answer in time, 3 times in a row: until the next")
    assert await counts(sqlite_rig.database) == (MANY, MANY)


async def test_the_gateway_can_write_beside_it(rig: Rig) -> None:
    lines = some_lines(12 * MANY)

    async def much() -> None:
        for start in range(0, len(lines), 2 * MANY):
            await rig.writer.write(lines[start : start + 2 * MANY])

    writing = asyncio.create_task(much())
    states = 0
    while not writing.done():
        await rig.store.write_state("test", str(states).encode())
        await rig.store.write(some_lines(3, seed=1_000 + states))
        states += 1
    await writing
    assert states > 3
    assert await rig.store.read_state("test") == str(states - 1).encode()
    assert await counts(rig.database) == (len(lines) + 3 * states, len(lines) + 3 * states)


async def test_signals_that_are_meant_for_the_gateway_do_not_end_it(sqlite_rig: Rig) -> None:
    pid = await sqlite_rig.started()
    assert os.getpgid(pid) == pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    await sqlite_rig.writer.write(some_lines(MANY))
    assert sqlite_rig.writer.pid == pid


_GATEWAY = """
import asyncio, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from keyrelay.storage.apart import WriterApart

async def main():
    writer = WriterApart("", Path(sys.argv[1]), durable=False, report=print)
    try:
        await writer.write([b"none"])
    except Exception as error:
        print(writer.pid, type(error).__name__, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_does_not_outlive_a_gateway_that_is_killed(tmp_path: Path) -> None:
    script = _GATEWAY.format(paths=[path for path in sys.path if path])
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    said, problem = (await gateway.stdout.readline()).split()
    assert problem == b"LineError"
    assert not is_gone(int(said))
    gateway.kill()
    assert await gateway.wait() == -signal.SIGKILL
    began_at = time.monotonic()
    await until(lambda: is_gone(int(said)))
    assert time.monotonic() - began_at < 1.0


async def test_what_the_driver_needs_reaches_it_where_nobody_can_look_it_up(
    postgres_database: Database, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = sa.make_url(postgres_url)
    for name in ("GROQ_API_KEYS", "KEYRELAY_DATABASE_URL", "PGPASSWORD"):
        monkeypatch.setenv(name, PASSWORD)
    monkeypatch.setenv("PGPORT", str(parts.port))
    rig = Rig(postgres_database, postgres_url, tmp_path)
    writer = rig.make(url=f"postgresql://{parts.username}:{PASSWORD}@{parts.host}/{parts.database}")
    pid = await rig.started()
    seen = visible_of(pid)
    assert b"keyrelay.storage.writer_process" in seen
    assert PASSWORD.encode() not in seen
    assert PASSWORD not in repr(writer)
    assert await counts(postgres_database) == (1, 1)
    await rig.close()
