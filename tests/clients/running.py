"""Runs clients against a real gateway in front of simulated providers, one for each dialect."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.core.providers import ProviderRow
from keyrelay.simulator import Latency, ProviderPlan, Scenario, Simulator
from keyrelay.upstream.catalogue import load_catalogue
from tests.clients.matrix import CLIENTS, DIALECTS, DIRECT, ELSEWHERE, MODELS, ROOT, Client
from tests.e2e.harness import Process, process, until

AT_ONCE = 2
PROGRAM_TIMEOUT_S = 180.0
UPSTREAM_KEY = "sim-upstream-a"
DIRECT_KEY = "sim-direct-a"
NODE = ROOT / "tests" / "clients" / "node"
_SLOW = Latency(tokens_per_s=40)
_LONG = (200, 240)
"""An answer's tokens and their pace when it is to be cancelled: it would take seconds."""
_GONE = "caller_gone"
"""What the gateway's log calls a request whose caller left."""


class Outcome(msgspec.Struct, frozen=True):
    """One cell: whether it works, else what was seen."""

    target: str
    feature: str
    ok: bool
    detail: str = ""


Outcomes = dict[tuple[str, str, str], Outcome]
"""By client's id, target and feature."""


def interpreter(client: Client) -> Path:
    """What runs a client's program."""
    if client.environment == "node":
        return NODE / "node_modules" / client.package / "package.json"
    return ROOT / ".venv" / client.environment / "bin" / "python"


def is_installed(client: Client) -> bool:
    """Whether a client's environment is there."""
    return interpreter(client).exists()


def secret(client: Client) -> str:
    """The client's own secret, so that the gateway's log says who asked."""
    return f"secret-of-{client.id}-0123456789abcdef"


def slow(provider: str) -> str:
    """The provider that is like another and answers slowly; its only model has the same name."""
    return f"slow{provider}"


def _rows() -> dict[str, ProviderRow]:
    rows = dict(load_catalogue())
    return rows | {slow(name): msgspec.structs.replace(rows[name], id=slow(name)) for name in DIALECTS}


def _models(provider: str) -> dict[str, str]:
    kinds: dict[str, str] = msgspec.structs.asdict(MODELS[provider])
    return {kind: name for kind, name in kinds.items() if name} | {"slow": slow(provider)}


def _served(provider: str) -> tuple[str, ...]:
    """The models that a provider has itself."""
    names = {name: None for kind, name in _models(provider).items() if kind != "slow" and name != ELSEWHERE}
    return tuple(names)


def _scenario() -> Scenario:
    plan = ProviderPlan(limits=(), keys={UPSTREAM_KEY: "ok", DIRECT_KEY: "ok"}, accept_unknown_keys=False)
    plans = {"deepseek": plan}
    for name in DIALECTS:
        plans[name] = msgspec.structs.replace(plan, models=_served(name))
        plans[slow(name)] = msgspec.structs.replace(plan, models=(slow(name),), latency=_SLOW, answer_tokens=_LONG)
    return Scenario(providers=plans)


def environment(simulator: Simulator) -> dict[str, str]:
    """The gateway's environment: each provider in its own dialect, and its slow double."""
    environ = {
        "CLIENT_API_KEYS_MAP": ",".join(f"{secret(client)}:{client.id}" for client in CLIENTS),
        "KEYRELAY_LOG_FORMAT": "json",
        "KEYRELAY_PORT": "0",
        "DEEPSEEK_BASE_URL": simulator.base_url("deepseek"),
        "DEEPSEEK_API_KEYS": UPSTREAM_KEY,
    }
    for name in DIALECTS:
        for provider, served in ((name, ",".join(_served(name))), (slow(name), slow(name))):
            prefix = provider.upper()
            environ[f"{prefix}_BASE_URL"] = simulator.base_url(provider)
            environ[f"{prefix}_API_KEYS"] = UPSTREAM_KEY
            environ[f"{prefix}_DIALECT"] = name
            environ[f"{prefix}_MODELS"] = served
            environ[f"{prefix}_TIER"] = "paid"
    return environ


