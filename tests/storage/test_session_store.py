"""One suite for both databases."""

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from keyrelay.ports import Session
from keyrelay.storage.database import Database
from keyrelay.storage.schema import GUESSES
from keyrelay.storage.session_store import FORGOTTEN_S, SqlSessionStore

NOW_S = 1_800_000_000.5


@pytest.fixture
def store(database: Database) -> SqlSessionStore:
    return SqlSessionStore(database)


def session(number: int, user: str = "alice", *, created_s: float = NOW_S) -> Session:
    return Session(
        digest=bytes([number]) * 32, user=user, created_s=created_s, seen_s=created_s, expires_s=created_s + 100.0
    )


async def test_a_session_is_found_until_it_is_removed(store: SqlSessionStore) -> None:
    await store.add(session(1))
    assert await store.find(b"\x01" * 32) == session(1)
    assert await store.find(b"\x02" * 32) is None
    await store.seen(b"\x01" * 32, NOW_S + 5)
    found = await store.find(b"\x01" * 32)
    assert found is not None
    assert found.seen_s == NOW_S + 5
    assert await store.remove(digest=b"\x01" * 32) == 1
    assert await store.find(b"\x01" * 32) is None


async def test_all_sessions_of_a_person_can_be_ended_at_once(store: SqlSessionStore) -> None:
    for each in (session(1), session(2), session(3, "bob")):
        await store.add(each)
    assert len(await store.of_user("alice")) == 2
    assert await store.remove(user="alice") == 2
    assert await store.of_user("alice") == ()
    assert await store.of_user("bob") == (session(3, "bob"),)


async def test_those_that_have_expired_are_forgotten_when_another_one_comes(store: SqlSessionStore) -> None:
    await store.add(session(1, created_s=NOW_S - 100))
    await store.add(session(2))
    assert await store.of_user("alice") == (session(2),)


async def test_guesses_are_counted_until_one_has_to_wait(store: SqlSessionStore) -> None:
    counts = {"n": lambda wrong, last_s: last_s + 10 if wrong >= 2 else 0.0}
    assert [await store.guess(counts, NOW_S) for _ in range(2)] == [0.0, 0.0]
    assert await store.guess(counts, NOW_S + 1) == NOW_S + 10
    assert await store.guess(counts, NOW_S + 10) == 0.0
    await store.forgive(["n"])
    assert await store.guess(counts, NOW_S + 10) == 0.0


async def test_of_many_guesses_at_once_no_more_pass_than_one_by_one(store: SqlSessionStore) -> None:
    counts = {name: lambda wrong, last_s: last_s + 10 if wrong >= 3 else 0.0 for name in ("a", "b")}
    outcomes = await asyncio.gather(*(store.guess(counts, NOW_S) for _ in range(12)))
    assert outcomes.count(0.0) == 3


async def test_old_guesses_are_forgotten_when_somebody_signs_in(store: SqlSessionStore, database: Database) -> None:
    await store.guess({"old": lambda *_: 0.0}, NOW_S - FORGOTTEN_S)
    await store.guess({"new": lambda *_: 0.0}, NOW_S)
    await store.add(session(1))
    names = sa.select(GUESSES.c.name)
    assert await database.read(lambda connection: connection.execute(names).scalars().all()) == ["new"]


async def test_guesses_that_have_to_wait_leave_no_new_names(store: SqlSessionStore, database: Database) -> None:
    def counts(name: str) -> dict[str, Callable[[int, float], float]]:
        return {"address": lambda wrong, last_s: last_s + 10 if wrong >= 2 else 0.0, name: lambda *_: 0.0}

    outcomes = [await store.guess(counts(f"name {number}"), NOW_S) for number in range(50)]
    assert outcomes == [0.0] * 2 + [NOW_S + 10] * 48
    names = sa.select(GUESSES.c.name).order_by(GUESSES.c.name)
    found = await database.read(lambda connection: connection.execute(names).scalars().all())
    assert found == ["address", "name 0", "name 1"]
