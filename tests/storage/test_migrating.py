"""Making and migrating the tables: whole or not at all, once, and never by a gateway that should not."""

import asyncio
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from keyrelay.core.errors import StoreError
from keyrelay.core.records import Attempt
from keyrelay.core.stored_requests import StoredRequest, came_ms
from keyrelay.storage import migrations
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.migrating import _migrate_apart, ensure_file, ensure_schema
from keyrelay.storage.migrations.running import migrate
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.schema import ATTEMPTS, METADATA, REQUESTS, TEXTS, VERSION_TABLE, VERSIONS
from keyrelay.storage.standing import standing_of
from keyrelay.storage.versions import SchemaState, state_of, version_of
from tests.storage.usage_rows import a_record

_Result = TypeVar("_Result")


async def set_version(database: Database, version: str) -> None:
    statement = sa.text(f"UPDATE {VERSION_TABLE} SET version_num = :version")
    await database.change(lambda connection: connection.execute(statement, {"version": version}).close())


def differences(connection: sa.Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return list(compare_metadata(context, METADATA))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_steps_lead_to_the_tables_that_the_code_works_with(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = open_database(request.getfixturevalue("postgres_url") if kind == "postgresql" else "", tmp_path)
    await ensure_file(database)
    assert await migrate(database) == ("", VERSIONS[-1])
    assert await database.read(differences) == []
    if database.file is not None:
        made = sa.text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND sql LIKE '%WITHOUT ROWID%'")
        without_rowid = await database.read(lambda connection: connection.execute(made).scalar())
        assert without_rowid == len(METADATA.tables) - len({TEXTS})
    await database.close()


async def test_tables_made_at_once_are_those_of_the_steps(tmp_path: Path) -> None:
    database = open_database("", tmp_path)
    await ensure_schema(database)
    assert await database.read(differences) == []
    assert await migrate(database) == (VERSIONS[-1], VERSIONS[-1])
    await database.close()


def test_the_versions_are_those_of_the_steps() -> None:
    assert migrations.__file__ is not None
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    steps = [each.revision for each in script.walk_revisions()]
    assert tuple(reversed(steps)) == VERSIONS
    assert script.get_current_head() == VERSIONS[-1]


@pytest.mark.parametrize(
    ("version", "state"),
    [("", SchemaState.EMPTY), (VERSIONS[-1], SchemaState.CURRENT), ("9999", SchemaState.NEWER)],
)
def test_what_a_version_means(version: str, state: SchemaState) -> None:
    assert state_of(version) is state


def test_a_gateway_makes_its_file_for_its_owner_alone_and_never_loads_alembic(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from keyrelay.storage.database import open_database\n"
        "from keyrelay.storage.migrating import ensure_schema\n"
        "async def main():\n"
        "    database = open_database('', Path(sys.argv[1]))\n"
        "    await ensure_schema(database); await ensure_schema(database); await database.close()\n"
        "asyncio.run(main())\n"
        "print([name for name in ('alembic', 'sqlalchemy.orm', 'asyncpg') if name in sys.modules])\n"
    )
    directory = tmp_path / "new" / "data"
    command = [sys.executable, "-c", script, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert stat.S_IMODE((directory / "keyrelay.db").stat().st_mode) == 0o600
    assert asyncio.run(_with_database("", directory, _tables)) == sorted([*METADATA.tables, VERSION_TABLE])


async def test_two_gateways_that_start_at_once_agree(tmp_path: Path) -> None:
    databases = [open_database("", tmp_path) for _ in range(2)]
    await asyncio.gather(*map(ensure_schema, databases))
    for database in databases:
        assert await database.read(version_of) == VERSIONS[-1]
        await database.close()


async def test_two_who_migrate_a_postgres_at_once_take_turns(postgres_url: str, tmp_path: Path) -> None:
    databases = [open_database(postgres_url, tmp_path) for _ in range(3)]
    done = await asyncio.gather(*map(migrate, databases))
    present = VERSIONS[-1]
    assert sorted(done) == [("", present), (present, present), (present, present)]
    for database in databases:
        await database.close()


async def test_a_gateway_leaves_a_postgres_to_a_person(postgres_url: str, tmp_path: Path) -> None:
    database = open_database(postgres_url, tmp_path)
    with pytest.raises(StoreError, match="no tables yet: run `keyrelay db migrate`") as caught:
        await ensure_schema(database)
    assert caught.value.lasting
    await migrate(database)
    await ensure_schema(database)
    await database.close()


async def test_tables_of_a_newer_keyrelay_are_left_alone(database: Database) -> None:
    await set_version(database, "9999")
    for work in (ensure_schema(database), migrate(database)):
        with pytest.raises(StoreError, match="newer Keyrelay") as caught:
            await work
        assert caught.value.lasting
    assert (await standing_of(database)).state is SchemaState.NEWER


async def test_what_stops_a_migration_of_its_own_process_is_passed_on(tmp_path: Path) -> None:
    database = open_database("", tmp_path)
    await ensure_file(database)
    await database.change(lambda connection: connection.execute(sa.text("CREATE TABLE requests (id)")).close())
    assert database.file is not None
    with pytest.raises(StoreError, match=r"was not migrated: .*requests") as caught:
        await asyncio.to_thread(_migrate_apart, database.file)
    assert caught.value.lasting
    await database.close()


async def test_a_file_is_migrated_in_a_process_of_its_own(tmp_path: Path) -> None:
    database = open_database("", tmp_path)
    await ensure_file(database)
    assert database.file is not None
    await asyncio.to_thread(_migrate_apart, database.file)
    assert await database.read(version_of) == VERSIONS[-1]
    await database.close()


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = open_database("", tmp_path / "file" / "data")
    with pytest.raises(StoreError, match="cannot be made") as caught:
        await ensure_schema(database)
    assert caught.value.lasting
    await database.close()


def _killed_at(statement: int, migrating: Callable[[], None]) -> bool:
    """Migrate in a process that is killed before its n-th statement; whether it came that far."""
    child = os.fork()
    if not child:
        seen: Iterator[int] = iter(range(10_000))

        def count(*_: object) -> None:
            if next(seen) == statement:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(sa.Engine, "before_cursor_execute", count)
        try:
            migrating()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(("kind", "work"), [("sqlite", migrate), ("sqlite", ensure_schema), ("postgresql", migrate)])
def test_a_migration_killed_at_any_statement_has_done_nothing_and_can_be_repeated(
    kind: str, work: Callable[[Database], Awaitable[object]], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""

    def migrating() -> None:
        asyncio.run(_with_database(url, tmp_path, work))

    asyncio.run(_with_database(url, tmp_path, ensure_file))
    statement = 0
    while _killed_at(statement, migrating):
        assert asyncio.run(_with_database(url, tmp_path, _tables)) == []
        statement += 1
    assert statement > len(METADATA.tables)
    assert asyncio.run(_with_database(url, tmp_path, _tables)) == sorted([*METADATA.tables, VERSION_TABLE])


def _to(version: str, connection: sa.Connection) -> None:
    """Apply the steps up to a version."""
    script = ScriptDirectory(str(Path(migrations.__file__ or "").parent))
    with EnvironmentContext(Config(), script, fn=lambda heads, _: script._upgrade_revs(version, heads)) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE, transactional_ddl=True)
        environment.run_migrations()


OLD = a_record(1_795_219_200_250, random.Random(4), category="", attempts=[Attempt("groq", "work", "gpt-oss", ms=8.5)])


def _keep_as_before(connection: sa.Connection) -> None:
    """Write a request and its call as a Keyrelay of version 0001 has."""
    old, (call,) = OLD, OLD.attempts
    assert old.usage is not None
    same = ("id", "client", "operation", "model_asked", "provider", "key", "model", "status", "category", "stream")
    more = ("cached", "ms", "upstream_ms", "waited_ms", "first_token_ms", "price_version")
    values = {name: getattr(old, name) for name in (*same, *more)}
    values |= {"started_ms": came_ms(old.id), "ended_ms": came_ms(old.id) + int(old.ms), "attempts": 1}
    values |= {"input_tokens": old.usage.input_tokens, "output_tokens": old.usage.output_tokens}
    values |= {"estimated": old.usage.estimated, "cost_nanos": None}
    connection.execute(sa.insert(REQUESTS).values(values))
    attempt = {"request_id": old.id, "ordinal": 0, "sent_ms": came_ms(old.id), "ms": call.ms, "provider": call.provider}
    attempt |= {"key": call.key, "model": call.model, "kind": "", "scope": "", "http_status": 0, "message": ""}
    attempt |= dict.fromkeys(("requests", "input_tokens", "output_tokens", "usd_micros", "units"), 7)
    connection.execute(sa.insert(ATTEMPTS).values(attempt))


async def _prepare_as_before(database: Database) -> None:
    await ensure_file(database)
    await database.change(lambda connection: _to("0001", connection))
    await database.change(_keep_as_before)


async def _look_as_before(database: Database) -> tuple[str, int]:
    counted = sa.select(sa.func.count()).select_from(ATTEMPTS)
    return await database.read(lambda found: (version_of(found), found.execute(counted).scalar_one()))


async def _look(database: Database) -> tuple[StoredRequest | None, StoredRequest | None]:
    new = a_record(came_ms(OLD.id) + 1, random.Random(5), attempts=[], category="")
    await database.write([msgspec.json.encode(new)])
    queries = RequestQueries(PromptReader(database))
    return await queries.find(OLD.id), await queries.find(new.id)


@pytest.mark.parametrize(("kind", "work"), [("sqlite", migrate), ("sqlite", ensure_schema), ("postgresql", migrate)])
def test_what_an_older_keyrelay_has_kept_is_kept_through_a_migration_that_is_killed(
    kind: str, work: Callable[[Database], Awaitable[object]], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    asyncio.run(_with_database(url, tmp_path, _prepare_as_before))

    def migrating() -> None:
        asyncio.run(_with_database(url, tmp_path, work))

    statement = 0
    while work is migrate and _killed_at(statement, migrating):
        assert asyncio.run(_with_database(url, tmp_path, _look_as_before)) == ("0001", 1)
        statement += 1
    assert statement > 2 or work is ensure_schema  # which does it in a process of its own
    migrating()
    assert asyncio.run(_with_database(url, tmp_path, _look_as_before)) == (VERSIONS[-1], 1)
    old, new = asyncio.run(_with_database(url, tmp_path, _look))
    assert old is not None
    assert new is not None
    (call,) = old.calls or ()
    assert (call.key, call.ms, call.requests, call.units) == ("work", 8.5, 7, 7)
    assert (old.client, old.upstream_ms, new.calls) == (OLD.client, OLD.upstream_ms, ())


async def _with_database(url: str, directory: Path, work: Callable[[Database], Awaitable[_Result]]) -> _Result:
    database = open_database(url, directory)
    try:
        return await work(database)
    finally:
        await database.close()


async def _tables(database: Database) -> list[str]:
    return await database.read(lambda connection: sorted(sa.inspect(connection).get_table_names()))
