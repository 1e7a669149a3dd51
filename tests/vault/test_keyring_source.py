import asyncio
import sys
from pathlib import Path

import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null

from keyrelay.core.errors import MasterKeyError, WrongMasterKeyError
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.keyring_source import SERVICE, Keyring, KeyringSource, entry_of, system_keyring
from keyrelay.vault.master_key import MasterKey
from tests.vault.keyrings import FileKeyring, LockedKeyring, RefusingKeyring, SilentKeyring
from tests.vault.rings import A_KEY, ANOTHER_KEY, Clock, MemoryRingStore

PLACE = {"table": "entries", "row": "key/1", "column": "secret"}


@pytest.fixture
def keyring(tmp_path: Path) -> FileKeyring:
    return FileKeyring(tmp_path / "keyring.json")


def source_over(keyring: Keyring) -> KeyringSource:
    return KeyringSource(lambda: keyring, timeout_s=5.0)


def keeper_over(store: MemoryRingStore, keyring: Keyring) -> RingKeeper:
    return RingKeeper(store, source_over(keyring), Clock().epoch_s)


async def test_the_first_run_makes_an_entry_and_the_next_one_finds_it(keyring: FileKeyring) -> None:
    store = MemoryRingStore()
    sealed = (await keeper_over(store, keyring).open()).seal(b"sk-test-1", **PLACE)
    ((name, text),) = keyring.entries.items()
    assert name == f"{SERVICE}/{entry_of(store.ring.master)}"
    assert MasterKey.of_text(text).mark == store.ring.master
    assert (await keeper_over(store, keyring).open()).open(sealed, **PLACE) == b"sk-test-1"


async def test_gateways_with_one_keyring_and_rings_of_their_own_do_not_meet(keyring: FileKeyring) -> None:
    one, other = MemoryRingStore(), MemoryRingStore()
    await keeper_over(one, keyring).open()
    await keeper_over(other, keyring).open()
    await keeper_over(one, keyring).change_master_key(await source_over(keyring).first())
    for store in (one, other):
        await keeper_over(store, keyring).open()
    assert len(keyring.entries) == 3


async def test_a_keyring_is_asked_once_for_what_it_has_told(keyring: FileKeyring) -> None:
    store = MemoryRingStore()
    await keeper_over(store, keyring).open()
    keeper = keeper_over(store, keyring)
    vault = await keeper.open()
    asked = keyring.asked
    for _ in range(3):
        await keeper.refresh(vault)
    assert keyring.asked == asked


async def test_who_runs_finds_the_key_that_has_taken_the_others_place(keyring: FileKeyring) -> None:
    store = MemoryRingStore()
    running = keeper_over(store, keyring)
    vault = await running.open()
    changing, (old,) = source_over(keyring), await source_over(keyring).at_hand(store.ring.master)
    aside = await changing.stand_by(old, A_KEY)
    await RingKeeper(store, changing, Clock().epoch_s).change_master_key(A_KEY)
    await changing.settle(A_KEY)
    await running.refresh(vault)
    assert store.ring.master == A_KEY.mark
    assert aside == f"the operating system's keyring under keyrelay and {entry_of(old.mark)}"
    assert keyring.entries[f"{SERVICE}/{entry_of(old.mark)}"] == old.reveal()
    assert running._source.setting == "KEYRELAY_MASTER_KEY_SOURCE"
    assert repr(running) == f"<RingKeeper <KeyringSource knows {old.mark}, {A_KEY.mark}>>"


async def test_a_key_that_stands_by_already_is_not_written_again(keyring: FileKeyring) -> None:
    await source_over(keyring).stand_by(A_KEY, ANOTHER_KEY)
    refusing = RefusingKeyring(Path(keyring.file))
    await source_over(refusing).stand_by(A_KEY, ANOTHER_KEY)
    with pytest.raises(MasterKeyError):
        await source_over(refusing).stand_by(ANOTHER_KEY, A_KEY)


async def test_a_missing_key_is_not_made_anew_and_it_is_said_how_to_put_it_there(tmp_path: Path) -> None:
    store, empty = MemoryRingStore(), FileKeyring(tmp_path / "empty.json")
    await keeper_over(store, FileKeyring(tmp_path / "full.json")).open()
    with pytest.raises(MasterKeyError) as caught:
        await keeper_over(store, empty).open()
    entry = entry_of(store.ring.master)
    assert f"keyring under keyrelay and {entry}. `keyring set keyrelay {entry} < FILE` puts it there. Put" in str(
        caught.value
    )
    assert "from a backup" in str(caught.value)
    assert empty.entries == {}


