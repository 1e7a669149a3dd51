"""Bringing the tables to the present version, in one transaction under a lock: all of it or nothing.

Who is killed in the middle has changed nothing, and of two who begin at once the second finds it done. A gateway with
an SQLite file does it by itself, at its start, in a process of its own, so that alembic never costs it memory. A
PostgreSQL may be shared with gateways of another version, so there a person decides.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from keyrelay.core.errors import StoreError
from keyrelay.storage.database import Database
from keyrelay.storage.versions import SchemaState, make_tables, state_of, version_of

_TIMEOUT_S = 300.0
_LINES_SHOWN = 3


async def ensure_schema(database: Database) -> None:
    """See to it that the tables are of the present version. Raise StoreError, mostly a lasting one, when they are not.

    For SQLite this makes the file and its directory, or migrates it.
    """
    await ensure_file(database)
    state = state_of(await database.read(version_of))
    if state is SchemaState.CURRENT:
        return
    if state is SchemaState.NEWER:
        raise _too_new(database)
    if database.file is None:
        words = "has no tables yet" if state is SchemaState.EMPTY else "has tables of an older Keyrelay"
        raise StoreError(f"the database {database.place} {words}: run `keyrelay db migrate`", lasting=True)
    if state is SchemaState.EMPTY:
        await database.change(make_tables)
    else:
        await asyncio.to_thread(_migrate_apart, database.file)


async def ensure_file(database: Database) -> None:
    """Make SQLite's file and its directory where they are missing. Raise StoreError when that cannot be."""
    if database.file is not None:
        await asyncio.to_thread(_make_file, database.file)


def _too_new(database: Database) -> StoreError:
    return StoreError(
        f"the database {database.place} has tables of a newer Keyrelay: install that version, or restore a backup",
        lasting=True,
    )


def _make_file(path: Path) -> None:
    """Make an empty file that only its owner can read; what SQLite puts beside it gets the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"the database {path} cannot be made: {error.strerror}", lasting=True) from error


def _migrate_apart(path: Path) -> None:
    """Migrate in a process of its own."""
    command = [sys.executable, "-P", "-m", "keyrelay.storage.migrations", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 - ourselves
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"the database {path} was not migrated within {_TIMEOUT_S:g} s") from error
    if done.returncode:
        words = "; ".join(done.stderr.strip().splitlines()[-_LINES_SHOWN:])
        raise StoreError(f"the database {path} was not migrated: {words}", lasting=True)
