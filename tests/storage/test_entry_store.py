"""One suite for both databases."""

import asyncio

import pytest

from keyrelay.core.errors import RevisionError
from keyrelay.core.ids import request_id
from keyrelay.ports import AuditEntry, EntryChanges, StoredEntry
from keyrelay.storage.database import Database
from keyrelay.storage.entry_store import SqlEntryStore

KEY = StoredEntry("key", "groq/work", b'{"provider":"groq"}', b"\x00sealed\xff")
ROUTE = StoredEntry("route", "fast", b"{}")


@pytest.fixture
def store(database: Database) -> SqlEntryStore:
    return SqlEntryStore(database)


def audit_of(number: int) -> AuditEntry:
    return AuditEntry(
        id=request_id(1_800_000_000_000 + number, number),
        at_ms=1_800_000_000_000 + number,
        actor="user:alice",
        action="add key",
        kind="key",
        entry="groq/work",
        after=b"{}",
        address="127.0.0.1",
    )


async def test_a_change_is_kept_with_its_line_and_raises_the_revision(store: SqlEntryStore) -> None:
    assert await store.revision() == 0
    assert await store.read() == (0, ())
    assert await store.commit(0, EntryChanges(put=(KEY, ROUTE), audit=(audit_of(1),))) == 1
    revision, entries = await store.read()
    assert (revision, set(entries)) == (1, {KEY, ROUTE})
    other = StoredEntry("key", "groq/work", b"{}", b"")
    assert await store.commit(1, EntryChanges(put=(other,), delete=(("route", "fast"),))) == 2
    assert await store.read() == (2, (other,))
    assert await store.audit() == (audit_of(1),)


async def test_who_has_read_an_older_revision_changes_nothing(store: SqlEntryStore) -> None:
    await store.commit(0, EntryChanges(put=(KEY,)))
    for expected in (0, 2):
        with pytest.raises(RevisionError):
            await store.commit(expected, EntryChanges(delete=(("key", "groq/work"),), audit=(audit_of(1),)))
    assert await store.read() == (1, (KEY,))
    assert await store.audit() == ()


async def test_of_many_who_change_at_once_one_is_first(store: SqlEntryStore) -> None:
    changes = [EntryChanges(put=(StoredEntry("route", f"r{number}", b"{}"),)) for number in range(8)]
    outcomes = await asyncio.gather(*(store.commit(0, change) for change in changes), return_exceptions=True)
    assert sum(isinstance(outcome, RevisionError) for outcome in outcomes) == 7
    assert outcomes.count(1) == 1
    revision, entries = await store.read()
    assert (revision, len(entries)) == (1, 1)


async def test_the_log_is_read_in_pages_from_the_newest_on(store: SqlEntryStore) -> None:
    await store.note([audit_of(number) for number in range(5)])
    first = await store.audit(limit=2)
    assert [line.id for line in first] == [audit_of(4).id, audit_of(3).id]
    assert await store.audit(before=first[-1].id, limit=10) == (audit_of(2), audit_of(1), audit_of(0))
    assert await store.revision() == 0
