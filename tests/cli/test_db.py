import asyncio
import time

import store_rows
from keyrelay.storage.database import open_database
from keyrelay.storage.schema import VERSIONS
from tests.cli.helpers import Keyrelay
from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module

DATA = {"KEYRELAY_DATA_DIR": "data"}
LATEST = VERSIONS[-1]


async def write(keyrelay: Keyrelay, url: str, count: int, age_days: float) -> None:
    database = open_database(url, keyrelay.directory / "data")
    began_s = time.time() - age_days * 86_400
    await database.write(list(store_rows.lines(count, from_s=began_s, to_s=began_s + 60)))
    await database.close()


def test_a_database_is_prepared_looked_at_and_cleaned_up(keyrelay: Keyrelay) -> None:
    empty = keyrelay("db", "status", "--json", **DATA).document
    assert (empty["state"], empty["version"], empty["wanted"], empty["counted"]) == ("empty", "", LATEST, 0)
    assert not (keyrelay.directory / "data" / "keyrelay.db").exists()

    assert keyrelay("db", "migrate", **DATA).err.endswith(f": version none → {LATEST}\n")
    assert keyrelay("db", "migrate", **DATA).err.endswith(f": version {LATEST}, nothing to do\n")

    asyncio.run(write(keyrelay, "", 300, age_days=100))
    asyncio.run(write(keyrelay, "", 20, age_days=1))
    shown = keyrelay("db", "status", **DATA).out
    assert "requests counted  320" in shown
    assert f"current, version {LATEST}, wanted {LATEST}" in shown

    assert keyrelay("db", "purge", **DATA).err.startswith("deleted: 300 requests, ")
    assert keyrelay("db", "purge", "--requests-days", "0", **DATA).err.startswith("deleted: 20 requests, 0 sums")


def test_a_postgres_is_prepared_looked_at_and_cleaned_up(keyrelay: Keyrelay, postgres_url: str) -> None:
    environ = {"DATABASE_URL": postgres_url}
    assert keyrelay("db", "migrate", **environ).err.endswith(f": version none → {LATEST}\n")
    asyncio.run(write(keyrelay, postgres_url, 300, age_days=100))
    asyncio.run(write(keyrelay, postgres_url, 20, age_days=1))
    assert keyrelay("db", "purge", **environ).err.startswith("deleted: 300 requests, ")
    standing = keyrelay("db", "status", "--json", **environ).document
    assert (standing["state"], standing["counted"]) == ("current", 320)
    assert standing["newest_ms"] - standing["oldest_ms"] < 60_000


def test_what_the_database_refuses_is_said_without_its_password(keyrelay: Keyrelay) -> None:
    ended = keyrelay("db", "migrate", DATABASE_URL="postgresql://user:sk-test-password@127.0.0.1:1/usage")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "keyrelay: the database 127.0.0.1:1/usage cannot be reached\n"
