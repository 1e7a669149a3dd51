"""`keyrelay providers`, `routes` and `settings`, asked of a running gateway."""

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from keyrelay.cli.main import app
from tests.api.administration.providing import At, administered
from tests.api.served import MODEL, OPERATOR_SECRET
from tests.e2e.commands import Ended


class Commands:
    """The commands in a thread of this process: their own start is shown elsewhere."""

    def __init__(self, at: At, home: Path) -> None:
        self._url = f"http://127.0.0.1:{at.gateway.port}"
        self._environ = {"HOME": str(home), "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}

    async def __call__(self, *arguments: str) -> Ended:
        wanted = [*arguments, "--url", self._url]
        ended = await asyncio.to_thread(CliRunner().invoke, app, wanted, env=self._environ)
        return Ended(ended.exit_code, ended.stdout, ended.stderr)


async def test_a_provider_from_its_first_look_to_its_end(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        run = Commands(at, tmp_path)
        url = at.simulator.base_url("groq")
        (tmp_path / "sim.key").write_text("sim-groq-c\n")
        looked = await run("providers", "preview", url, "--key-file", str(tmp_path / "sim.key"))
        assert (looked.code, looked.out.splitlines()[0]) == (0, f"{url} lists 5 models")
        added = await run(
            "providers", "add", "sim", url, "--model", "own", "--tier", "paid", "--limit", "9 requests per 60s"
        )
        assert (added.code, added.out.splitlines()[0]) == (0, "sim (sim): in use")
        keyless = await run("providers", "add", "bare", url, "--json")
        assert (keyless.document["state"], keyless.document["priority"]) == ("no_key", 50)
        assert (await run("providers", "remove", "bare", "--yes")).code == 0
        await at.add_key("sim", "sim-groq-c")
        found = await run("providers", "discover", "sim", "--apply", "--model", MODEL)
        states = {line.split()[0]: line.split()[1] for line in found.out.splitlines()[1:]}
        assert (states[MODEL], set(states.values())) == ("added", {"added", "new"})
        assert "known here, and not listed there: own" in found.err
        shown = await run("providers", "show", "sim", "--json")
        assert shown.document["entry"]["models"] == ["own", MODEL]
        tested = await run("providers", "test", "sim", "--key", "main")
        assert (tested.code, tested.out.startswith("sim/main: valid, ")) == (0, True)
        ordered = await run("providers", "order", "groq", "sim")
        assert ordered.out.split() == ["groq", "sim"]
        listed = await run("providers", "list", "--running")
        assert [line.split()[0] for line in listed.out.splitlines()] == ["PROVIDER", "groq", "sim"]
        assert (await run("providers", "remove", "sim")).err == "keyrelay: this cannot be undone; give --yes.\n"
        refused = await run("providers", "remove", "sim", "--yes")
        assert (refused.code, "has 1 key" in refused.err) == (1, True)
        ended = await run("providers", "remove", "sim", "--with-keys", "--yes", "--json")
        assert (ended.code, ended.document["removed_provider"]) == (0, "sim")


async def test_a_provider_is_changed_and_switched(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        run = Commands(at, tmp_path)
        edited = await run("providers", "edit", "groq", "--priority", "7", "--json")
        assert edited.document["priority"] == 7
        assert (await run("providers", "edit", "groq", "--unset", "priority", "--json")).document["priority"] == 3
        assert (await run("providers", "edit", "groq")).code == 2
        assert (await run("providers", "disable", "groq")).out == "groq: off\n"
        assert (await run("providers", "enable", "groq", "--json")).document["state"] == "in_use"
        nowhere = await run("providers", "preview", "http://127.0.0.1:1/v1")
        assert (nowhere.code, "could not be asked" in nowhere.err) == (3, True)


async def test_routes(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        run = Commands(at, tmp_path)
        made = await run("routes", "set", "fast", f"groq/{MODEL}", "gemini", "--policy", "priority", "--cache", "off")
        assert made.code == 0
        assert f"Route fast: groq/{MODEL}, gemini, priority." in made.err
        assert "gemini is not in use" in made.err
        again = await run("routes", "set", "safe", "groq", "--fallback", "gemini", "--fallback", f"groq/{MODEL}")
        assert "; then gemini" in again.err
        assert (await run("routes", "set", "a/b", "groq")).code == 2
        assert (await run("routes", "remove", "safe")).code == 2
        assert (await run("routes", "remove", "safe", "--yes")).code == 0
        lines = (await run("routes", "list")).out.splitlines()
        assert [line.split()[0] for line in lines] == ["ROUTE", "auto", "fast"]
        said = await run("routes", "explain", "fast", "--without", "groq/work", "--tokens", "900")
        assert said.out.startswith(f"It would go to groq's key 'home' with {MODEL}")
        assert (await run("routes", "explain", "fast", "--json")).document["free_choice"] is True
        assert (await run("routes", "remove", "fast", "--yes")).err == "Route fast is removed.\n"


async def test_settings(tmp_path: Path) -> None:
    async with administered(tmp_path) as at:
        run = Commands(at, tmp_path)
        assert (await run("settings", "set", "max_wait_s")).code == 2
        changed = await run("settings", "set", "max_wait_s=2", "cache_ttl_s=60")
        assert "max_wait_s = 2 (store KEYRELAY_MAX_WAIT_S)\n" in changed.out
        assert "cache_ttl_s = 60 (store KEYRELAY_CACHE_TTL_S), from the next start on" in changed.out
        listed = (await run("settings", "list", "--changed", "--json")).document["items"]
        assert {"max_wait_s", "cache_ttl_s"} <= {each["name"] for each in listed}
        assert all(each["source"] != "default" for each in listed)
        refused = await run("settings", "set", "max_wait_s=soon")
        assert (refused.code, "'soon' is not a number of seconds" in refused.err) == (1, True)
        unset = (await run("settings", "unset", "max_wait_s", "--json")).document
        assert [(each["name"], each["source"]) for each in unset["items"]] == [("max_wait_s", "default")]
