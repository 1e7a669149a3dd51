"""`keyrelay keys` as a process of its own, against a gateway that runs."""

import asyncio
import json
import sys
from pathlib import Path

from tests.api.administration.keyed import BAD, GOOD, OTHER, Desk, desk
from tests.api.served import OPERATOR_SECRET
from tests.cli.helpers import Ended, Keyrelay


async def keys(at: Desk, keyrelay: Keyrelay, *arguments: str, stdin: str = "") -> Ended:
    url = f"http://127.0.0.1:{at.gateway.port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyrelay",
        "keys",
        *arguments,
        cwd=keyrelay.directory,
        env=keyrelay.environment(KEYRELAY_URL=url, KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 30.0)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def test_a_key_from_stdin_to_its_end(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with desk(tmp_path) as at:
        added = await keys(
            at, keyrelay, "add", "groq", "--label", "mine", "--limit", "9 requests per 60s", stdin=f"{GOOD}\n"
        )
        assert (added.code, added.out) == (0, "groq/mine\n")
        assert "Groq accepts it" in added.err
        edited = await keys(at, keyrelay, "edit", "groq/mine", "--priority", "3", "--limit", "", "--backup", "--json")
        assert (edited.document["priority"], edited.document["limits"], edited.document["backup"]) == (3, [], True)
        assert (await keys(at, keyrelay, "disable", "groq/mine")).out == "groq/mine: disabled\n"
        assert (await keys(at, keyrelay, "enable", "groq/mine")).out == "groq/mine: ready\n"
        (tmp_path / "new.key").write_text(f"{OTHER}\n")
        rotated = await keys(at, keyrelay, "rotate", "groq/mine", "--from-file", "new.key", "--drain", "0")
        assert (rotated.code, rotated.out) == (0, "groq/mine: retired\n")
        listed = await keys(at, keyrelay, "list", "--provider", "groq")
        lines = [line.split()[:3] for line in listed.out.splitlines()]
        assert lines == [
            ["KEY", "TAIL", "STATE"],
            ["groq/home", "…", "unknown"],
            ["groq/mine", f"…{OTHER[-4:]}", "ready"],
            ["groq/work", "…", "unknown"],
        ]
        assert (await keys(at, keyrelay, "remove", "groq/mine")).code == 2
        unnamed = await keys(at, keyrelay, "test", "groq")
        assert (unnamed.code, "or --provider groq for all" in unnamed.err) == (2, True)
        nobody = await keys(at, keyrelay, "test", "--provider", "grok")
        assert (nobody.code, nobody.err) == (0, "warning: there is no provider 'grok'. Did you mean groq?\n")
        assert (await keys(at, keyrelay, "remove", "groq/mine", "--yes")).code == 0
        document = (await keys(at, keyrelay, "list", "--json")).document
        assert [key["id"] for key in document["items"]] == ["groq/home", "groq/work"]
        assert GOOD not in json.dumps(document)


async def test_of_a_paste_that_is_refused_every_line_is_shown(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with desk(tmp_path) as at:
        paste = f"GROQ_API_KEYS=one={GOOD},two={BAD}\n"
        refused = await keys(at, keyrelay, "import", stdin=paste)
        assert [line.split()[1:4] for line in refused.out.splitlines()[1:]] == [
            ["new", "groq", "one"],
            ["problem", "groq", "two"],
        ]
        assert (refused.code, "Nothing was added" in refused.err) == (1, True)
        document = (await keys(at, keyrelay, "import", "--json", stdin=paste)).document
        assert [line["outcome"] for line in document["lines"]] == ["new", "problem"]


async def test_many_keys_from_a_paste(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with desk(tmp_path) as at:
        paste = f"GROQ_API_KEYS=one={GOOD},two={OTHER}\n"
        shown = await keys(at, keyrelay, "import", "--dry-run", stdin=paste)
        assert (shown.code, "would be added; nothing was written: --dry-run" in shown.err) == (0, True)
        assert [line.split()[:4] for line in shown.out.splitlines()[1:]] == [
            ["1", "new", "groq", "one"],
            ["1", "new", "groq", "two"],
        ]
        (tmp_path / "old.env").write_text(paste)
        assert (await keys(at, keyrelay, "import", "old.env", "--json")).document["added"] == 2
        unclear = await keys(at, keyrelay, "import", "--dry-run", stdin="sk-test-0123456789ab\n")
        assert unclear.code == 3
        assert (await keys(at, keyrelay, "import", stdin="sk-test-0123456789ab\n")).code == 1
        copied = await keys(at, keyrelay, "import", "--environment")
        assert copied.out.split() == ["groq/home", "groq/work"]


async def test_keys_are_tested_and_a_bad_one_is_told_by_the_exit_code(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with desk(tmp_path) as at:
        assert (await keys(at, keyrelay, "test")).code == 0
        added = await keys(at, keyrelay, "add", "groq", "--label", "bad", "--no-validate", stdin=BAD)
        assert "It was not tested." in added.err
        tested = await keys(at, keyrelay, "test", "groq/bad", "--json")
        assert (tested.code, tested.document["results"][0]["outcome"]) == (3, "invalid")
        listed = await keys(at, keyrelay, "list", "--state", "invalid")
        assert "groq/bad: " in listed.err
        assert (await keys(at, keyrelay, "wake", "groq/bad")).out == "groq/bad: unknown\n"


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("enable", "groq"), 2, "write provider/label"),
    (("edit", "groq/work"), 2, "nothing is to be changed"),
    (("test", "--failed", "--stale"), 2, "exclude each other"),
    (("disable", "groq/none"), 1, "There is no key"),
    (("rotate", "groq/work", "--resume"), 1, "import the key first"),
]


async def test_what_is_wrong_is_said(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with desk(tmp_path) as at:
        for arguments, code, words in WRONG:
            ended = await keys(at, keyrelay, *arguments)
            assert (ended.code, words in ended.err) == (code, True), ended.err
