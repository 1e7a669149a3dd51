"""A gateway over simulated providers, with an operator and two clients, for tests of the views."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from keyrelay.simulator import Scenario
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, Reply, embedded, environment, simulated

OPERATOR_SECRET = "7d865e959b2466918c9863afca942d0f"
OTHER_SECRET = "e4da3b7fbbce2345d7772b0674a318d5"
CLIENTS = f"{CLIENT_SECRET}:tests,{OTHER_SECRET}:other"
KEYS = {"groq": ["work=sim-groq-a", "home=sim-groq-b"]}
MODEL = "openai/gpt-oss-20b"


@contextlib.asynccontextmanager
async def served(directory: Path, *, operator: bool = True, **more: str) -> AsyncIterator[Embedded]:
    async with simulated(Scenario()) as simulator:
        environ = environment(simulator, KEYS, **{"CLIENT_API_KEYS_MAP": CLIENTS, **more})
        if operator:
            environ["KEYRELAY_OPERATOR_SECRET"] = OPERATOR_SECRET
        async with embedded(environ, directory) as gateway:
            yield gateway


async def look(gateway: Embedded, path: str, secret: str = CLIENT_SECRET, method: str = "GET", **headers: str) -> Reply:
    async with Caller(gateway.port, secret) as caller:
        return await caller.get(path, method, **headers)
