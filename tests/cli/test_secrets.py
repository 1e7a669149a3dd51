"""`keyrelay secrets`: by hand, from an import to a start with another master key."""

import base64
import os

import pytest

from tests.cli.helpers import Keyrelay

DATA = {"KEYRELAY_DATA_DIR": "data", "KEYRELAY_PORT": "0"}
ANOTHER = base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def filled(keyrelay: Keyrelay) -> Keyrelay:
    (keyrelay.directory / "old.env").write_text("GROQ_API_KEY=gsk_test_0123456789\n")
    assert keyrelay("import", "old.env", "--yes", **DATA).code == 0
    return keyrelay


def test_there_is_nothing_to_see_before_something_is_sealed(keyrelay: Keyrelay) -> None:
    assert keyrelay("secrets", "status", **DATA).err == "Nothing has been sealed yet: there is no key ring.\n"
    ended = keyrelay("secrets", "rotate-term", **DATA)
    assert (ended.code, "no key ring" in ended.err) == (1, True)


def test_both_kinds_of_keys_are_rotated(filled: Keyrelay) -> None:
    before = filled("secrets", "status", "--json", **DATA).document
    assert [term["values"] for term in before["terms"]] == [1]
    (filled.directory / "new.key").write_text(ANOTHER)
    done = filled("secrets", "rotate-master-key", "--new-key-file", "new.key", **DATA)
    assert done.code == 0, done.err
    assert ANOTHER not in done.out + done.err
    assert "under term 2" in filled("secrets", "rotate-term", **DATA).err
    waiting = filled("secrets", "reseal", **DATA).err
    assert "0 values were sealed anew, under term 2." in waiting
    assert "Still there: 1." in waiting
    after = filled("secrets", "status", "--json", **DATA).document
    assert after["master"] != before["master"]
    assert after["known"] == [after["master"]]
    assert [(term["number"], term["values"]) for term in after["terms"]] == [(1, 0), (2, 1)]
    assert "wrapped by" in filled("secrets", "status", **DATA).out
    nothing = filled("secrets", "rotate-master-key", **DATA)
    assert (nothing.code, "--generate, --new-key-file FILE or --stdin" in nothing.err) == (2, True)
    assert filled("secrets", "rotate-master-key", "--stdin", "--generate", **DATA).code == 2


@pytest.mark.parametrize("arguments", [("up", "--no-demo"), ("secrets", "rotate-term")])
@pytest.mark.parametrize("wrong", [True, False], ids=["wrong", "missing"])
def test_with_a_wrong_or_missing_master_key_nothing_starts_and_it_is_said_what_to_do(
    filled: Keyrelay, arguments: tuple[str, ...], *, wrong: bool
) -> None:
    environ = {**DATA, "GROQ_API_KEY": "gsk_test_other_0123"}
    (filled.directory / "data" / "master.key").rename(filled.directory / "kept.key")
    if wrong:
        environ["KEYRELAY_MASTER_KEY"] = ANOTHER
    ended = filled(*arguments, **environ)
    assert ended.code in {1, 2}
    assert "from a backup or from the host that made it" in ended.err
    assert ANOTHER not in ended.err
    assert filled("secrets", "status", **environ).code == 3