@pytest.mark.parametrize(
    ("text", "raised", "words"),
    [
        (ANOTHER_KEY.reveal(), WrongMasterKeyError, f"there is the key {ANOTHER_KEY.mark} .*from a backup"),
        ("hunter2hunter2", MasterKeyError, "no passphrase.*Restore it from a backup"),
        ("", MasterKeyError, "no passphrase.*Restore it from a backup"),
    ],
)
async def test_an_entry_that_holds_something_else_is_named_and_not_repeated(
    keyring: FileKeyring, text: str, raised: type[MasterKeyError], words: str
) -> None:
    keyring.set_password(SERVICE, entry_of(A_KEY.mark), text)
    with pytest.raises(raised, match=f"keyring under keyrelay and {entry_of(A_KEY.mark)}: .*{words}") as caught:
        await source_over(keyring).at_hand(A_KEY.mark)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            fail.Keyring,
            r"no keyring .*\(NoKeyringError\): .*in a session that has one, or .*KEYRELAY_MASTER_KEY_SOURCE=file",
        ),
        (LockedKeyring, r"is locked \(KeyringLocked: .*\): unlock it and do this again, or"),
        (null.Keyring, "does not give it back"),
        (RefusingKeyring, r"cannot be used \(PasswordSetError\): see that it runs and lets Keyrelay in, or"),
    ],
)
async def test_a_keyring_that_cannot_be_used_says_what_to_do(
    kind: type[KeyringBackend], words: str, tmp_path: Path
) -> None:
    keyring = kind(tmp_path / "keyring.json") if issubclass(kind, FileKeyring) else kind()
    with pytest.raises(MasterKeyError, match=words):
        await source_over(keyring).first()


async def test_a_keyring_that_does_not_answer_is_waited_for_no_longer_than_its_time(tmp_path: Path) -> None:
    silent = SilentKeyring(tmp_path / "keyring.json")
    silent.set_password(SERVICE, entry_of(A_KEY.mark), A_KEY.reveal())
    source = KeyringSource(lambda: silent, timeout_s=0.1, rest_s=0.0)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    with pytest.raises(MasterKeyError, match=r"not answered yet \(it has 0\.1 s .*unlock it and do this again"):
        await source.look()
    turning.cancel()
    assert turns > 3
    with pytest.raises(MasterKeyError, match="not answered"):
        await source.at_hand(A_KEY.mark)
    assert silent.asked == 0
    silent.unlocked.set()
    assert source._silent is not None
    source._silent.join(5)
    assert silent.asked == 1
    (found,) = await source.at_hand(A_KEY.mark)
    assert (found.mark, silent.asked) == (A_KEY.mark, 2)


async def test_a_keyring_that_refuses_is_left_alone_for_a_while(tmp_path: Path) -> None:
    opened = 0

    def locked() -> Keyring:
        nonlocal opened
        opened += 1
        return LockedKeyring(tmp_path / "keyring.json")

    source, hasty = KeyringSource(locked), KeyringSource(locked, rest_s=0.0)
    for asked, counted in ((source, 1), (source, 1), (hasty, 2), (hasty, 3)):
        with pytest.raises(MasterKeyError, match="is locked"):
            await asked.look()
        assert opened == counted


def test_an_answer_that_comes_when_nobody_waits_any_more_is_dropped(tmp_path: Path) -> None:
    silent = SilentKeyring(tmp_path / "keyring.json")
    source = KeyringSource(lambda: silent, timeout_s=0.05)
    with pytest.raises(MasterKeyError, match="not answered"):
        asyncio.run(source.look())
    silent.unlocked.set()
    assert source._silent is not None
    source._silent.join(5)
    assert silent.asked == 1


async def test_a_question_that_nobody_waits_for_any_more_is_not_asked_again_beside_itself(tmp_path: Path) -> None:
    silent, opened = SilentKeyring(tmp_path / "keyring.json"), list[int]()

    def counted() -> Keyring:
        opened.append(1)
        return silent

    source = KeyringSource(counted, rest_s=0.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.at_hand(A_KEY.mark), 0.05)
    for _ in range(3):
        with pytest.raises(MasterKeyError, match="not answered yet"):
            await asyncio.wait_for(source.at_hand(A_KEY.mark), 0.05)
    assert len(opened) == 1
    silent.unlocked.set()
    assert source._silent is not None
    source._silent.join(5)


async def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MasterKeyError, match=r"not installed: `pip install 'keyrelay\[keyring\]'`, or keep"):
        await KeyringSource().look()


async def test_a_library_that_is_broken_is_not_called_missing() -> None:
    def broken() -> Keyring:
        raise ImportError("No module named 'jaraco'", name="jaraco")

    with pytest.raises(MasterKeyError, match=r"cannot be used \(ImportError: .*jaraco"):
        await KeyringSource(broken).look()


async def test_the_keyring_is_the_one_that_the_library_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.vault.keyrings.FileKeyring")
    monkeypatch.setenv("KEYRING_PROPERTY_FILE", str(tmp_path / "keyring.json"))
    assert isinstance(system_keyring(), FileKeyring)
    made = await KeyringSource().first()
    (found,) = await KeyringSource().at_hand(made.mark)
    assert found.mark == made.mark
