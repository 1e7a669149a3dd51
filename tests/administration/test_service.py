"""Changing what is administered: whole or not at all, in this process and in others."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from keyrelay.administration import service
from keyrelay.administration.service import Administration, Author
from keyrelay.configuration import Configuration, load_configuration
from keyrelay.configuration.watching import Changes, Watch
from keyrelay.core.administered import NOTHING, Administered, KeyEntry, ProviderEntry, RouteEntry, TokenEntry
from keyrelay.core.errors import CallerError, SealedValueError, StoreError
from keyrelay.core.secrets import Secret
from keyrelay.ports import EntryChanges, StoredEntry, Vault
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.ring_store import SqlRingStore
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.master_key_source import MasterKeySource

SECRET = Secret("gsk_test_0123456789")
ALICE = Author("user:alice", "127.0.0.1")


class Clock:
    monotonic_s = staticmethod(time.monotonic)
    epoch_s = staticmethod(time.time)


class Process:
    """One process that administers, as far as that goes."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.taken: list[Changes] = []
        self.refused: list[str] = []
        self._directory = directory
        self._database = database
        watch = Watch(self._load(), self._load, take=lambda _, changes: self.taken.append(changes), refuse=self.refuse)
        self.watch = watch
        self.administration = Administration(SqlEntryStore(database), watch, vault=self._vault, clock=Clock())

    def refuse(self, text: str) -> None:
        self.refused.append(text)

    @property
    def keys(self) -> list[str]:
        return [key.id for key in self.watch.configuration.snapshot.keys]

    def _load(self, administered: Administered = NOTHING) -> Configuration:
        environ = {"HOME": str(self._directory)}
        return load_configuration(environ, directory=self._directory, overrides={}, administered=administered)

    async def _vault(self) -> Vault:
        source = MasterKeySource(Secret(""), self._directory / "master.key")
        return await RingKeeper(SqlRingStore(self._database, time.time), source, time.time).open()


Start = Callable[[], Process]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database("", tmp_path)
    await ensure_schema(database)
    yield database
    await database.close()


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Start:
    return lambda: Process(database, tmp_path)


def adding(label: str, secret: Secret = SECRET) -> Callable[[Administered], Administered]:
    return lambda state: state.put(KeyEntry(provider="groq", label=label), secret)


async def test_a_change_is_in_force_here_at_once_and_elsewhere_when_it_is_looked_for(start: Start) -> None:
    here, there = start(), start()
    state = await here.administration.change(adding("work"), ALICE, "add key")
    assert (state.revision, here.keys, here.administration.state) == (1, ["groq/work"], state)
    await there.administration.follow()
    assert (there.keys, there.administration.state) == (["groq/work"], state)
    (taken,) = there.taken
    assert "providers.groq.keys.work" in taken.taken
    await there.administration.follow()
    assert len(there.taken) == 1


async def test_who_was_not_first_changes_what_the_first_has_made(start: Start) -> None:
    here, there = start(), start()
    await there.administration.follow()
    await here.administration.change(adding("one"), ALICE, "add key")
    other = Secret("gsk_test_9876543210")
    state = await there.administration.change(adding("two", other), ALICE, "add key")
    assert (state.revision, there.keys) == (2, ["groq/one", "groq/two"])
    await asyncio.gather(here.administration.follow(), here.administration.follow())
    assert here.keys == there.keys


async def test_what_would_not_be_valid_changes_nothing(start: Start) -> None:
    process = start()
    with pytest.raises(CallerError, match="GROQ_TIER") as refused:
        await process.administration.change(
            lambda state: adding("work")(state).put(ProviderEntry(id="groq", tier="gold")), ALICE, "edit"
        )
    assert refused.value.status == 422
    assert await process.administration.store.read() == (0, ())
    assert await process.administration.store.audit() == ()
    assert process.keys == []


async def test_a_change_that_is_none_is_not_written(start: Start) -> None:
    process = start()
    await process.administration.change(adding("work"), ALICE, "add key")
    await process.administration.change(adding("work"), ALICE, "add key")
    assert await process.administration.store.revision() == 1


async def test_each_change_has_its_line_without_secrets(start: Start) -> None:
    administration = start().administration
    await administration.change(adding("work"), ALICE, "add key")
    token = TokenEntry(name="ci", role="viewer", digest="0123abcd")
    await administration.change(lambda state: state.put(token).without("key", "groq/work"), ALICE, "tidy up")
    await administration.note(ALICE, "sign in")
    signed_in, *tidied, added = await administration.store.audit()
    deleted, token_line = sorted(tidied, key=lambda line: line.kind)
    assert (added.actor, added.address, added.action) == ("user:alice", "127.0.0.1", "add key")
    assert (added.kind, added.entry, added.before) == ("key", "groq/work", b"")
    assert added.after == b'{"provider":"groq","label":"work"}'
    assert (deleted.before, deleted.after) == (added.after, b"")
    assert b"0123abcd" not in token_line.after
    assert "…" in token_line.after.decode()
    assert (signed_in.action, signed_in.kind) == ("sign in", "")


