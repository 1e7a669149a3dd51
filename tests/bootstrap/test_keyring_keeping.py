"""With the master key in a keyring: it is made there, changed there, and whoever is killed on the way begins again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyrelay.bootstrap.checkup_services import look_at_store
from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.secret_keeping import SecretKeeping
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.core.errors import MasterKeyError
from keyrelay.core.secrets import Secret
from keyrelay.storage.database import open_database
from keyrelay.storage.migrating import ensure_schema
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.keyring_source import KeyringSource, entry_of
from keyrelay.vault.master_key import MasterKey
from tests.bootstrap.test_secret_keeping import Killed, Store, dying, settings_in, silent
from tests.vault.keyrings import FileKeyring, LockedKeyring

IN_KEYRING = {"KEYRELAY_MASTER_KEY_SOURCE": "keyring"}


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileKeyring:
    keyring = FileKeyring(tmp_path / "keyring.json")
    monkeypatch.setattr("keyring.core._keyring_backend", keyring)
    return keyring


@pytest.fixture
async def store(tmp_path: Path, keyring: FileKeyring) -> AsyncIterator[Store]:
    settings = settings_in(tmp_path, **IN_KEYRING)
    database = open_database("", settings.data_dir)
    await ensure_schema(database)
    made = Store(database, settings)
    await made.fill()
    yield made
    await database.close()


STEPS = [(KeyringSource, "stand_by"), (RingKeeper, "change_master_key"), (KeyringSource, "settle")]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), STEPS)
async def test_a_master_key_that_is_changed_in_the_middle_of_which_somebody_is_killed(
    store: Store, keyring: FileKeyring, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, after: bool
) -> None:
    before = await store.keeping().standing()
    with monkeypatch.context() as patched:
        dying(patched, owner, name, after=after)
        with pytest.raises(Killed):
            await store.keeping().rotate_master_key(None, generate=True)
    await store.check()
    done = await store.keeping().rotate_master_key(None, generate=True)
    ended = await store.keeping().standing()
    assert (ended.master, ended.known, ended.problem) == (done.after, (done.after,), "")
    assert done.after != before.master
    assert {f"keyrelay/{entry_of(mark)}" for mark in (before.master, done.after)} <= keyring.entries.keys()
    await store.check()


async def test_what_is_sealed_opens_with_the_keyring_alone(store: Store, keyring: FileKeyring, tmp_path: Path) -> None:
    done = await store.keeping().rotate_term(silent)
    assert await store.check() == {done.term}
    assert not list((tmp_path / "data").glob("master.key*"))
    assert len(keyring.entries) == 1
    keyring.file = str(tmp_path / "empty.json")
    with pytest.raises(MasterKeyError, match="`keyring set keyrelay master-key-"):
        await store.check()
    assert "no master key in the operating system's keyring" in (await store.keeping().standing()).problem


async def test_a_key_moves_from_its_file_into_the_keyring(keyring: FileKeyring, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    database = open_database("", settings.data_dir)
    await ensure_schema(database)
    store = Store(database, settings)
    await store.fill()
    mark = (await store.keeping().standing()).master
    keyring.set_password("keyrelay", entry_of(mark), (tmp_path / "data" / "master.key").read_text())
    (tmp_path / "data" / "master.key").unlink()
    store.settings = settings_in(tmp_path, **IN_KEYRING)
    await store.check()
    given = MasterKey.new()
    assert (await store.keeping().rotate_master_key(Secret(given.reveal()))).after == given.mark
    await store.check()
    await database.close()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"KEYRELAY_MASTER_KEY": MasterKey.new().reveal()}, "KEYRELAY_MASTER_KEY is"),
        ({"KEYRELAY_MASTER_KEY_FILE": "/etc/keyrelay.key"}, "KEYRELAY_MASTER_KEY_FILE is"),
    ],
)
async def test_a_keyring_and_another_place_are_not_both_taken(tmp_path: Path, more: dict[str, str], named: str) -> None:
    settings = settings_in(tmp_path, **IN_KEYRING, **more)
    database = open_database("", settings.data_dir)
    with pytest.raises(MasterKeyError, match=f"is keyring, and {named} set too: keep one of them"):
        VaultOpener(settings, database, SystemClock()).source()
    await database.close()


async def test_a_keyring_that_is_locked_is_found_out_before_anything_is_sealed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keyring.core._keyring_backend", LockedKeyring(tmp_path / "keyring.json"))
    settings = settings_in(tmp_path, **IN_KEYRING)
    database = open_database("", settings.data_dir)
    await ensure_schema(database)
    standing = await SecretKeeping(database, settings).standing()
    assert (standing.ring, "is locked" in standing.problem) == ("", True)
    await database.close()
    (found,) = [each async for each in look_at_store(settings) if each.name == "master key"]
    assert (found.level, "unlock it" in found.detail) == ("fail", True)


async def test_a_file_is_not_looked_at_and_nothing_loaded_before_something_is_sealed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    opener = VaultOpener(settings, open_database("", settings.data_dir), SystemClock())
    await opener.look()
    assert opener._source is None
    await opener._database.close()
