"""What was used before a restart counts after it, to the last request, however the gateway ended."""

import asyncio
import signal
from pathlib import Path

import pytest

from keyrelay.simulator import Change, Latency, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import Caller, calls_of, chat_bytes, environment, process, simulated, until
from tests.faults.backing import Backing

AMOUNT = 10
BEFORE = 6
LIMITS = {
    "gemini": f"{AMOUNT} requests per day@UTC for account+model",
    "nvidia": f"{AMOUNT} requests per 60s for account+model",
    "cohere": f"{AMOUNT} requests once for account+model",
}
MODEL = "tested"


def told(simulator: Simulator, backing: Backing) -> dict[str, str]:
    """The environment of a gateway that knows one limit of each provider."""
    environ = environment(simulator, {name: [f"one=sim-{name}-one"] for name in LIMITS})
    for name, limit in LIMITS.items():
        prefix = name.upper()
        environ |= {f"{prefix}_LIMITS": limit, f"{prefix}_TIER": "paid", f"{prefix}_MODELS": MODEL}
    return environ | {"KEYRELAY_CACHE": "off", "KEYRELAY_MAX_WAIT_S": "0"} | backing.environ


async def served(port: int, count: int) -> dict[str, int]:
    """How many of so many requests to each provider get an answer; none waits."""

    async def ask(name: str) -> int:
        body, good = chat_bytes(f"{name}/{MODEL}"), 0
        async with Caller(port) as caller:
            for _ in range(count):
                reply = await caller.post("/v1/chat/completions", body)
                good += reply.is_good()
                if not reply.is_good():
                    assert reply.status == 429, reply.body
        return good

    return dict(zip(LIMITS, await asyncio.gather(*map(ask, LIMITS)), strict=True))


@pytest.mark.parametrize(
    ("how", "redis"),
    [(signal.SIGTERM, False), (signal.SIGKILL, False), (signal.SIGKILL, True)],
    ids=["SIGTERM", "SIGKILL", "SIGKILL, and Redis is flushed"],
)
async def test_what_was_used_before_a_restart_counts_after_it(tmp_path: Path, how: signal.Signals, redis: bool) -> None:
    quick = ProviderPlan(limits=(), models=(MODEL,), answer_tokens=(4, 8))
    with Backing.up(redis=redis, postgres=False) as backing:
        async with simulated(Scenario(providers=dict.fromkeys(LIMITS, quick))) as simulator:
            environ = told(simulator, backing)
            async with process(environ, tmp_path) as gateway:
                environ["KEYRELAY_PORT"] = str(gateway.port)
                under_way = how == signal.SIGKILL
                assert await served(gateway.port, BEFORE - under_way) == dict.fromkeys(LIMITS, BEFORE - under_way)
                if under_way:
                    asking = await one_under_way(simulator, gateway.port)
                await gateway.stop(how)
                if under_way:
                    await asyncio.gather(asking, return_exceptions=True)
            if redis:
                backing.redis.flush()
            async with process(environ, tmp_path) as gateway:
                assert await served(gateway.port, AMOUNT) == dict.fromkeys(LIMITS, AMOUNT - BEFORE)
            assert len(calls_of(simulator)) == AMOUNT * len(LIMITS)


async def one_under_way(simulator: Simulator, port: int) -> "asyncio.Task[dict[str, int]]":
    """A call to each provider that has arrived and will not be answered while the gateway lives."""
    before = len(calls_of(simulator))
    for name in LIMITS:
        simulator.change(Change(provider=name, latency=Latency(first_token_ms=(60_000, 60_000))))
    asking = asyncio.create_task(served(port, 1))
    await until(lambda: len(calls_of(simulator)) == before + len(LIMITS), "all are under way")
    for name in LIMITS:
        simulator.change(Change(provider=name, latency=Latency()))
    return asking