async def test_a_secret_is_sealed_and_stays_when_the_rest_changes(start: Start, tmp_path: Path) -> None:
    here = start()
    await here.administration.change(adding("work"), ALICE, "add key")
    await here.administration.change(
        lambda state: state.put(KeyEntry(provider="groq", label="work", notes="mine")), ALICE, "edit key"
    )
    _, (stored,) = await here.administration.store.read()
    assert b"mine" in stored.document
    there = start()
    await there.administration.follow()
    assert there.administration.state.secrets == {("key", "groq/work"): SECRET}
    grep = await asyncio.create_subprocess_exec("grep", "-r", "--text", "-l", SECRET.reveal(), str(tmp_path))
    assert await grep.wait() == 1  # found in no file


async def test_a_secret_opens_in_no_other_row(start: Start) -> None:
    here = start()
    await here.administration.change(adding("work"), ALICE, "add key")
    _, (stored,) = await here.administration.store.read()
    moved = StoredEntry("key", "groq/home", b'{"provider":"groq","label":"home"}', stored.sealed)
    await here.administration.store.commit(1, EntryChanges(put=(moved,)))
    with pytest.raises(SealedValueError):
        await start().administration.follow()


@pytest.mark.parametrize(
    "entry",
    [StoredEntry("planet", "mars", b"{}"), StoredEntry("key", "x", b'{"provider":1}'), StoredEntry("key", "x", b"")],
)
async def test_what_cannot_be_read_is_said_and_leaves_all_as_it_was(start: Start, entry: StoredEntry) -> None:
    process = start()
    await process.administration.change(adding("work"), ALICE, "add key")
    await process.administration.store.commit(1, EntryChanges(put=(entry,)))
    with pytest.raises(StoreError, match="cannot be read"):
        await process.administration.follow()
    assert process.keys == ["groq/work"]


async def test_what_is_not_valid_here_is_refused_and_said(start: Start, tmp_path: Path) -> None:
    here = start()
    await here.administration.change(adding("work"), ALICE, "add key")
    wrong = StoredEntry("provider", "groq", b'{"id":"groq","tier":"gold"}')
    await here.administration.store.commit(1, EntryChanges(put=(wrong,)))
    await here.administration.follow()
    (text,) = here.refused
    assert "GROQ_TIER" in text
    assert here.keys == ["groq/work"]


async def test_one_who_never_wins_is_told(start: Start) -> None:
    here, there = start(), start()
    labels = iter(range(100))

    def racing(state: Administered) -> Administered:
        return state.put(KeyEntry(provider="groq", label=f"k{next(labels)}", notes="late"))

    store = here.administration.store

    class Hurried(SqlEntryStore):
        async def commit(self, expected: int, changes: EntryChanges) -> int:
            await store.commit(
                expected, EntryChanges(put=(StoredEntry("key", "groq/a", b'{"provider":"groq","label":"a"}'),))
            )
            return await super().commit(expected, changes)

    late = Administration(Hurried(there._database), there.watch, vault=there._vault, clock=Clock())
    with pytest.raises(CallerError) as refused:
        await late.change(racing, ALICE, "add key")
    assert refused.value.status == 409
    assert await store.revision() == 5


async def test_somebody_can_be_shut_out_while_the_configuration_is_not_valid(start: Start, tmp_path: Path) -> None:
    process, token = start(), TokenEntry(name="ci", role="viewer", digest="0")
    await process.administration.change(lambda state: state.put(token), ALICE, "make token")
    (tmp_path / ".env").write_text("GROQ_TIER=gold\n")
    with pytest.raises(CallerError, match="GROQ_TIER"):
        await process.administration.change(adding("work"), ALICE, "add key")
    state = await process.administration.change(lambda state: state.without("token", "ci"), ALICE, "revoke token")
    assert (state.revision, state.all(TokenEntry), process.administration.state) == (2, (), state)
    (tmp_path / ".env").unlink()
    await process.administration.change(adding("work"), ALICE, "add key")
    assert process.keys == ["groq/work"]


async def test_a_change_that_was_being_taken_over_when_that_was_cancelled_is_taken_over_later(start: Start) -> None:
    here, there = start(), start()
    await there.administration.follow()
    await here.administration.change(adding("work"), ALICE, "add key")
    load, began = there.watch._load, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(administered: Administered) -> Configuration:
        loop.call_soon_threadsafe(began.set)
        time.sleep(0.05)
        return load(administered)

    there.watch._load = slow
    following = asyncio.create_task(there.administration.follow())
    await began.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert there.keys == []
    await there.administration.follow()
    assert there.keys == ["groq/work"]


WRONG = "GROQ_API_KEYS=other=gsk_test_1111111111\nGROQ_TIER=gold\n"


