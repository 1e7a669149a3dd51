"""Whatever is sent to whatever the OpenAPI document describes, nothing ends in an error of Keyrelay's own."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from keyrelay.simulator import ProviderPlan, Scenario
from tests.clients.matrix import ROOT
from tests.e2e.harness import CLIENT_SECRET, environment, process, simulated

PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "5")
"""Requests for each operation; the long form takes 200."""

PROVIDERS = ("openai", "anthropic", "gemini", "cohere")


@pytest.mark.skipif(not PYTHON.exists(), reason="the clients are not installed: scripts/compatibility --install")
async def test_no_operation_ends_in_an_internal_error(tmp_path: Path) -> None:
    plans = {name: ProviderPlan(limits=()) for name in PROVIDERS}
    async with simulated(Scenario(providers=plans)) as simulator:
        keys = {name: [f"sim-{name}-a"] for name in PROVIDERS}
        environ = environment(simulator, keys, KEYRELAY_TOTAL_TIMEOUT_S="5")
        async with process(environ, tmp_path) as gateway:
            program = await asyncio.create_subprocess_exec(
                PYTHON,
                "-m",
                "tests.clients.programs.openapi",
                f"http://127.0.0.1:{gateway.port}",
                CLIENT_SECRET,
                EXAMPLES,
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await program.communicate()
            assert program.returncode == 0, err.decode()[-2_000:]
            *found, last = [json.loads(line) for line in out.splitlines()]
            assert found == []
            assert last["requests"] > 100
            assert "Traceback" not in gateway.log()
