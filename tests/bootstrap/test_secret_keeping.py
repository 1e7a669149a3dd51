"""Whoever is killed while what seals secrets is changed, begins again, and nothing is lost on the way."""

import inspect
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.administration.entries import COLUMN, TABLE, row_of
from keyrelay.bootstrap import secret_keeping
from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.secret_keeping import SecretKeeping
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration import load_settings
from keyrelay.core.errors import MasterKeyError, RingError, WrongMasterKeyError
from keyrelay.core.ids import request_id
from keyrelay.core.kept_texts import REQUEST
from keyrelay.core.kept_texts import TABLE as TEXTS
from keyrelay.core.secrets import Secret
from keyrelay.ports import EntryChanges, SealedTexts, StoredEntry
from keyrelay.settings import Settings
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.ring_store import SqlRingStore
from keyrelay.storage.sealed_rows import SqlSealedRows
from keyrelay.storage.text_store import SqlTextStore
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.master_key import MasterKey
from keyrelay.vault.master_key_source import MasterKeySource
from keyrelay.vault.ring import RETIRE_AFTER_S

KEYS = {f"groq/{number}": f"gsk_test_{number}".encode() for number in range(7)}
PROMPT = b"what was asked"
NAME = request_id(1, 1)


class Killed(BaseException):
    """Stands for a process that ends in the middle."""


