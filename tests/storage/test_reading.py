import asyncio
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.storage.database import open_database
from keyrelay.storage.reading import REACH_S, PromptReader
from tests.servers.postgres_server import PostgresServer


def two(connection: sa.Connection) -> int:
    found: int = connection.execute(sa.select(sa.literal(2))).scalar_one()
    return found


async def failed_after_s(reader: PromptReader, words: str) -> float:
    """How long it took to be told no."""
    began_at = time.monotonic()
    with pytest.raises(StoreError, match=words):
        await reader.read(two)
    return time.monotonic() - began_at


async def test_a_frozen_server_is_given_up_soon_by_all_who_ask_and_found_again(
    own_postgres_server: PostgresServer, tmp_path: Path
) -> None:
    database = open_database(own_postgres_server.create_database(), tmp_path)
    reader = PromptReader(database)
    assert await reader.read(two) == 2
    own_postgres_server.freeze()
    try:
        waits_s = await asyncio.gather(*(failed_after_s(reader, "does not answer within 2.5 s") for _ in range(10)))
        assert repr(reader) == f"<PromptReader of {database!r}, asking>"
    finally:
        own_postgres_server.thaw()
    assert all(REACH_S <= wait_s < 3.0 for wait_s in waits_s)
    assert await reader.read(two) == 2
    assert repr(reader) == f"<PromptReader of {database!r}>"
    await reader.close()
    await database.close()


async def test_a_server_that_is_gone_is_said_at_once(own_postgres_server: PostgresServer, tmp_path: Path) -> None:
    database = open_database(own_postgres_server.create_database(), tmp_path)
    reader = PromptReader(database)
    own_postgres_server.kill()
    assert await failed_after_s(reader, "database 127.0.0.1") < 1.0
    await reader.close()
    await database.close()


async def test_it_is_closed_while_it_asks(own_postgres_server: PostgresServer, tmp_path: Path) -> None:
    database = open_database(own_postgres_server.create_database(), tmp_path)
    reader = PromptReader(database)
    assert await reader.read(two) == 2
    own_postgres_server.freeze()
    try:
        asking = asyncio.create_task(failed_after_s(reader, "is being closed"))
        await asyncio.sleep(0.05)
        await reader.close()
        assert await asking < REACH_S
    finally:
        own_postgres_server.thaw()
    await database.close()


async def test_an_error_in_the_question_is_told_to_all_and_forgotten(tmp_path: Path) -> None:
    database = open_database("", tmp_path / "missing")
    reader = PromptReader(database)
    for _ in range(2):
        assert await failed_after_s(reader, "cannot be opened") < 1.0
    await reader.close()
    await database.close()
