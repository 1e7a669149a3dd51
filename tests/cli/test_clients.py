import asyncio
import hashlib
import re
import sys
from pathlib import Path

import pytest

from tests.api.served import MODEL, OPERATOR_SECRET, served
from tests.cli.helpers import Ended, Keyrelay
from tests.e2e.harness import Caller, Embedded, chat_bytes

NOWHERE = "http://127.0.0.1:9"


def alone(keyrelay: Keyrelay, *arguments: str, **environ: str) -> Ended:
    """The command where no gateway runs."""
    return keyrelay("clients", *arguments, KEYRELAY_URL=NOWHERE, **environ)


async def beside(gateway: Embedded, keyrelay: Keyrelay, *arguments: str, **environ: str) -> Ended:
    """The command beside a gateway that runs."""
    usual = {"KEYRELAY_URL": f"http://127.0.0.1:{gateway.port}", "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyrelay",
        "clients",
        *arguments,
        cwd=keyrelay.directory,
        env=keyrelay.environment(**usual | environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30.0)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def test_a_client_is_made_listed_and_removed(keyrelay: Keyrelay) -> None:
    made = alone(keyrelay, "new", "my-app")
    secret = made.out.strip()
    assert made.code == 0
    assert re.fullmatch(r"kr-[A-Za-z0-9_-]{43}", secret)
    assert "my-app" in made.err
    assert secret not in made.err

    (client,) = alone(keyrelay, "list", "--json").document["clients"]
    assert client["label"] == "my-app"
    assert client["fingerprint"] == hashlib.sha256(secret.encode()).hexdigest()[:8]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", client["created_at"])
    assert alone(keyrelay, "list").out.splitlines()[1].startswith("my-app")

    removed = alone(keyrelay, "remove", "my-app", "--yes")
    assert (removed.code, removed.out) == (0, "")
    assert alone(keyrelay, "list", "--json").document["clients"] == []


def test_a_label_is_found_when_none_is_given(keyrelay: Keyrelay) -> None:
    for label in ("client-1", "client-2"):
        assert f"Client {label} is in" in alone(keyrelay, "new").err


def test_what_cannot_be_done_has_the_code_that_it_has_with_a_gateway(keyrelay: Keyrelay) -> None:
    assert alone(keyrelay, "new", "a/b").code == 2
    assert [alone(keyrelay, "new", "twice").code for _ in range(2)] == [0, 1]
    assert alone(keyrelay, "remove", "twice").code == 2, "nobody is there to answer"
    ended = alone(keyrelay, "remove", "nobody", "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("keyrelay: no client in ")


def test_the_first_client_can_be_made_where_its_lack_forbids_to_start(keyrelay: Keyrelay) -> None:
    exposed = {"KEYRELAY_HOST": "0.0.0.0", "KEYRELAY_DATA_DIR": "data"}
    assert keyrelay("config", "check", **exposed).code == 3
    assert alone(keyrelay, "new", **exposed).code == 0
    assert keyrelay("config", "check", **exposed).code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("new", "app", "--limit", "5 requests per day"), 5),
        (("show", "app"), 5),
        (("edit", "app", "--disable"), 5),
        (("edit", "app"), 2),
        (("rotate", "app", "--grace", "soon"), 2),
        (("rotate", "app"), 5),
        (("revoke", "app"), 5),
        (("reset", "app"), 5),
    ],
)
def test_without_a_gateway_no_more_can_be_said_of_a_client(
    keyrelay: Keyrelay, arguments: tuple[str, ...], code: int
) -> None:
    ended = alone(keyrelay, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("keyrelay: ")


async def status_of(gateway: Embedded, secret: str) -> int:
    async with Caller(gateway.port, secret) as caller:
        return (await caller.post("/v1/chat/completions", chat_bytes(MODEL))).status


async def test_a_client_of_a_gateway_from_beginning_to_end(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with served(tmp_path) as gateway:

        async def clients(*arguments: str, **environ: str) -> Ended:
            return await beside(gateway, keyrelay, *arguments, **environ)

        limits = ("--limit", "9 requests per minute", "--limit", "0.50 usd per month")
        made = await clients("new", "my app", *limits, "--model", "openai/*", "--tag", "a", "--expires", "30d")
        secret = made.out.strip()
        assert (made.code, secret[:3], secret in made.err) == (0, "kr-", False)
        assert "warning" not in made.err
        assert await status_of(gateway, secret) == 200
        listed = (await clients("list")).out
        assert re.search(
            r"^my app +active +store +…\S{4} +openai/\* +9 requests per 60s \(11%\); 0.5 usd", listed, re.MULTILINE
        )
        assert re.search(r"^tests +active +environment CLIENT_API_KEYS_MAP +- +all", listed, re.MULTILINE)
        shown = (await clients("show", "my app")).out
        assert re.search(r"^9 requests per 60s +1 request +8 requests +11% +20", shown, re.MULTILINE)
        mistyped = await clients("edit", "my app", "--model", "groq/no-such*", "--model", "auto")
        assert mistyped.err == "warning: there is no model or route 'groq/no-such*'.\n"
        edited = await clients(
            "edit", "my app", "--limit", "", "--model", "", "--expires", "", "--notes", "hi", "--json"
        )
        assert [edited.document[name] for name in ("limits", "models", "expires_at", "notes", "tags")] == [
            [],
            [],
            None,
            "hi",
            ["a"],
        ]
        rotated = await clients("rotate", "my app", "--grace", "30m")
        assert "The one before holds until" in rotated.err
        second = rotated.out.strip()
        assert [await status_of(gateway, each) for each in (secret, second)] == [200, 200]
        assert (await clients("edit", "my app", "--limit", "1 requests once")).code == 0
        assert [await status_of(gateway, second) for _ in range(2)] == [200, 429]
        assert (await clients("reset", "my app", "--limit", "1 requests once")).code == 0
        assert await status_of(gateway, second) == 200
        (tmp_path / ".env").write_text("GROQ_TIER=gold\nKEYRELAY_POLICY=worst\n")
        unread = await clients("revoke", "my app")
        assert (unread.code, "KEYRELAY_POLICY" in unread.err) == (2, True), "the command reads the file too"
        revoked = await clients("revoke", "my app", "--env-file", "/dev/null")
        assert "revoked" in revoked.out
        assert "not valid, and is left out of account" in revoked.err
        assert "GROQ_TIER" in revoked.err
        (tmp_path / ".env").unlink()
        assert await status_of(gateway, second) == 401
        assert (await clients("remove", "my app", "--yes")).code == 0
        assert "my app" not in (await clients("list")).out


async def test_what_the_gateway_does_not_do_is_said(tmp_path: Path, keyrelay: Keyrelay) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    data = str(tmp_path / "data")
    assert (await asyncio.to_thread(alone, keyrelay, "new", "kept", KEYRELAY_DATA_DIR=data)).code == 0
    async with served(tmp_path, KEYRELAY_DATA_DIR=data) as gateway:
        assert (await beside(gateway, keyrelay, "new")).err.startswith("This is the secret of client-1")
        taken = await beside(gateway, keyrelay, "new", "tests")
        assert (taken.code, "environment CLIENT_API_KEYS_MAP has a client 'tests' already" in taken.err) == (1, True)
        assert (await beside(gateway, keyrelay, "show", "nobody")).code == 1
        assert (await beside(gateway, keyrelay, "list", KEYRELAY_OPERATOR_SECRET="wrong")).code == 4
        removed = await beside(gateway, keyrelay, "remove", "kept", "--yes", KEYRELAY_DATA_DIR=data)
        assert (removed.code, "from the data directory" in removed.err) == (0, True)