class Store:
    """A store with keys and texts in it, and its settings."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    def keeping(self) -> SecretKeeping:
        return SecretKeeping(self.database, self.settings)

    async def fill(self) -> None:
        vault = await VaultOpener(self.settings, self.database, SystemClock())()
        put = [
            StoredEntry("key", name, b"{}", vault.seal(secret, table=TABLE, row=row_of(("key", name)), column=COLUMN))
            for name, secret in KEYS.items()
        ]
        await SqlEntryStore(self.database).commit(0, EntryChanges(put=tuple(put)))
        reader = PromptReader(self.database)
        sealed = vault.seal(PROMPT, table=TEXTS, row=NAME, column=REQUEST)
        await SqlTextStore(self.database, reader).write_texts(
            [SealedTexts(request_id=NAME, request=sealed, answer=None)]
        )
        await reader.close()

    async def check(self) -> set[int]:
        """All is there for who starts now; the terms under which it is sealed."""
        vault = await VaultOpener(self.settings, self.database, SystemClock())()
        _, stored = await SqlEntryStore(self.database).read()
        opened = {
            each.id: vault.open(each.sealed, table=TABLE, row=row_of(("key", each.id)), column=COLUMN)
            for each in stored
        }
        assert opened == KEYS
        (texts,) = await SqlSealedRows(self.database).texts("", 10)
        assert texts.request is not None
        assert vault.open(texts.request, table=TEXTS, row=NAME, column=REQUEST) == PROMPT
        assert texts.answer is None
        return {int.from_bytes(head[1:], "big") for head in await SqlSealedRows(self.database).heads()}


def settings_in(directory: Path, **environ: str) -> Settings:
    everything = {"HOME": str(directory), "KEYRELAY_DATA_DIR": str(directory / "data"), **environ}
    return load_settings(everything, directory=directory, overrides={})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    settings = settings_in(tmp_path)
    database = open_database("", settings.data_dir)
    await ensure_schema(database)
    made = Store(database, settings)
    await made.fill()
    yield made
    await database.close()


def silent(done: int, total: int) -> None:
    del done, total


def dying(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, after: bool, call: int = 1) -> None:
    """Let a call of a method, before or after it has done its work, be the last thing that is done."""
    real, calls = getattr(owner, name), 0

    def is_last() -> bool:
        nonlocal calls
        calls += 1
        return calls == call

    async def later(*given: Any, **named: Any) -> Any:
        last = is_last()
        if last and not after:
            raise Killed
        result = await real(*given, **named)
        if last:
            raise Killed
        return result

    def now(*given: Any, **named: Any) -> Any:
        last = is_last()
        if last and not after:
            raise Killed
        result = real(*given, **named)
        if last:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, later if inspect.iscoroutinefunction(real) else now)


MASTER_STEPS = [
    (MasterKeySource, "keep_aside", 1),
    (MasterKeySource, "replace", 1),
    (RingKeeper, "change_master_key", 1),
    (MasterKeySource, "replace", 2),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name", "call"), MASTER_STEPS)
async def test_a_master_key_that_is_changed_in_the_middle_of_which_somebody_is_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: int, *, after: bool
) -> None:
    before = await store.keeping().standing()
    dying(monkeypatch, owner, name, after=after, call=call)
    with pytest.raises(Killed):
        await store.keeping().rotate_master_key(None, generate=True)
    monkeypatch.undo()
    await store.check()
    again = await store.keeping().standing()
    if len(again.known) > 1:
        done = await store.keeping().rotate_master_key(None)
        assert done.before == before.master
        aside = MasterKeySource(Secret(""), Path(done.aside.removeprefix("the file "))).find()
        assert aside is not None
        assert aside.mark == before.master
    ended = await store.keeping().standing()
    logged = [each.action for each in await SqlEntryStore(store.database).audit()]
    assert logged == ["rotate master key"] * (ended.master != before.master)
    assert ended.known == (ended.master,)
    assert ended.problem == ""
    await store.check()


TERM_STEPS = [
    (RingKeeper, "add_term", 1),
    (SqlEntryStore, "commit", 1),
    (SqlEntryStore, "commit", 3),
    (SqlSealedRows, "replace", 1),
    (SqlEntryStore, "note", 1),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name", "call"), TERM_STEPS)
async def test_a_term_that_is_changed_in_the_middle_of_which_somebody_is_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: int, *, after: bool
) -> None:
    monkeypatch.setattr(secret_keeping, "ENTRIES_AT_ONCE", 2)
    dying(monkeypatch, owner, name, after=after, call=call)
    with pytest.raises(Killed):
        await store.keeping().rotate_term(silent)
    monkeypatch.undo()
    await store.check()
    done = await store.keeping().rotate_term(silent)
    assert await store.check() == {done.term}
    assert done.term <= 3


async def test_what_is_resealed_is_counted_and_raises_the_revision(store: Store) -> None:
    seen = list[tuple[int, int]]()
    entries = SqlEntryStore(store.database)
    before = await entries.revision()
    done = await store.keeping().rotate_term(lambda count, total: seen.append((count, total)))
    assert (done.term, done.values, done.retired, done.waiting) == (2, 8, (), (1,))
    assert done.retire_at_s == pytest.approx(time.time() + RETIRE_AFTER_S, abs=60)
    assert seen == [(7, 8), (8, 8)]
    assert await entries.revision() == before + 1
    actions = [each.action for each in await entries.audit()]
    assert actions[:3] == ["reseal", "reseal", "rotate term"]


async def test_a_term_is_retired_once_it_is_safe(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.keeping().rotate_term(silent)
    later = time.time() + RETIRE_AFTER_S + 1
    monkeypatch.setattr(SystemClock, "epoch_s", lambda _: later)
    done = await store.keeping().reseal(silent)
    assert (done.values, done.retired, done.waiting) == (0, (1,), ())
    assert await store.check() == {2}
    assert [term.number for term in (await store.keeping().standing()).terms] == [2]
    assert (await SqlEntryStore(store.database).audit())[0].action == "retire term"


async def test_what_others_change_meanwhile_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, entries = SqlEntryStore.commit, SqlEntryStore(store.database)

    async def hurried(self: SqlEntryStore, expected: int, changes: EntryChanges) -> int:
        monkeypatch.setattr(SqlEntryStore, "commit", real)
        await entries.commit(expected, EntryChanges(put=(StoredEntry("route", "fast", b"{}"),)))
        return await real(self, expected, changes)

    monkeypatch.setattr(SqlEntryStore, "commit", hurried)
    assert (await store.keeping().rotate_term(silent)).values == 8
    _, stored = await entries.read()
    assert any(each.kind == "route" for each in stored)


async def test_a_given_key_takes_the_place_of_the_one_there(store: Store, tmp_path: Path) -> None:
    new = MasterKey.new()
    done = await store.keeping().rotate_master_key(Secret(new.reveal()))
    assert (done.after, done.place) == (new.mark, f"the file {tmp_path / 'data' / 'master.key'}")
    with pytest.raises(MasterKeyError, match="already"):
        await store.keeping().rotate_master_key(Secret(new.reveal()))
    with pytest.raises(MasterKeyError, match="no new master key"):
        await store.keeping().rotate_master_key(None)


async def test_a_change_that_was_begun_is_ended_before_another_one(store: Store) -> None:
    keeping = store.keeping()
    source = MasterKeySource(Secret(""), store.settings.data_dir / "master.key")
    source.replace(*source.find_all(), MasterKey.new())
    with pytest.raises(MasterKeyError, match="was begun"):
        await keeping.rotate_master_key(Secret(MasterKey.new().reveal()))


async def test_a_key_in_the_environment_is_changed_there(store: Store, tmp_path: Path) -> None:
    old, new = (tmp_path / "data" / "master.key").read_text().strip(), MasterKey.new()
    alone = SecretKeeping(store.database, settings_in(tmp_path, KEYRELAY_MASTER_KEY=old))
    with pytest.raises(MasterKeyError, match="has to hold both keys"):
        await alone.rotate_master_key(Secret(new.reveal()))
    both = settings_in(tmp_path, KEYRELAY_MASTER_KEY=f"{old},{new.reveal()}")
    done = await SecretKeeping(store.database, both).rotate_master_key(None)
    assert (done.after, done.place, done.aside) == (new.mark, "KEYRELAY_MASTER_KEY", "")
    store.settings = settings_in(tmp_path, KEYRELAY_MASTER_KEY=new.reveal())
    await store.check()


async def test_a_wrong_key_changes_nothing_and_the_standing_says_so(store: Store, tmp_path: Path) -> None:
    wrong = settings_in(tmp_path, KEYRELAY_MASTER_KEY=MasterKey.new().reveal())
    keeping = SecretKeeping(store.database, wrong)
    for change in (keeping.rotate_master_key(None, generate=True), keeping.rotate_term(silent)):
        with pytest.raises(WrongMasterKeyError):
            await change
    assert "was made with the master key" in (await keeping.standing()).problem
    await store.check()


async def test_where_nothing_is_sealed_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with secret_keeping.secrets_of_store(settings) as keeping:
        assert (await keeping.standing()).ring == ""
        with pytest.raises(RingError, match="nothing has been sealed"):
            await keeping.reseal(silent)
        assert await SqlRingStore(keeping._rows._database, time.time).read_ring() is None
