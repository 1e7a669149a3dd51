"""One suite for both databases: the vault's key ring is there once, whoever writes it."""

import asyncio
from pathlib import Path

import pytest

from keyrelay.core.errors import StoreError
from keyrelay.core.ids import request_id
from keyrelay.core.secrets import Secret
from keyrelay.ports import AuditEntry, StoredRing
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.ring_store import SqlRingStore
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.master_key_source import MasterKeySource

NOW_S = 1_800_000_000.0


@pytest.fixture
def store(database: Database) -> SqlRingStore:
    return SqlRingStore(database, lambda: NOW_S)


async def test_a_ring_is_made_once(store: SqlRingStore) -> None:
    assert await store.read_ring() is None
    assert not await store.write_ring(b"early", replaces=1)
    assert await store.write_ring(b"first", replaces=0)
    assert not await store.write_ring(b"second", replaces=0)
    assert await store.read_ring() == StoredRing(1, b"first")


async def test_a_ring_is_replaced_by_who_knows_it(store: SqlRingStore) -> None:
    await store.write_ring(b"first", replaces=0)
    assert await store.write_ring(b"second", replaces=1)
    assert not await store.write_ring(b"late", replaces=1)
    assert not await store.write_ring(b"early", replaces=3)
    assert await store.read_ring() == StoredRing(2, b"second")
    assert repr(store).startswith("<SqlRingStore in <")


async def test_a_ring_and_what_the_log_says_of_it_are_there_together(store: SqlRingStore, database: Database) -> None:
    lines = [AuditEntry(id=request_id(at, at), at_ms=at, actor="local", action="rotate term") for at in (1, 2, 3)]
    assert await store.write_ring(b"first", replaces=0, audit=lines[:1])
    assert not await store.write_ring(b"late", replaces=7, audit=lines[1:2])
    with pytest.raises(StoreError):
        await store.write_ring(b"twice", replaces=1, audit=[lines[2], lines[0]])
    assert await store.read_ring() == StoredRing(1, b"first")
    assert await SqlEntryStore(database).audit() == (lines[0],)


async def test_of_many_who_write_at_once_one_does(store: SqlRingStore) -> None:
    for generation in range(3):
        values = [b"%d" % number for number in range(6)]
        done = await asyncio.gather(*(store.write_ring(value, replaces=generation) for value in values))
        assert done.count(True) == 1
        assert await store.read_ring() == StoredRing(generation + 1, values[done.index(True)])


async def test_workers_that_start_at_once_on_an_empty_database_end_with_one_ring(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each with connections of its own, as processes have them, and the same data directory."""
    url = "" if database.name == "sqlite" else request.getfixturevalue("postgres_url")
    databases = [open_database(url, tmp_path) for _ in range(4)]
    try:
        keepers = [
            RingKeeper(SqlRingStore(each, lambda: NOW_S), MasterKeySource(Secret(""), tmp_path / "master.key"), _now)
            for each in databases
        ]
        vaults = await asyncio.gather(*(keeper.open() for keeper in keepers))
        place = {"table": "entries", "row": "key/1", "column": "secret"}
        sealed = vaults[0].seal(b"sk-test-1", **place)
        assert {vault.open(sealed, **place) for vault in vaults} == {b"sk-test-1"}
        kept = await SqlRingStore(database, _now).read_ring()
        assert kept is not None
        assert kept.generation == 1
    finally:
        for each in databases:
            await each.close()


def _now() -> float:
    return NOW_S
