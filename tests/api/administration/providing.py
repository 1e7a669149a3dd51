"""A gateway over simulated providers, administered by an operator, for tests of providers, routes and settings."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from keyrelay.administration.service import Author
from keyrelay.core.administered import Administered, KeyEntry
from keyrelay.core.secrets import Secret
from keyrelay.simulator import Scenario, Simulator
from tests.api.served import CLIENTS, KEYS, OPERATOR_SECRET
from tests.e2e.harness import Caller, Embedded, Reply, embedded, environment, simulated

ALICE = Author("user:alice")


class At:
    """A gateway, its simulator and an operator's connection."""

    def __init__(self, gateway: Embedded, simulator: Simulator, caller: Caller) -> None:
        self.gateway = gateway
        self.simulator = simulator
        self._caller = caller

    @property
    def state(self) -> Administered:
        return self.gateway.application.administration.state

    async def get(self, path: str, status: int = 200) -> Any:
        return checked(await self._caller.get(f"/api/v1{path}"), status)

    async def send(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        data = b"" if body is None else body
        return checked(await self._caller.post(f"/api/v1{path}", data, method=method), status)

    async def refused(self, method: str, path: str, body: object, status: int) -> tuple[str, str | None]:
        """Code and parameter of the refusal of a change, after which all is as it was."""
        before = self.state
        error = (await self.send(method, path, body, status))["error"]
        assert self.state.entries == before.entries
        return error["code"], error["param"]

    async def add_key(self, provider: str, secret: str, label: str = "main") -> None:
        def edit(state: Administered) -> Administered:
            return state.put(KeyEntry(provider=provider, label=label), Secret(secret))

        await self.gateway.application.administration.change(edit, ALICE, "add key")


def checked(reply: Reply, status: int) -> Any:
    assert reply.status == status, reply.body
    return reply.json


@contextlib.asynccontextmanager
async def administered(
    directory: Path,
    keys: Mapping[str, list[str]] = KEYS,
    *,
    private: bool = True,
    scenario: Scenario | None = None,
    **more: str,
) -> AsyncIterator[At]:
    async with simulated(scenario or Scenario()) as simulator:
        environ = environment(simulator, keys, CLIENT_API_KEYS_MAP=CLIENTS, KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET)
        allowed = {"KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true"} if private else {}
        async with (
            embedded(environ | allowed | more, directory) as gateway,
            Caller(gateway.port, OPERATOR_SECRET) as caller,
        ):
            yield At(gateway, simulator, caller)
