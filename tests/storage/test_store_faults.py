"""What a store does when its database is broken: it says so in words, soon, and goes on by itself afterwards."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import store_rows
from keyrelay.core.errors import StoreError
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.migrating import ensure_file
from keyrelay.storage.postgres_database import PostgresDatabase
from keyrelay.storage.schema import REQUESTS, USAGE_DAYS, USED_TOTALS
from keyrelay.storage.sqlite_database import SqliteDatabase, connect
from keyrelay.storage.versions import make_tables
from tests.servers.postgres_server import PostgresServer
from tests.storage.usage_rows import CALLS

NOBODY = 65_534


def some_lines(count: int, seed: int = 0) -> list[bytes]:
    return list(store_rows.lines(count, from_s=1_800_000_000, to_s=1_800_000_000 + count / 4, seed=seed))


async def counts(database: Database) -> tuple[int, int]:
    """How many requests there are as rows, and how many in the sums."""

    def count(connection: sa.Connection) -> tuple[int, int]:
        rows = connection.execute(sa.select(sa.func.count()).select_from(REQUESTS)).scalar_one()
        return rows, int(connection.execute(sa.select(sa.func.sum(USAGE_DAYS.c.requests))).scalar_one() or 0)

    return await database.read(count)


@contextlib.contextmanager
def within(longest_s: float) -> Iterator[None]:
    began_at = time.monotonic()
    yield
    assert time.monotonic() - began_at < longest_s


@pytest.fixture
async def own_database(own_postgres_server: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    """A database, with short deadlines, on a server that may be broken."""
    url = own_postgres_server.create_database()
    database = PostgresDatabase(url, timeout_s=0.5, write_timeout_s=0.5)
    await database.change(make_tables)
    yield database
    await database.close()


async def test_a_postgres_that_is_killed_comes_back_and_nothing_is_lost_or_doubled(
    own_postgres_server: PostgresServer, own_database: PostgresDatabase
) -> None:
    await own_database.write(some_lines(50))
    own_postgres_server.kill()
    for work in (own_database.write(some_lines(100)), counts(own_database)):
        with within(1.0), pytest.raises(StoreError, match="cannot be reached") as caught:
            await work
        assert not caught.value.lasting
    own_postgres_server.start()
    await own_database.write(some_lines(100))
    assert await counts(own_database) == (100, 100)


async def test_a_frozen_postgres_is_given_up_in_time_and_used_again_when_it_thaws(
    own_postgres_server: PostgresServer, own_database: PostgresDatabase
) -> None:
    await own_database.write(some_lines(50))
    assert await counts(own_database) == (50, 50)
    own_postgres_server.freeze()
    with within(2.0), pytest.raises(StoreError, match="does not answer in time") as caught:
        await own_database.write(some_lines(100))
    assert not caught.value.lasting
    with within(6.0):
        read = await asyncio.gather(*(counts(own_database) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(each, StoreError) for each in read)
    own_postgres_server.thaw()
    await own_database.write(some_lines(100))
    for found in await asyncio.gather(*(counts(own_database) for _ in range(8))):
        assert found == (100, 100)


async def test_connections_that_were_cut_are_replaced_unseen(
    own_postgres_server: PostgresServer, own_database: PostgresDatabase
) -> None:
    name = own_database.place.rpartition("/")[2]
    for number in range(1, 4):
        await own_database.write(some_lines(50 * number))
        assert await counts(own_database) == (50 * number, 50 * number)
        if number == 1:
            own_postgres_server.restart()
        else:
            cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            own_postgres_server.execute("postgres", cut)


async def test_a_write_that_is_called_off_leaves_a_store_that_works(database: Database) -> None:
    lines = some_lines(2000)
    for delay_s in (0.0, 0.005, 0.02, 0.05):
        task = asyncio.create_task(database.write(lines))
        await asyncio.sleep(delay_s)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await database.write(lines)
    assert await counts(database) == (2000, 2000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url + "_missing", "no such database"),
        (lambda url: url.replace("keyrelay@", "stranger:sk-test-password@"), "user or password are refused"),
    ],
)
async def test_what_a_person_has_to_mend_lasts_and_is_said_without_the_password(
    postgres_url: str, change: object, words: str
) -> None:
    assert callable(change)
    database = PostgresDatabase(change(postgres_url))
    for work in (database.write(some_lines(1)), counts(database)):
        with pytest.raises(StoreError, match=words) as caught:
            await work
        assert caught.value.lasting
        assert "sk-test-password" not in str(caught.value) + repr(database)
        assert caught.value.__cause__ is None
    await database.close()


async def test_tables_that_are_missing_are_advised_on(postgres_url: str, tmp_path: Path) -> None:
    for database in (open_database(postgres_url, tmp_path), open_database("", tmp_path)):
        with pytest.raises(StoreError) as caught:
            await database.write(some_lines(1))
        assert caught.value.lasting
        assert not hasattr(caught.value, "place")
        await database.close()


async def test_a_postgres_that_takes_no_changes_is_waited_for(postgres_database: Database, postgres_url: str) -> None:
    database = PostgresDatabase(f"{postgres_url}?default_transaction_read_only=on")
    with pytest.raises(StoreError, match="standby") as caught:
        await database.write(some_lines(1))
    assert not caught.value.lasting
    await database.close()


async def test_a_locked_file_is_waited_for_and_then_given_up(sqlite_database: Database) -> None:
    assert sqlite_database.file is not None
    database = SqliteDatabase(sqlite_database.file, write_timeout_s=0.2)
    await database.write(some_lines(10))
    other = sqlite3.connect(sqlite_database.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for work in (database.write(some_lines(20)), database.change(lambda connection: None)):
        with within(1.0), pytest.raises(StoreError, match="another process keeps it locked") as caught:
            await work
        assert not caught.value.lasting
    assert await counts(database) == (10, 10)
    other.execute("ROLLBACK")
    await database.write(some_lines(20))
    assert await counts(database) == (20, 20)
    other.close()
    await database.close()


async def test_a_full_disk_is_said_and_waited_for(sqlite_database: Database) -> None:
    assert isinstance(sqlite_database, SqliteDatabase)
    await sqlite_database.write(some_lines(10))
    connection = sqlite_database._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(StoreError, match="free some space") as caught:
        await sqlite_database.write(some_lines(2000))
    assert not caught.value.lasting
    assert await counts(sqlite_database) == (10, 10)
    connection.execute("PRAGMA max_page_count = 1000000")
    await sqlite_database.write(some_lines(2000))
    assert await counts(sqlite_database) == (2000, 2000)


async def test_a_file_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    await _prepared(tmp_path)
    _allow(tmp_path, 0o555, 0o444)
    database = SqliteDatabase(tmp_path / "keyrelay.db")
    with _as_nobody(tmp_path), pytest.raises(StoreError, match="check") as caught:
        await database.write(some_lines(1))
    assert caught.value.lasting
    _allow(tmp_path, 0o755, 0o644)
    await database.close()


def _allow(directory: Path, mode: int, file_mode: int) -> None:
    directory.chmod(mode)
    for path in directory.iterdir():
        path.chmod(file_mode)


@contextlib.contextmanager
def _as_nobody(directory: Path) -> Iterator[None]:
    """Root may write everything, so become somebody else, who must be let in to the directory."""
    if os.geteuid() != 0:
        yield
        return
    opened = [parent for parent in directory.parents if not parent.stat().st_mode & 0o001]
    modes = [parent.stat().st_mode for parent in opened]
    for parent in opened:
        parent.chmod(0o711)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in zip(opened, modes, strict=True):
            parent.chmod(mode)


async def test_a_file_that_is_something_else_or_nowhere_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear database, " * 1000)
    for path, words in ((tmp_path / "letter.txt", "no SQLite database"), (tmp_path / "no" / "where", "be opened")):
        database = SqliteDatabase(path)
        for work in (database.write(some_lines(1)), counts(database)):
            with pytest.raises(StoreError, match=words) as caught:
                await work
            assert caught.value.lasting
        await database.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_was_removed_or_replaced_is_neither_read_nor_changed_nor_made_anew(
    tmp_path: Path, replaced: bool
) -> None:
    await _prepared(tmp_path)
    path = tmp_path / "keyrelay.db"
    database = SqliteDatabase(path)
    await database.write(some_lines(1))
    path.rename(tmp_path / "moved.db")
    if replaced:
        path.write_bytes(b"")
    for work in (database.write(some_lines(1)), counts(database), database.change(lambda _: None)):
        with pytest.raises(StoreError, match="was removed or replaced meanwhile: put it back") as caught:
            await work
        assert caught.value.lasting
    assert "put it back" in database.lost
    assert path.exists() is replaced
    (tmp_path / "moved.db").rename(path)
    assert database.lost == ""
    assert await counts(database) == (1, 1)
    await database.close()


def test_whoever_makes_the_file_makes_it_for_its_owner_alone(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path / "keyrelay.db", 1.0)):
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_another_connection_does_not_take_the_locks_of_the_first_one_away(tmp_path: Path) -> None:
    """Else the next process to close the file believes that it is the last one, and removes the log."""
    path = tmp_path / "keyrelay.db"
    with contextlib.closing(connect(path, 1.0)) as first:
        first.execute("CREATE TABLE t (a)")
        connect(path, 1.0).close()
        look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t'); c.close()"
        subprocess.run([sys.executable, "-c", look, str(path)], check=True)
        assert path.with_name("keyrelay.db-wal").exists()


async def test_a_reading_that_takes_too_long_is_broken_off(sqlite_database: Database) -> None:
    assert sqlite_database.file is not None
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    database = SqliteDatabase(sqlite_database.file, read_timeout_s=0.2)
    with within(1.0), pytest.raises(StoreError, match="too long"):
        await database.read(lambda connection: connection.execute(sa.text(endless)).scalar())
    assert await counts(database) == (0, 0)
    await database.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import store_rows
from keyrelay.storage.sqlite_database import SqliteDatabase
from keyrelay.storage.versions import make_tables

async def main():
    database = SqliteDatabase(Path(sys.argv[1]))
    lines = list(store_rows.lines(20_000, from_s=1_800_000_000, to_s=1_800_000_600))
    print("ready", flush=True)
    for start in range(0, len(lines), 50):
        await database.write(lines[start : start + 50])

asyncio.run(main())
"""


