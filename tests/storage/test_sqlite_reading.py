"""An SQLite file that is only looked at: what is committed is read, and nothing beside it becomes another."""

import hashlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.sqlite_database import connect
from keyrelay.storage.sqlite_reading import SqliteReading

ROWS = 100

_FILL = f"""
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE rows (number INTEGER)")
connection.executemany("INSERT INTO rows VALUES (?)", ((number,) for number in range({ROWS})))
if sys.argv[2] == "changing":
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("DELETE FROM rows")
print("filled", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyrelay.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = open_database("", path.parent, reading=True)
    yield opened
    await opened.close()


def add(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER)")
    connection.executemany("INSERT INTO rows VALUES (?)", ((number,) for number in range(ROWS)))


def count(connection: sa.Connection) -> int:
    rows: int = connection.execute(sa.text("SELECT count(*) FROM rows")).scalar_one()
    return rows


def prints(path: Path) -> dict[str, tuple[str, int]]:
    files = (path.parent, *sorted(path.parent.iterdir()))
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "", file.stat().st_mtime_ns)
        for file in files
    }


@contextmanager
def closed(path: Path) -> Iterator[None]:
    with closing(connect(path, 1.0)) as connection:
        add(connection)
    yield


@contextmanager
def still_open(path: Path, doing: str = "nothing") -> Iterator[None]:
    """In another process: within one, SQLite would share what it has mapped."""
    command = [sys.executable, "-S", "-c", _FILL, str(path), doing]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"filled\n"
        try:
            yield
        finally:
            other.kill()


def being_changed(path: Path) -> AbstractContextManager[None]:
    return still_open(path, "changing")


@contextmanager
def killed(path: Path) -> Iterator[None]:
    with still_open(path):
        pass
    yield


@pytest.mark.parametrize(
    ("left", "files"),
    [(closed, 1), (killed, 3), (still_open, 3), (being_changed, 3)],
)
async def test_it_is_read_as_it_was_left_and_stays_so(
    database: Database, path: Path, left: Callable[[Path], AbstractContextManager[None]], files: int
) -> None:
    with left(path):
        before = prints(path)
        assert len(before) == 1 + files
        began_at = time.monotonic()
        assert [await database.read(count) for _ in range(2)] == [ROWS, ROWS]
        assert time.monotonic() - began_at < 1.0
        assert prints(path) == before


async def test_what_is_changed_while_it_is_read_is_read_once_more(database: Database, path: Path) -> None:
    with closed(path):
        pass

    def count_late(connection: sa.Connection) -> int:
        found = count(connection)
        if found == ROWS:
            with closing(connect(path, 1.0)) as other:
                add(other)
        return found

    assert await database.read(count_late) == 2 * ROWS


async def test_what_never_stays_the_same_is_given_up(database: Database, path: Path) -> None:
    with closed(path):
        pass

    def change(connection: sa.Connection) -> int:
        found = count(connection)
        with closing(connect(path, 1.0)) as other:
            add(other)
        return found

    with pytest.raises(StoreError, match="is being changed all the time"):
        await database.read(change)


async def test_a_failure_is_told_at_once(database: Database, path: Path) -> None:
    with closed(path):
        pass
    with pytest.raises(StoreError, match="no such table"):
        await database.read(lambda connection: connection.execute(sa.text("SELECT * FROM missing")).all())


async def test_where_it_cannot_be_read_without_writing_it_is_not_read(database: Database, path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        await database.read(count)
    with killed(path):
        path.with_name("keyrelay.db-shm").unlink()
        before = prints(path)
        with pytest.raises(StoreError, match="a log without its index"):
            await database.read(count)
        assert prints(path) == before


async def test_nothing_can_be_changed(database: Database, path: Path) -> None:
    assert isinstance(database, SqliteReading)
    with closed(path):
        before = prints(path)
        with pytest.raises(StoreError, match="only looked at"):
            await database.change(count)
        with pytest.raises(StoreError, match="only looked at"):
            await database.write([b"{}"])
        with pytest.raises(StoreError, match="cannot be written"):
            await database.read(lambda connection: connection.execute(sa.text("DELETE FROM rows")).rowcount)
        assert prints(path) == before


async def test_of_postgresql_the_server_refuses_changes(postgres_url: str, tmp_path: Path) -> None:
    database = open_database(postgres_url, tmp_path, reading=True)
    try:
        assert await database.read(lambda connection: connection.execute(sa.text("SELECT 1")).scalar()) == 1
        with pytest.raises(StoreError, match="takes no changes now"):
            await database.change(lambda connection: connection.execute(sa.text("CREATE TABLE t (x int)")).close())
    finally:
        await database.close()