async def test_what_is_taken_away_while_a_file_is_not_valid_is_gone_everywhere(start: Start, tmp_path: Path) -> None:
    here, there = start(), start()
    await here.administration.change(adding("work"), ALICE, "add key")
    await there.administration.follow()
    (tmp_path / ".env").write_text(WRONG)
    assert not await there.watch.look_again()
    await here.administration.change(lambda state: state.without("key", "groq/work"), ALICE, "delete key")
    assert here.keys == []
    await there.administration.follow()
    assert there.keys == []
    assert "GROQ_TIER" in here.watch.ignored
    assert [len(each.refused) for each in (here, there)] == [1, 1], "said once by each"
    noted, _ = sorted(await here.administration.store.audit(limit=2), key=lambda line: line.kind == "key")
    assert (noted.actor, noted.action) == ("keyrelay", "left invalid files out of account")
    assert b"GROQ_TIER" in noted.after
    (tmp_path / ".env").write_text(WRONG.replace("gold", "free"))
    assert await here.watch.look_again()
    assert (here.keys, here.watch.ignored) == (["groq/other"], "")


async def test_everything_can_be_changed_while_a_file_is_not_valid_but_not_against_it(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    (tmp_path / ".env").write_text(WRONG)
    await process.administration.change(adding("work"), ALICE, "add key")
    assert process.keys == ["groq/work"]
    with pytest.raises(CallerError, match="fast policy"):
        await process.administration.change(
            lambda state: state.put(RouteEntry(name="fast", targets=("groq/m",), policy="no-such-policy")), ALICE, "add"
        )
    (tmp_path / ".env").write_text("GROQ_MODELS=a\n")  # valid, though nobody has looked at it yet
    wrong = ProviderEntry(id="groq", tier="gold")
    with pytest.raises(CallerError, match="GROQ_TIER"):
        await process.administration.change(lambda state: state.put(wrong), ALICE, "edit provider")


async def test_a_mended_file_that_does_not_go_with_what_was_changed_meanwhile_is_refused(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    (tmp_path / ".env").write_text(WRONG)
    await process.administration.change(adding("work"), ALICE, "add key")
    await process.administration.change(
        lambda state: state.put(RouteEntry(name="fast", targets=("groq/m",))), ALICE, "add"
    )
    (tmp_path / ".env").write_text("GROQ_TIER=free\nKEYRELAY_FALLBACK=nowhere/at-all\n")
    assert not await process.watch.look_again()
    assert (process.keys, list(process.watch.configuration.snapshot.routes)) == (["groq/work"], ["auto", "fast"])
    assert "KEYRELAY_FALLBACK" in process.refused[-1]


async def test_who_is_shut_out_is_so_where_nothing_else_of_the_store_can_be_taken(start: Start, tmp_path: Path) -> None:
    here, there = start(), start()
    other = Secret("gsk_test_9876543210")
    await here.administration.change(lambda state: adding("b", other)(adding("a")(state)), ALICE, "add keys")
    await there.administration.follow()
    # What another host has made of it, with other files, is not valid with those of this one.
    strange = StoredEntry("provider", "groq", b'{"id":"groq","tier":"gold"}')
    await here.administration.store.commit(1, EntryChanges(put=(strange,), delete=(("key", "groq/a"),)))
    await here.administration.follow()
    assert (here.keys, here.watch.behind) == (["groq/b"], True)
    disabled = KeyEntry(provider="groq", label="b", enabled=False)
    await here.administration.change(lambda state: state.put(disabled), ALICE, "disable key")
    assert here.keys == []
    await there.administration.follow()
    assert (there.keys, there.watch.behind) == ([], True)
    with pytest.raises(CallerError, match="GROQ_TIER"):
        await here.administration.change(adding("c", Secret("gsk_test_5555555555")), ALICE, "add key")
    await here.administration.change(lambda state: state.without("provider", "groq"), ALICE, "mend it")
    assert (here.keys, here.watch.behind, here.watch.ignored) == ([], False, "")


async def test_what_another_process_has_just_made_can_be_changed_here(start: Start) -> None:
    here, there = start(), start()
    await there.administration.follow()
    await here.administration.change(adding("work"), ALICE, "add key")

    def removing(state: Administered) -> Administered:
        if state.get(KeyEntry, "groq/work") is None:
            raise CallerError(404, "There is no such key.")
        return state.without("key", "groq/work")

    await there.administration.change(removing, ALICE, "delete key")
    with pytest.raises(CallerError, match="no such key"):
        await here.administration.change(removing, ALICE, "delete key")
    assert here.keys == []
    assert await here.administration.store.revision() == 2


@pytest.mark.parametrize("away_s", [0.0, 60.0])
async def test_whoever_asks_for_an_entry_gets_what_others_have_made_but_waits_for_no_store(
    start: Start, monkeypatch: pytest.MonkeyPatch, away_s: float
) -> None:
    here, there = start(), start()
    await there.administration.follow()
    await here.administration.change(adding("work"), ALICE, "add key")
    await there.administration.catch_up()
    assert there.keys == ["groq/work"]

    class Away(SqlEntryStore):
        async def revision(self) -> int:
            await asyncio.sleep(away_s)
            raise StoreError("it does not answer")

    monkeypatch.setattr(service, "CATCH_UP_S", 0.02)
    late = Administration(Away(there._database), there.watch, vault=there._vault, clock=Clock())
    late.unread = False
    await late.catch_up()
    assert there.keys == ["groq/work"]
