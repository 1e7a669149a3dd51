"""`keyrelay import`, against a gateway that runs and without one."""

from pathlib import Path

import pytest

from tests.api.administration.keyed import GOOD, desk
from tests.api.served import OPERATOR_SECRET
from tests.cli.helpers import Keyrelay
from tests.e2e.test_views import command

TEXT = f"GROQ_API_KEY=mine={GOOD}\nFLASK_ENV=dev\n"
LITELLM = "model_list:\n- {model_name: fast, litellm_params: {model: groq/a, api_key: os.environ/OTHER_KEY}}\n"
DATA = {"KEYRELAY_DATA_DIR": "data"}


def test_it_is_shown_asked_for_and_done_without_a_gateway(keyrelay: Keyrelay) -> None:
    (keyrelay.directory / "old.env").write_text(TEXT)
    shown = keyrelay("import", "old.env", "--dry-run", KEYRELAY_PORT="1", **DATA)
    assert shown.code == 0
    assert "new   key   groq/mine …6789  old.env: GROQ_API_KEY" in shown.out
    assert "Keyrelay has nothing of this name." in shown.out
    assert "No gateway runs" in shown.err
    asked = keyrelay("import", "old.env", KEYRELAY_PORT="1", **DATA)
    assert (asked.code, "nobody can be asked" in asked.err) == (2, True)
    done = keyrelay("import", "old.env", "--yes", "--json", KEYRELAY_PORT="0", **DATA)
    assert (done.code, done.document["imported"]) == (0, 1)
    again = keyrelay("import", "old.env", "--yes", KEYRELAY_PORT="0", **DATA)
    assert (again.code, again.err) == (0, "There is nothing to import.\n")
    for ended in (shown, asked, done, again):
        assert GOOD not in ended.out + ended.err


def test_variables_come_from_the_env_file_beside_it(keyrelay: Keyrelay) -> None:
    (keyrelay.directory / "config.yaml").write_text(LITELLM)
    (keyrelay.directory / "old.env").write_text(f"OTHER_KEY={GOOD}\n")
    files = ("config.yaml", "old.env")
    done = keyrelay("import", *files, "--yes", "--json", KEYRELAY_PORT="0", **DATA).document
    assert [line["outcome"] for line in done["lines"][:2]] == ["new", "new"]


def test_what_would_not_be_valid_is_refused(keyrelay: Keyrelay) -> None:
    (keyrelay.directory / "old").write_text("KEYRELAY_RETRY_ATTEMPTS=1000\n")
    ended = keyrelay("import", "old", "--yes", KEYRELAY_PORT="0", **DATA)
    assert (ended.code, "RETRY_ATTEMPTS" in ended.err) == (1, True)
    assert keyrelay("import", "old", "--format", "toml", KEYRELAY_PORT="0", **DATA).code == 2
    (keyrelay.directory / "old").write_text("x" * 1_000_001)
    assert keyrelay("import", "old", KEYRELAY_PORT="0", **DATA).code == 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("broken.json", b"{"),
        ("usage.json", b'{"providers": {"groq": {"usage": "many"}}}'),
        ("broken.yaml", b"a: [\n"),
        ("old.env", b"\x7fELF\x00GROQ_API_KEY=x"),
        ("other.env", b"%PDF-1.7\n<< >>\n"),
    ],
)
def test_with_a_file_that_cannot_be_read_nothing_is_imported(keyrelay: Keyrelay, name: str, data: bytes) -> None:
    (keyrelay.directory / name).write_bytes(data)
    (keyrelay.directory / "good.env").write_text(TEXT)
    ended = keyrelay("import", "good.env", name, "--yes", KEYRELAY_PORT="0", **DATA)
    assert (ended.code, f"{name} cannot be read: It " in ended.err) == (3, True)
    looked = keyrelay("import", "good.env", "--dry-run", "--json", KEYRELAY_PORT="0", **DATA).document
    assert looked["imported"] == 1


async def test_a_gateway_that_runs_does_it(tmp_path: Path) -> None:
    (tmp_path / "old.env").write_text(TEXT)
    async with desk(tmp_path) as at:
        where = {
            "KEYRELAY_URL": f"http://127.0.0.1:{at.gateway.port}",
            "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET,
        }
        code, out, err = await command(tmp_path, "import", "old.env", "--yes", **where)
        assert code == 0, err
        assert "groq/mine" in out
        assert "groq/mine" in await at.states()
