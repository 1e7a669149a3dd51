"""Commands that read, where no gateway runs: they say what a running one would, from its store, and leave no trace."""

import asyncio
import contextlib
import hashlib
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from keyrelay.cli.main import app
from keyrelay.core.errors import KeyrelayError
from keyrelay.simulator import Scenario
from keyrelay.storage.database import open_database
from keyrelay.storage.versions import make_tables
from tests.cli.helpers import Ended
from tests.e2e.harness import Caller, Process, chat, environment, process, simulated, until
from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module

KEYS = {"groq": ["work=sim-groq-a", "home=sim-groq-b"]}
MODEL = "groq/openai/gpt-oss-20b"
SEALED = "gsk_test_0123456789abcdef0123456789ab"

READING = (
    "keys list",
    "clients list",
    "clients show app",
    "providers list --running --all",
    "providers show groq",
    "routes list",
    "settings list --changed",
    "people list",
    "tokens list",
    "alerts list",
    "alerts rules list",
    "alerts channels list",
    "usage --by key",
    "usage --by hour --from 2h",
    "errors",
    "status",
    "quota",
    "quota lifespan --tokens-per-day 50000",
)
"""Every command that asks a gateway and changes nothing, but `explain`, to which a running one can say more."""

A_DAY = ("requests", 1000)
"""The limit of requests per day that each key has for the model."""

EXPORT = ("usage", "--format", "csv", "--from", "2026-01-01")

OF_THE_MOMENT = frozenset({"from", "to", "source_age_s", "reset_in_s", "reset_at", "rate_per_h", "forecast"})
"""Members that say how late it is."""
OF_THE_PROCESS = frozenset({"last_used_at", "last_success_at", "estimates"})
"""Members that say when a process was told of a batch of requests, or which models it has thought of so far."""


