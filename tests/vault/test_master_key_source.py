import fcntl
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyrelay.core.errors import MasterKeyError
from keyrelay.core.secrets import Secret
from keyrelay.vault import master_key_source
from keyrelay.vault.master_key_source import MasterKeySource
from tests.vault.rings import A_KEY, ANOTHER_KEY, source_of

AS_ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def written(path: Path, text: str, bits: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(bits)
    return path


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    source = source_of(None, tmp_path / "new" / "data")
    assert source.find() is None
    made = source.make()
    file = tmp_path / "new" / "data" / "master.key"
    assert (mode(file), mode(file.parent), file.read_text()) == (0o600, 0o700, f"{made.reveal()}\n")
    assert list(file.parent.iterdir()) == [file]
    found = source.find()
    assert found is not None
    assert found.mark == made.mark


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    written(tmp_path / "master.key", A_KEY.reveal())
    assert source_of(None, tmp_path).make().mark == A_KEY.mark
    assert (tmp_path / "master.key").read_text() == A_KEY.reveal()
    assert len(list(tmp_path.iterdir())) == 1


def test_of_many_who_make_it_at_once_one_does(tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def make() -> str:
        ready.wait()
        return source_of(None, tmp_path).make().mark

    with ThreadPoolExecutor(8) as threads:
        marks = {each.result() for each in [threads.submit(make) for _ in range(8)]}
    assert len(marks) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str) -> Callable[..., None]:
        real: Callable[..., None] = getattr(os, name)

        def call(*args: object) -> None:
            calls.append(name)
            real(*args)

        return call

    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, noted(name))
    source_of(None, tmp_path).make()
    assert calls == ["fsync", "link", "fsync"]


@pytest.mark.parametrize("bits", [0o604, 0o602, 0o644, 0o660, 0o620, 0o777, 0o444])
def test_a_key_that_others_get_at_is_refused(tmp_path: Path, bits: int) -> None:
    written(tmp_path / "master.key", A_KEY.reveal(), bits)
    with pytest.raises(MasterKeyError, match=f"has mode {bits:04o}, .*`chmod 600 ") as caught:
        source_of(None, tmp_path).find()
    assert A_KEY.reveal() not in str(caught.value)


@pytest.mark.parametrize("bits", [0o600, 0o400])
def test_a_key_that_its_owner_alone_gets_at_is_taken(tmp_path: Path, bits: int) -> None:
    written(tmp_path / "master.key", A_KEY.reveal(), bits)
    found = source_of(None, tmp_path).find()
    assert found is not None
    assert found.mark == A_KEY.mark


@pytest.mark.skipif(not AS_ROOT, reason="root alone can give a file to somebody else")
def test_a_group_may_read_what_root_gave_it_and_nothing_else(tmp_path: Path) -> None:
    file = written(tmp_path / "master.key", A_KEY.reveal(), 0o440)
    found = source_of(None, tmp_path).find()
    assert found is not None
    assert found.mark == A_KEY.mark
    os.chown(file, 65534, 65534)
    with pytest.raises(MasterKeyError, match="mode 0440"):
        source_of(None, tmp_path).find()


def test_the_setting_wins_and_makes_no_file(tmp_path: Path) -> None:
    written(tmp_path / "master.key", A_KEY.reveal())
    source = source_of(ANOTHER_KEY, tmp_path)
    found = source.find()
    assert found is not None
    assert (found.mark, source.place) == (ANOTHER_KEY.mark, "KEYRELAY_MASTER_KEY")
    assert repr(source) == "<MasterKeySource KEYRELAY_MASTER_KEY>"


def test_a_setting_that_is_no_key_is_named_and_not_repeated(tmp_path: Path) -> None:
    source = MasterKeySource(Secret("hunter2hunter2"), tmp_path / "master.key")
    with pytest.raises(MasterKeyError, match=r"^KEYRELAY_MASTER_KEY: .*no passphrase") as caught:
        source.find()
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    source = source_of(None, tmp_path)
    for text in ("", "hunter2hunter2", "\xff" * 10):
        written(tmp_path / "master.key", text)
        with pytest.raises(MasterKeyError, match=rf"{tmp_path}/master.key: .*Restore it from a backup") as caught:
            source.find()
        assert "hunter2" not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "master.key", 0o600)
    with pytest.raises(MasterKeyError, match="no ordinary file"):
        source_of(None, tmp_path).find()


def test_a_file_that_cannot_be_read_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "master.key").symlink_to("master.key")
    with pytest.raises(MasterKeyError, match="cannot be read: Too many levels of symbolic links"):
        source_of(None, tmp_path).find()


def test_a_directory_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a directory should be")
    with pytest.raises(MasterKeyError, match=r"cannot be made: .*head -c 32"):
        source_of(None, tmp_path / "data").make()


def test_a_file_system_without_links_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(MasterKeyError, match="Operation not permitted"):
        source_of(None, tmp_path).make()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_comes_and_goes_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_key_source, "_write_once", lambda *args: False)
    with pytest.raises(MasterKeyError, match="comes and goes"):
        source_of(None, tmp_path).make()


