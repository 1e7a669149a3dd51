"""From an empty machine to a tested provider that answers, by commands alone."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.commands import Commands
from tests.e2e.harness import process, simulated

LONGEST_S = 30.0
KEY = "sim-groq-a"
MODEL = "openai/gpt-oss-20b"
ENVIRON = {"KEYRELAY_PORT": "0", "KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true"}
"""No key and no provider; the address of the simulated one is on this machine, which takes the operator's leave."""


async def test_from_an_empty_machine_to_a_tested_provider_that_answers(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with simulated() as simulator:
        began_at = time.monotonic()
        async with process(ENVIRON, tmp_path) as gateway:
            run = Commands(gateway.port, tmp_path)
            assert "no provider is in use yet" in gateway.log()
            secret = gateway.log().partition("shown only now: ")[2].split()[0]

            url = simulator.base_url("groq")
            looked = await run("providers", "preview", url, "--json")
            assert json.loads(looked.out)["status"] == 401, "it wants a key, and is there"
            added = await run("providers", "add", "sim", url, "--model", MODEL)
            assert added.code == 0, added.err
            assert "It has no key yet" in added.err or "in use" in added.out
            keyed = await run("keys", "add", "sim", "--label", "first", "--no-validate", stdin=KEY)
            assert keyed.code == 0, keyed.err
            tested = await run("providers", "test", "sim")
            assert (tested.code, tested.out.startswith("sim/first: valid")) == (0, True), tested

            curl = await asyncio.create_subprocess_exec(
                "curl",
                "-sS",
                f"{gateway.base_url}/generate",
                "-H",
                f"Authorization: Bearer {secret}",
                "-H",
                "content-type: application/json",
                "-d",
                json.dumps({"prompt": "Say hello in five words."}),
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await curl.communicate()
            took_s = time.monotonic() - began_at
            assert json.loads(said)["text"], said
            record_property("seconds", round(took_s, 2))
            assert took_s < LONGEST_S


async def test_what_was_administered_serves_after_the_next_start(tmp_path: Path) -> None:
    """And the demonstration does not come in its place, though the environment holds no provider."""
    async with simulated() as simulator:
        async with process(ENVIRON, tmp_path) as gateway:
            run = Commands(gateway.port, tmp_path)
            await run("providers", "add", "sim", simulator.base_url("groq"), "--model", MODEL)
            keyed = await run("keys", "add", "sim", "--label", "first", stdin=KEY)
            assert keyed.code == 0, keyed.err
            changed = await run("settings", "set", "circuit_failures=7", "max_wait_s=2")
            assert "circuit_failures = 7 (store KEYRELAY_CIRCUIT_FAILURES), from the next start on" in changed.out
            secret = gateway.log().partition("shown only now: ")[2].split()[0]
        async with process(ENVIRON, tmp_path, ("-m", "keyrelay", "up")) as gateway:
            assert "(1 provider, 1 key: sim)" in gateway.log()
            body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
            reply = await gateway.ask(body, headers={"authorization": f"Bearer {secret}"})
            assert reply.is_good(), reply.body