class Place:
    """A directory, and the environment of the gateway and of the commands in it."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self.directory = directory
        self.environ = {**environ, "HOME": str(directory), "KEYRELAY_PORT": str(_free_port())}
        self.data = directory / "data"

    async def run(self, *arguments: str, stdin: str = "") -> Ended:
        """A command in this process, in a thread: starting Python for each would take most of the time."""
        return await asyncio.to_thread(self._run, arguments, stdin)

    def _run(self, arguments: tuple[str, ...], stdin: str) -> Ended:
        before, path = dict(os.environ), Path.cwd()
        os.environ.clear()
        os.environ.update(self.environ)
        os.chdir(self.directory)
        try:
            result = CliRunner().invoke(app, arguments, input=stdin)
        finally:
            os.chdir(path)
            os.environ.clear()
            os.environ.update(before)
        if isinstance(result.exception, KeyrelayError):
            return Ended(2, result.stdout, f"{result.stderr}keyrelay: {result.exception}\n")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[Process]:
        async with process(self.environ, self.directory) as running:
            yield running

    def prints(self) -> dict[str, tuple[str, int]]:
        """Digest and time of change of every file in the data directory, and the directories."""
        return {
            str(path.relative_to(self.data)): (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
                path.stat().st_mtime_ns,
            )
            for path in (self.data, *sorted(self.data.rglob("*")))
        }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def place(directory: Path, **more: str) -> AsyncIterator[Place]:
    async with simulated(Scenario()) as simulator:
        yield Place(directory, environment(simulator, KEYS, KEYRELAY_DATA_DIR="data", **more))


async def ask(gateway: Process, *, times: int = 1) -> str:
    """Send requests; the id of the last one."""
    async with Caller(gateway.port) as caller:
        for _ in range(times):
            reply = await caller.post("/v1/chat/completions", chat(MODEL))
            assert reply.status == 200, reply.body
    return reply.headers["x-request-id"]


ADMINISTERED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("keys", "add", "groq", "--label", "sealed", "--no-validate", "--priority", "7"), SEALED),
    (("keys", "disable", "groq/home"), ""),
    (("clients", "new", "app", "--limit", "60 requests per minute", "--tag", "team"), ""),
    (("providers", "add", "far", "https://llm.example.com/v1", "--model", "tiny"), ""),
    (("routes", "set", "quick", MODEL), ""),
    (("settings", "set", "max_wait_s=31"), ""),
    (("people", "add", "ada", "--password-file", "password"), ""),
    (("tokens", "new", "ci"), ""),
    (("alerts", "rules", "edit", "quota", "--disable"), ""),
    (("alerts", "channels", "add", "ops", "slack"), "https://hooks.example.com/test-path"),
)
"""Something of every kind that is administered, with what is typed in."""


async def fill(at: Place, gateway: Process) -> str:
    """Administer something of every kind, then have requests answered; the id of the last one."""
    (at.directory / "password").write_text("a-long-test-password")
    for command, stdin in ADMINISTERED:
        done = await at.run(*command, stdin=stdin)
        assert done.code == 0, (command, done)
    request_id = await ask(gateway, times=3)
    await until(lambda: rows_in(at.data) == 3, "the requests are in the store")
    return request_id


async def make_store(url: str, data: Path) -> None:
    database = open_database(url, data)
    await database.change(make_tables)
    await database.close()


def rows_in(data: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{data}/keyrelay.db?mode=ro", uri=True)) as connection:
        rows: int = connection.execute("SELECT count(*) FROM requests").fetchone()[0]
        return rows


def without(value: Any, names: frozenset[str]) -> Any:
    """A document without the members of these names, at any depth."""
    if isinstance(value, dict):
        return {name: without(each, names) for name, each in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value


def same(online: Ended, offline: Ended) -> bool:
    names = OF_THE_MOMENT | OF_THE_PROCESS
    return bool(without(online.document, names) == without(offline.document, names))


async def test_every_reading_command_says_what_a_running_gateway_said_and_leaves_no_trace(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        async with at.gateway() as gateway:
            request_id = await fill(at, gateway)
            online = {command: await at.run(*command.split(), "--json") for command in READING}
            table, export = await at.run("keys", "list"), await at.run(*EXPORT)
            assert await gateway.stop() == 0
        before = at.prints()
        for command, answer in online.items():
            offline = await at.run(*command.split(), "--json")
            assert answer.document["schema_version"] == 1, answer
            if command == "status":
                assert (offline.code, offline.document.pop("running"), answer.code) == (5, False, 0)
                answered = {**offline.document, "running": None, "as_of": None}
                assert without(answered, frozenset({"running", "as_of"})) == answer.document
                continue
            assert (offline.code, answer.code) == (0, 0), offline
            assert same(answer, offline), (command, answer.out, offline.out)
            assert offline.err.startswith(
                f"keyrelay: no gateway answers at http://127.0.0.1:{at.environ['KEYRELAY_PORT']}: what follows is what "
                "its store says, as of 20"
            )
            assert "journal" not in offline.err
        assert (await at.run("keys", "list")).out == table.out
        assert (await at.run(*EXPORT)).out == export.out
        explained = await at.run("explain", request_id, "--json")
        assert (explained.code, explained.document["request_id"]) == (0, request_id)
        status = await at.run("status")
        assert status.out.startswith("not running; as of 20")
        assert at.prints() == before


async def test_what_is_not_there_is_refused_as_it_is_by_a_gateway(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        nothing = await at.run("keys", "list")
        assert (nothing.code, nothing.out) == (5, "")
        assert f"There is no store in {at.data}. Start one with `keyrelay up`" in nothing.err
        assert not at.data.exists()
        at.data.mkdir()
        (at.data / "keyrelay.db").touch()
        empty = await at.run("keys", "list")
        assert (empty.code, empty.out) == (1, "")
        assert "has no tables yet" in empty.err
        assert [each.name for each in at.data.iterdir()] == ["keyrelay.db"]
        await make_store("", at.data)
        before = at.prints()
        missing = await at.run("clients", "show", "nobody")
        assert (missing.code, missing.out) == (1, "")
        assert "no client 'nobody'" in missing.err
        for changing in ("keys disable groq/work", "settings set max_wait_s=3", "alerts rules edit quota --disable"):
            refused = await at.run(*changing.split())
            assert (refused.code, refused.out) == (5, "")
            assert "Start one with `keyrelay up`" in refused.err
        elsewhere = await at.run("keys", "list", "--url", f"http://127.0.0.1:{at.environ['KEYRELAY_PORT']}")
        assert (elsewhere.code, elsewhere.out) == (5, "")
        assert at.prints() == before


async def test_rows_that_a_killed_gateway_left_in_its_journal_are_told_and_count(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        async with at.gateway() as gateway:
            await ask(gateway)
            await until(lambda: rows_in(at.data) == 1, "the request is in the store")
            with contextlib.closing(sqlite3.connect(at.data / "keyrelay.db", isolation_level=None)) as locked:
                locked.execute("BEGIN IMMEDIATE")
                await ask(gateway, times=2)
                gateway.process.kill()
                await gateway.ended()
                (at.data / "master.key").unlink(missing_ok=True)
                before = at.prints()
                began_at = time.monotonic()
                usage, quota = await at.run("usage", "--json"), await at.run("quota", "--model", MODEL[5:], "--json")
                assert time.monotonic() - began_at < 5.0
                assert at.prints() == before
        assert "; its journal holds 2 rows that the store does not have yet." in usage.err
        assert usage.document["totals"]["requests"] == 1
        per_day = [each["used"] for each in quota.document["counts"] if (each["unit"], each["amount"]) == A_DAY]
        assert sum(per_day) == 3, quota.document["counts"]


async def test_of_a_store_elsewhere_nothing_is_changed_either(tmp_path: Path, postgres_url: str) -> None:
    async with place(tmp_path, DATABASE_URL=postgres_url) as at:
        await make_store(postgres_url, at.data)
        async with at.gateway() as gateway:
            for given, stdin in ADMINISTERED[:3]:
                assert (await at.run(*given, stdin=stdin)).code == 0
            listed = ("keys list", "clients list", "alerts rules list")
            online = {command: await at.run(*command.split(), "--json") for command in listed}
            await gateway.stop()
        for command, answer in online.items():
            offline = await at.run(*command.split(), "--json")
            assert same(answer, offline), (command, offline)
            assert "what its store says" in offline.err
        at.environ["DATABASE_URL"] = "postgresql://127.0.0.1:1/nothing"
        gone = await at.run("keys", "list")
        assert (gone.code, gone.out) == (1, "")
        assert "its store cannot be read" in gone.err
