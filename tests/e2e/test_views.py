"""Ask, look at the quota, explain the request: over real sockets, with the real commands."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.simulator import KeyPlan, ProviderPlan, Scenario
from tests.api.served import OPERATOR_SECRET
from tests.e2e.harness import CLIENT_SECRET, Embedded, chat, embedded, environment, simulated

MODEL = "openai/gpt-oss-20b"


async def command(directory: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """`keyrelay …` in a process of its own: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyrelay",
        *arguments,
        cwd=directory,
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30.0)
    return process.returncode or 0, out.decode(), err.decode()


async def asked(directory: Path, gateway: Embedded, *arguments: str, secret: str = CLIENT_SECRET) -> Any:
    """The document that a command prints."""
    where = f"http://127.0.0.1:{gateway.port}"
    code, out, err = await command(directory, *arguments, "--json", KEYRELAY_URL=where, KEYRELAY_API_KEY=secret)
    assert (code, err) == (0, "")
    return msgspec.json.decode(out)


async def test_ask_look_at_the_quota_and_explain(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    elsewhere = tmp_path / "elsewhere"
    plan = ProviderPlan(keys={"sim-groq-bad": KeyPlan(label="bad", state="invalid")})
    async with simulated(Scenario(providers={"groq": plan})) as simulator:
        keys = {"groq": ["bad=sim-groq-bad", "good=sim-groq-good"]}
        environ = environment(simulator, keys, GROQ_RPM="4", KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET)
        async with embedded(environ, tmp_path) as gateway:
            patience = {"x-keyrelay-deadline-ms": "900"}  # less than the minute in which the limit is free again
            prompts = [chat(MODEL, text="A secret prompt.") for _ in range(5)]
            first, *others = [await gateway.ask(prompt, headers=patience) for prompt in prompts]

            quota = await asked(elsewhere, gateway, "quota", "--model", MODEL, "--key", "good")
            minute = next(each for each in quota["counts"] if each["window"] == "60s")
            assert (minute["used"], minute["remaining"], minute["amount"]) == (4, 0, 4)
            assert minute["forecast"]["kind"] == "exhausted"

            document = await asked(elsewhere, gateway, "explain", first.headers["x-request-id"])
            assert [line["kind"] for line in document["attempts"]] == ["auth", ""]
            (stage,) = document["stages"]
            assert [(line["key"], line["outcome"]) for line in stage["candidates"]] == [
                ("bad", "failed"),
                ("good", "answered"),
            ]

            last = others[-1]
            assert last.status == 503
            where = f"http://127.0.0.1:{gateway.port}"
            code, text, err = await command(
                elsewhere,
                "explain",
                last.error["keyrelay"]["request_id"],
                "--url",
                where,
                KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET,
            )
            assert (code, err) == (0, "")
            assert text.startswith("Nobody answered (503, no candidate available); 2 candidates were passed over.")
            assert "good openai/gpt-oss-20b (limited): 4 of 4 requests per 60s used, free at 2" in text
            assert "bad openai/gpt-oss-20b (dead): auth: " in text
            for said in (text, str(document), str(quota)):
                assert "A secret prompt" not in said
                assert "sim-groq" not in said