def test_two_keys_stand_there_while_one_takes_the_others_place(tmp_path: Path) -> None:
    file = written(tmp_path / "master.key", A_KEY.reveal())
    source = source_of(None, tmp_path)
    source.replace(A_KEY, ANOTHER_KEY)
    assert [key.mark for key in source.find_all()] == [A_KEY.mark, ANOTHER_KEY.mark]
    source.replace(ANOTHER_KEY)
    assert (mode(file), file.read_text()) == (0o600, f"{ANOTHER_KEY.reveal()}\n")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("between", [" ", ",", "\n", ", "])
def test_a_setting_may_hold_two_keys(between: str) -> None:
    source = MasterKeySource(Secret(f"{A_KEY.reveal()}{between}{ANOTHER_KEY.reveal()}"), Path("/nonexistent"))
    assert [key.mark for key in source.find_all()] == [A_KEY.mark, ANOTHER_KEY.mark]
    with pytest.raises(MasterKeyError, match="only who starts Keyrelay"):
        source.replace(A_KEY)


def test_the_same_key_twice_is_one() -> None:
    source = MasterKeySource(Secret(f"{A_KEY.reveal()} {A_KEY.reveal()}"), Path("/nonexistent"))
    assert len(source.find_all()) == 1


def test_a_passphrase_of_many_words_is_none() -> None:
    with pytest.raises(MasterKeyError, match="no passphrase"):
        MasterKeySource(Secret("the quick brown fox jumps"), Path("/nonexistent")).find_all()


def test_an_old_key_is_kept_aside_once(tmp_path: Path) -> None:
    source = source_of(None, tmp_path)
    aside = source.keep_aside(A_KEY)
    assert aside == source.keep_aside(A_KEY)
    assert (aside.name, mode(aside), aside.read_text()) == (
        f"master.key.{A_KEY.mark}",
        0o600,
        f"{A_KEY.reveal()}\n",
    )


@pytest.mark.parametrize("change", ["replace", "keep_aside"])
def test_a_directory_that_takes_no_other_file_is_named(tmp_path: Path, change: str) -> None:
    (tmp_path / "blocked").write_text("no directory")
    source = source_of(None, tmp_path / "blocked")
    with pytest.raises(MasterKeyError, match="cannot be written"):
        getattr(source, change)(A_KEY)


async def test_as_a_place_of_keys_a_file_holds_both_until_it_is_settled(tmp_path: Path) -> None:
    source = source_of(None, tmp_path)
    await source.look()
    assert source.find() is None
    old = await source.first()
    assert (await source.first()).mark == old.mark
    aside = await source.stand_by(old, A_KEY)
    assert [key.mark for key in await source.at_hand(old.mark)] == [old.mark, A_KEY.mark]
    await source.settle(A_KEY)
    assert [key.mark for key in await source.at_hand(old.mark)] == [A_KEY.mark]
    assert aside == f"{source.place_of(old.mark)}.{old.mark}"
    assert (source.setting, source.remedy(old.mark)) == ("KEYRELAY_MASTER_KEY_FILE", "")


async def test_as_a_place_of_keys_a_setting_is_changed_by_hand(tmp_path: Path) -> None:
    alone = source_of(A_KEY, tmp_path)
    with pytest.raises(MasterKeyError, match="has to hold both keys"):
        await alone.stand_by(A_KEY, ANOTHER_KEY)
    both = MasterKeySource(Secret(f"{A_KEY.reveal()},{ANOTHER_KEY.reveal()}"), tmp_path / "master.key")
    assert await both.stand_by(A_KEY, ANOTHER_KEY) == ""
    await both.settle(ANOTHER_KEY)
    assert source_of(None, tmp_path).find() is None
    assert both.setting == "KEYRELAY_MASTER_KEY"


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


DRAFT = ".master.key.0123456789abcdef"


async def test_what_a_killed_process_has_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    left = written(tmp_path / DRAFT, A_KEY.reveal())
    written(tmp_path / f".master.key.{A_KEY.mark}.{'0' * 16}", A_KEY.reveal())
    others = [written(tmp_path / name, "").name for name in (".master.key.swp", f"{DRAFT}x", f".other{DRAFT[11:]}")]
    busy = written(tmp_path / f".master.key.{'f' * 16}", ANOTHER_KEY.reveal())
    with busy.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        made = await source_of(None, tmp_path).first()
    assert names_in(tmp_path) == {"master.key", busy.name, *others}
    left.hardlink_to(tmp_path / "master.key")
    found = await source_of(None, tmp_path).first()
    assert found.mark == made.mark
    assert names_in(tmp_path) == {"master.key", *others}


def test_a_draft_that_somebody_sweeps_away_as_it_is_begun_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, swept = fcntl.flock, list[Path]()

    def flock(descriptor: int, operation: int) -> None:
        for draft in tmp_path.glob(f".master.key.{'?' * 16}"):
            if not swept:
                swept.append(draft)
                draft.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    made = source_of(None, tmp_path).make()
    assert len(swept) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "master.key"]
    found = source_of(None, tmp_path).find()
    assert found is not None
    assert found.mark == made.mark
