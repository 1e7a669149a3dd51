"""The drill of docs/operations.md: its very commands, on real databases that are written to meanwhile."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import store_rows
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.migrating import ensure_file
from keyrelay.storage.migrations.running import migrate
from keyrelay.storage.standing import Standing, standing_of
from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module
from tests.servers.postgres_server import PostgresServer, postgres_binaries

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
FROM_S = 1_800_000_000
DATA_LINE = "data=~/.local/share/keyrelay                          # keyrelay config path\n"


def blocks() -> list[str]:
    """The four blocks of commands: SQLite's backup and restore, PostgreSQL's backup and restore."""
    section = PAGE.split("## Backup and restore\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def drill(script: str, directory: Path, *paths: Path, **environ: str) -> str:
    """Run a block as a shell would, with `/backup` in this directory and without the service manager and the doctor."""
    script = re.sub(r"^(systemctl|keyrelay doctor).*\n", "", script, flags=re.MULTILINE)
    script = script.replace("/backup", str(directory / "backup")).replace(
        "keyrelay db ", f"{sys.executable} -m keyrelay db "
    )
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=directory,
        env={"PATH": os.pathsep.join([*map(str, paths), "/usr/bin", "/bin"]), "HOME": str(directory), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def _fill(database: Database, count: int) -> Standing:
    await ensure_file(database)
    await migrate(database)
    await database.write(list(store_rows.lines(count, from_s=FROM_S, to_s=FROM_S + 600)))
    standing = await standing_of(database)
    await database.close()
    return standing


async def _standing(database: Database) -> Standing:
    standing = await standing_of(database)
    await database.close()
    return standing


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="the drill needs the sqlite3 program (Debian: sqlite3)")
def test_an_sqlite_file_is_saved_and_restored(tmp_path: Path) -> None:
    saving, restoring = blocks()[:2]
    assert DATA_LINE in saving
    data = tmp_path / "data"
    here = f"data={data}\n"
    (tmp_path / "backup").mkdir()
    asyncio.run(_fill(open_database("", data), 300))
    for name in ("clients.json", "files.key"):
        (data / name).write_text("{}")
    open_meanwhile = open_database("", data)
    asyncio.run(open_meanwhile.write(list(store_rows.lines(50, from_s=FROM_S + 900, to_s=FROM_S + 950))))
    assert (data / "keyrelay.db-wal").stat().st_size > 0
    assert drill(saving.replace(DATA_LINE, here), tmp_path) == "ok\n"
    asyncio.run(open_meanwhile.write(list(store_rows.lines(70, from_s=FROM_S + 990, to_s=FROM_S + 999))))
    asyncio.run(open_meanwhile.close())
    for name in ("clients.json", "files.key"):
        (data / name).unlink()
    shown = drill(here + restoring, tmp_path, KEYRELAY_DATA_DIR=str(data))
    assert "current" in shown
    assert asyncio.run(_standing(open_database("", data))).counted == 350
    assert (data / "clients.json").exists()
    assert (data / "files.key").exists()
    kept = [path for part in (data, tmp_path / "backup") for path in part.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}, "the doctor fails files that others may read"


def test_a_postgres_database_is_saved_and_restored(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    saving, restoring = blocks()[2:]
    binaries = postgres_binaries("wheel")
    assert binaries is not None
    (tmp_path / "backup").mkdir()
    before = asyncio.run(_fill(open_database(postgres_url, tmp_path), 300))
    drill(saving, tmp_path, binaries, DATABASE_URL=postgres_url)
    restored = postgres_server.url("keyrelay_restored")
    there = "postgresql://keyrelay@db.example/keyrelay_restored"
    assert restoring.count(there) == 2
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres_server.port), "PGUSER": "keyrelay"}
    shown = drill(restoring.replace(there, restored), tmp_path, binaries, **place)
    assert "current" in shown
    after = asyncio.run(_standing(open_database(restored, tmp_path)))
    assert (after.counted, after.oldest_ms, after.newest_ms) == (300, before.oldest_ms, before.newest_ms)
    postgres_server.drop_database(restored)
