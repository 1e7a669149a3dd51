"""Old lines of the log of changes, guesses and sessions go by themselves; one suite for both databases."""

import pytest
import sqlalchemy as sa

from keyrelay.administration import lockouts
from keyrelay.core.ids import request_id
from keyrelay.ports import AuditEntry, Session
from keyrelay.storage import retention as module
from keyrelay.storage.database import Database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.retention import DAY_S, GUESSES_KEPT_S, Purged, Retention, purge
from keyrelay.storage.schema import GUESSES
from keyrelay.storage.session_store import SqlSessionStore

NOW_S = 1_800_000_000.5
FOR_EVER = Retention(requests_days=90, minutes_days=14, hours_days=400)
A_YEAR = Retention(requests_days=90, minutes_days=14, hours_days=400, audit_days=365)


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 3)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


def line(number: int, days_ago: float) -> AuditEntry:
    at_ms = int((NOW_S - days_ago * DAY_S) * 1000)
    return AuditEntry(id=request_id(at_ms, number), at_ms=at_ms, actor="user:alice", action=f"change {number}")


async def test_the_log_of_changes_is_kept_as_long_as_is_said(database: Database) -> None:
    store = SqlEntryStore(database)
    await store.note([line(number, 365.01) for number in range(7)])
    await store.note([line(number, 364.99) for number in range(10, 12)])
    assert await purge(database, FOR_EVER, NOW_S) == Purged()
    assert await purge(database, A_YEAR, NOW_S) == Purged(audit=7)
    assert [each.action for each in await store.audit()] == ["change 11", "change 10"]
    assert await purge(database, A_YEAR, NOW_S) == Purged()


async def test_guesses_go_when_their_pause_has_long_ended_and_sessions_when_they_have(database: Database) -> None:
    sessions, none = SqlSessionStore(database), lambda wrong, last_s: 0.0
    for number in range(8):
        late = number in {2, 5}
        await sessions.guess({f"name:{number}": none}, NOW_S - GUESSES_KEPT_S + (1 if late else -1))
    for number, left_s in enumerate((-5.0, 5.0)):
        digest, since_s = bytes([number]) * 32, NOW_S - DAY_S
        session = Session(
            digest=digest, user="alice", created_s=since_s, seen_s=since_s, expires_s=NOW_S + left_s, address=""
        )
        await sessions.add(session)
    assert await purge(database, FOR_EVER, NOW_S) == Purged(guesses=6, sessions=1)
    names = await database.read(lambda connection: connection.execute(sa.select(GUESSES.c.name)).scalars().all())
    assert sorted(names) == ["name:2", "name:5"]
    assert [each.expires_s for each in await sessions.of_user("alice")] == [NOW_S + 5.0]


def test_no_guess_is_forgotten_while_it_counts() -> None:
    rules = (lockouts.NAME_AND_ADDRESS, lockouts.ADDRESS, lockouts.NAME)
    assert max(rule.longest_s for rule in rules) < lockouts.FORGOTTEN_S <= GUESSES_KEPT_S
