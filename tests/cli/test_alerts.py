"""`keyrelay alerts` as a process of its own, against a gateway that runs."""

import asyncio
import sys
from pathlib import Path

from tests.api.administration.test_alerts import Desk, desk
from tests.api.served import OPERATOR_SECRET
from tests.cli.helpers import Ended, Keyrelay
from tests.notify.servers import hooks


async def alerts(at: Desk, keyrelay: Keyrelay, *arguments: str, stdin: str = "") -> Ended:
    url = f"http://127.0.0.1:{at.gateway.port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyrelay",
        "alerts",
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


async def test_from_a_channel_to_an_alert_that_is_silenced(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with hooks(200, 404) as server, desk(tmp_path) as at:
        added = await alerts(at, keyrelay, "channels", "add", "ops", "webhook", stdin=f"{server.url}\n")
        assert added.code == 0
        assert added.out.startswith("whsec_")
        assert "SECRETPATH" not in added.out + added.err
        assert (await alerts(at, keyrelay, "test", "ops")).err == "ops has taken a test message.\n"
        refused = await alerts(at, keyrelay, "test", "ops")
        assert (refused.code, "answered 404" in refused.err) == (3, True)
        assert (await alerts(at, keyrelay, "rules", "edit", "key_invalid", "--for", "0", "--per-hour", "9")).code == 0
        await at.at_once("key_invalid")
        at.spoil()
        alert = await at.fires("key_invalid")
        listed = await alerts(at, keyrelay, "list")
        assert alert["id"] in listed.out
        assert (await alerts(at, keyrelay, "list", "--json")).document["firing"][0]["subject"] == "groq/work"
        silenced = await alerts(at, keyrelay, "silence", alert["id"], "--for", "2h")
        assert (silenced.code, "is silent until" in silenced.err) == (0, True)
        assert (await alerts(at, keyrelay, "acknowledge", alert["id"])).code == 0
        assert (await alerts(at, keyrelay, "silence", alert["id"], "--for", "soon")).code == 2
        assert (await alerts(at, keyrelay, "silence", "al_0000000000000000")).code == 1


async def test_rules_and_quiet_hours(tmp_path: Path, keyrelay: Keyrelay) -> None:
    async with desk(tmp_path) as at:
        edited = await alerts(at, keyrelay, "rules", "edit", "spend_day", "--threshold", "5", "--threshold", "20")
        assert edited.err == "spend_day is changed.\n"
        document = (await alerts(at, keyrelay, "rules", "list", "--json")).document
        steps = next(rule["steps"] for rule in document["items"] if rule["name"] == "spend_day")
        assert [step["threshold"] for step in steps] == [5.0, 20.0]
        quiet = await alerts(at, keyrelay, "quiet-hours", "--from", "22:00", "--to", "07:00", "--zone", "Europe/Berlin")
        assert quiet.code == 0
        assert "quiet from 22:00 to 07:00 (Europe/Berlin)" in (await alerts(at, keyrelay, "rules", "list")).out
        assert (await alerts(at, keyrelay, "quiet-hours", "--off")).code == 0
        assert (await alerts(at, keyrelay, "quiet-hours", "--from", "22:00")).code == 2
        assert (await alerts(at, keyrelay, "rules", "edit", "spend_day")).code == 2
