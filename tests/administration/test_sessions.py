"""Signing in, as far as it does not show over HTTP: there everybody comes from one address."""

import time
from pathlib import Path

import pytest

from keyrelay.administration.lockouts import NAME, counts_of
from keyrelay.administration.passwords import Passwords
from keyrelay.administration.people import adding_person
from keyrelay.administration.sessions import Sessions
from keyrelay.core.administered import UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.storage.database import open_database
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.session_store import SqlSessionStore
from tests.administration.test_service import ALICE, Clock, Process

PASSWORD = "correct horse battery staple"
HOME, AWAY = "192.0.2.7", "198.51.100.9"


async def test_many_strangers_do_not_keep_somebody_out_where_they_have_signed_in_before(tmp_path: Path) -> None:
    database, passwords = open_database("", tmp_path), Passwords()
    await ensure_schema(database)
    administration, store = Process(database, tmp_path).administration, SqlSessionStore(database)
    user = UserEntry(name="alice", role="administrator", password=await passwords.hash(PASSWORD))
    await administration.change(adding_person(user), ALICE, "add person")
    sessions = Sessions(store, administration, passwords, Clock())
    await sessions.sign_in("alice", PASSWORD, HOME)
    everywhere = next(name for name, rule in counts_of("alice", AWAY).items() if rule is NAME)
    for _ in range(NAME.free + 10):
        await store.guess({everywhere: lambda *_: 0.0}, time.time())
    with pytest.raises(CallerError) as refused:
        await sessions.sign_in("alice", PASSWORD, AWAY)
    assert refused.value.code == "locked_out"
    _, signed_in = await sessions.sign_in("alice", PASSWORD, HOME)
    assert signed_in.user == user
    for _ in range(5):
        with pytest.raises(CallerError) as refused:
            await sessions.sign_in("alice", "wrong", HOME)
        assert refused.value.code == "sign_in"
    with pytest.raises(CallerError) as refused:
        await sessions.sign_in("alice", PASSWORD, HOME)
    assert refused.value.code == "locked_out"
    passwords.close()
    await database.close()