class World:
    """The simulator, the gateway in front of it, and what came of the clients."""

    def __init__(self, simulator: Simulator, gateway: Process) -> None:
        self.simulator = simulator
        self.gateway = gateway

    @property
    def origin(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.gateway.port}"

    def targets(self, client: Client) -> list[dict[str, Any]]:
        """What a program is told."""
        found: list[dict[str, Any]] = []
        for name in client.targets:
            if name == DIRECT:
                models = {kind: model for kind, model in _models(client.own).items() if model != ELSEWHERE}
                origins = {"origin": self._direct(client.own), "slow_origin": self._direct(slow(client.own))}
                found.append({"name": name, "key": DIRECT_KEY, "models": models, **origins})
            else:
                found.append({"name": name, "key": secret(client), "models": _models(name), "origin": self.origin})
        return found

    def _direct(self, provider: str) -> str:
        return self.simulator.base_url(provider).removesuffix("/v1")


@contextlib.asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    """Start the simulator and the gateway."""
    simulator = Simulator(_scenario(), _rows())
    await simulator.start()
    try:
        async with process(environment(simulator), directory) as gateway:
            yield World(simulator, gateway)
            await gateway.stop()
    finally:
        await simulator.stop()


async def run_program(client: Client, targets: Sequence[Mapping[str, Any]], directory: Path) -> list[Outcome]:
    """Run a client's program; what it did not come to is a no that says why."""
    script = str(NODE / client.program)
    command = ("node", script) if client.environment == "node" else _python(client)
    environ = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(directory), "NO_PROXY": "*"}
    started = await asyncio.create_subprocess_exec(
        *command,
        json.dumps(targets),
        cwd=ROOT,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(started.communicate(), PROGRAM_TIMEOUT_S)
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    found = [msgspec.json.decode(line, type=Outcome) for line in out.splitlines() if line.startswith(b"{")]
    seen = {(each.target, each.feature) for each in found}
    why = f"the program ended with {started.returncode}: {err.decode(errors='replace')[-500:]}"
    missing = ((target["name"], feature) for target in targets for feature in client.features)
    return found + [Outcome(*cell, ok=False, detail=why) for cell in missing if cell not in seen]


def _python(client: Client) -> tuple[str, ...]:
    return str(interpreter(client)), "-m", f"tests.clients.programs.{client.program}"


async def run_clients(directory: Path, clients: Iterable[Client] = CLIENTS) -> Outcomes:
    """Run clients, a few at once; every cell of theirs."""
    found: Outcomes = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async with world(directory) as here:

        async def run(client: Client) -> None:
            async with turns:
                for each in await run_program(client, here.targets(client), directory):
                    found[client.id, each.target, each.feature] = each

        await asyncio.gather(*map(run, clients))
        await _ended(here)
        return _judged(found, here)


async def _ended(here: World) -> None:
    """Wait until no answer is on its way any more."""
    slow_calls = [call for call in here.simulator.judge.calls if call.provider.startswith("slow")]
    with contextlib.suppress(AssertionError):  # what went on is found out below
        await until(lambda: all(call.ended_s is not None for call in slow_calls), "every answer has ended")
        asked = sum(call.key == UPSTREAM_KEY for call in slow_calls)
        await until(
            lambda: _slow_lines(here) >= asked, "all of them stand in the gateway's log, which is written in batches"
        )


def _slow_lines(here: World) -> int:
    return sum(str(line.get("model_asked", "")).startswith("slow") for line in here.gateway.lines())


def _judged(outcomes: Outcomes, here: World) -> Outcomes:
    """A cancelled answer has to be one to the gateway and at the provider too, which saw its caller leave each time."""
    left = {(line["client"], line["model_asked"]) for line in here.gateway.lines() if line.get("category") == _GONE}
    went_on = {
        call.provider
        for call in here.simulator.judge.calls
        if call.key == UPSTREAM_KEY and call.provider.startswith("slow") and call.disconnected_s is None
    }
    for key, outcome in outcomes.items():
        if outcome.feature != "cancel" or not outcome.ok or outcome.target == DIRECT:
            continue
        provider = slow(outcome.target)
        detail = ""
        if (key[0], provider) not in left:
            detail = "the gateway did not see that its caller had gone"
        elif provider in went_on:
            detail = "an answer of the provider went on although its caller had gone"
        outcomes[key] = msgspec.structs.replace(outcome, ok=not detail, detail=detail)
    return outcomes
