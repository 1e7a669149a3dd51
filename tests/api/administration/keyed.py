"""A gateway over a simulated provider whose keys are worth something or nothing, for tests of keys."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from keyrelay.simulator import Scenario, Simulator
from keyrelay.simulator.scenario import KeyPlan, KeyState, ProviderPlan
from tests.api.served import CLIENTS, KEYS, OPERATOR_SECRET
from tests.e2e.harness import Caller, Embedded, Reply, embedded, environment, simulated

GOOD, OTHER, BAD, POOR = (f"gsk_test_{name}_0123456789" for name in ("good", "other", "bad", "poor"))
PATH = "/api/v1/keys"


class Desk:
    """Where somebody administers a gateway."""

    def __init__(self, gateway: Embedded, simulator: Simulator, caller: Caller) -> None:
        self.gateway = gateway
        self.simulator = simulator
        self.caller = caller

    async def get(self, path: str = "") -> Any:
        reply = await self.caller.get(PATH + path)
        assert reply.status == 200, reply.body
        return reply.json

    async def send(self, path: str, body: object = None, method: str = "POST", *, status: int = 200) -> Any:
        reply = await self.ask(path, body, method)
        assert reply.status == status, reply.body
        return reply.json

    async def ask(self, path: str, body: object = None, method: str = "POST") -> Reply:
        if body is None:
            return await self.caller.get(PATH + path, method)
        return await self.caller.post(PATH + path, body, method=method)

    async def add(self, secret: str = GOOD, label: str = "mine", **more: Any) -> Any:
        body = {"provider": "groq", "secret": secret, "label": label, **more}
        return await self.send("", body, status=201)

    async def states(self) -> dict[str, str]:
        return {key["id"]: key["state"] for key in (await self.get())["items"]}


@contextlib.asynccontextmanager
async def desk(
    directory: Path, keys: Mapping[str, KeyState | KeyPlan] = {}, secret: str = OPERATOR_SECRET, **more: str
) -> AsyncIterator[Desk]:
    worth: dict[str, KeyState | KeyPlan] = {BAD: "invalid", POOR: "no_credit", **keys}
    scenario = Scenario(providers={"groq": ProviderPlan(keys=worth)})
    async with simulated(scenario) as simulator:
        environ = environment(simulator, {**KEYS, "openai": (), "deepseek": ()}, CLIENT_API_KEYS_MAP=CLIENTS, **more)
        environ["KEYRELAY_OPERATOR_SECRET"] = OPERATOR_SECRET
        async with embedded(environ, directory) as gateway, Caller(gateway.port, secret) as caller:
            yield Desk(gateway, simulator, caller)
