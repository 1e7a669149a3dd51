"""Whoever sends whatever to whatever the OpenAPI document describes is answered as it says, and let in as it says."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from keyrelay.simulator import ProviderPlan, Scenario
from tests.api.served import OPERATOR_SECRET
from tests.clients.matrix import ROOT
from tests.e2e.harness import CLIENT_SECRET, environment, process, simulated

PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "3")
"""Requests for each operation; the long form takes 200."""

PROVIDERS = ("openai", "anthropic", "gemini", "cohere")
KNOWN = {"provider": "openai", "label": "stored", "name": "x", "model": "gpt-5.4-mini", "task_id": "x", "id": "x"}
CALLERS = f"administrator {OPERATOR_SECRET} /api/v1/\nclient {CLIENT_SECRET} /\nnobody - /\n"
NOWHERE = {"KEYRELAY_UPSTREAM_PROXY": "http://127.0.0.1:9", "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}
"""An administrator may name any address: what lies outside of this machine is looked for behind a port that is shut."""


@pytest.mark.skipif(not PYTHON.exists(), reason="the clients are not installed: scripts/compatibility --install")
async def test_every_operation_answers_as_its_document_says(tmp_path: Path) -> None:
    plans = {name: ProviderPlan(limits=()) for name in PROVIDERS}
    async with simulated(Scenario(providers=plans)) as simulator:
        keys = {name: [f"sim-{name}-a"] for name in PROVIDERS}
        environ = environment(simulator, keys, KEYRELAY_TOTAL_TIMEOUT_S="5", **NOWHERE)
        async with process(environ, tmp_path) as gateway:
            program = await asyncio.create_subprocess_exec(
                PYTHON,
                "-m",
                "tests.clients.programs.openapi",
                f"http://127.0.0.1:{gateway.port}",
                EXAMPLES,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await program.communicate(f"{json.dumps(KNOWN)}\n{CALLERS}".encode())
            assert program.returncode == 0, err.decode()[-2_000:]
            *found, last = [json.loads(line) for line in out.splitlines()]
            assert found == []
            assert last["requests"] > 500
            assert "Traceback" not in gateway.log()