async def test_a_writer_that_is_killed_leaves_whole_batches_and_a_sound_file(tmp_path: Path) -> None:
    database = await _prepared(tmp_path)
    assert database.file is not None
    script = _WRITER.format(paths=[path for path in sys.path if path])
    for delay_s in (0.03, 0.1):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(database.file), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"ready\n"
        await asyncio.sleep(delay_s)
        writer.kill()
        assert await writer.wait() == -signal.SIGKILL
        sound = await database.read(lambda connection: connection.execute(sa.text("PRAGMA integrity_check")).scalar())
        rows, counted = await counts(database)
        assert (sound, rows % 50, counted) == ("ok", 0, rows)
    assert 0 < rows < 20_000
    await database.write(list(store_rows.lines(20_000, from_s=1_800_000_000, to_s=1_800_000_600)))
    assert await counts(database) == (20_000, 20_000)
    used = sa.select(sa.func.sum(USED_TOTALS.c.requests))
    found = await database.read(lambda connection: [connection.execute(each).scalar() for each in (CALLS, used)])
    assert found[0] == found[1]
    await database.close()


async def _prepared(directory: Path) -> Database:
    database = open_database("", directory)
    await ensure_file(database)
    await database.change(make_tables)
    return database


def test_a_url_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="postgresql://") as caught:
        open_database("mysql://root:sk-test-password@localhost/x", tmp_path)
    assert caught.value.lasting
    assert "sk-test-password" not in str(caught.value)


def test_a_url_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read") as caught:
        open_database("postgresql://user:sk-test-password@host:port/x", tmp_path)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_the_usual_forms_of_the_url_are_understood(scheme: str, tmp_path: Path) -> None:
    database = open_database(f"{scheme}://user:sk-test-password@db.example:6543/usage?sslmode=require", tmp_path)
    assert repr(database) == "<PostgresDatabase db.example:6543/usage>"
    await database.close()
