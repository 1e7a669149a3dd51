"""A worker is killed with requests under way, each of which holds a permit: how long until all permits are free again.

What the killed one held is given back when its leases end, at most 30 s after they were last renewed.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import msgspec

from keyrelay.simulator import Latency, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import Caller, Process, calls_of, chat_bytes, environment, process, simulated, until
from tests.faults.backing import Backing

PERMITS = 8
LEASE_S = 30.0
_SLACK_S = 1.5
"""A permit is free; that it is also taken takes until those who wait look again."""

_MODEL = "tested"
_SLOW = Latency(first_token_ms=(1.0, 1.0), tokens_per_s=10.0)
_LONG = ProviderPlan(limits=(), models=(_MODEL,), latency=_SLOW, answer_tokens=(5000, 5000))


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took until as many calls were under way as there are permits, and the most that ever were."""

    all_used_after_s: float
    most_at_once: int

    @property
    def good(self) -> bool:
        return self.all_used_after_s <= LEASE_S + _SLACK_S and self.most_at_once == PERMITS

    def __str__(self) -> str:
        return (
            f"all {PERMITS} permits were in use again {self.all_used_after_s:.1f} s after the kill, "
            f"at most {self.most_at_once} calls at once"
        )


class Callers:
    """So many streams that never end by themselves; whoever is refused or cut off asks again."""

    def __init__(self, gateway: Process, simulator: Simulator, count: int) -> None:
        self._gateway = gateway
        self._simulator = simulator
        self.most_at_once = 0
        self._leaving = False
        self._tasks = [asyncio.create_task(self._insist()) for _ in range(count)]

    async def _insist(self) -> None:
        body = chat_bytes(f"mistral/{_MODEL}", stream=True, max_tokens=5000)
        while not self._leaving:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with Caller(self._gateway.port) as caller:
                    await caller.post("/v1/chat/completions", body, headers={"x-keyrelay-deadline-ms": "600000"})
            await asyncio.sleep(0.05)

    def at_once(self) -> int:
        """Calls that the provider is answering now."""
        calls = calls_of(self._simulator)
        count = sum(call.status == 200 and call.ended_s is None and call.disconnected_s is None for call in calls)
        self.most_at_once = max(self.most_at_once, count)
        return count

    async def until_all(self, within_s: float) -> float:
        """Wait until every permit is in use; after how many seconds that was."""
        began_at = time.monotonic()
        await until(lambda: self.at_once() == PERMITS, f"{PERMITS} calls at once", within_s)
        return time.monotonic() - began_at

    async def leave(self) -> None:
        """Hang up. A cancellation alone may be lost in `asyncio.wait_for`, at the end of a connection."""
        self._leaving = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def permits(directory: Path, *, workers: int = 4, seed: int = 0) -> Outcome:
    """Several workers: one of those that have calls is killed. One worker: it is killed, and started again."""
    several = workers > 1
    with Backing.up(redis=several, postgres=False) as backing:
        async with simulated(Scenario(providers={"mistral": _LONG})) as simulator:
            environ = environment(
                simulator,
                {"mistral": ["one=sim-mistral-one"]},
                MISTRAL_LIMITS=f"{PERMITS} requests concurrent for account",
                MISTRAL_TIER="paid",
                MISTRAL_MODELS=_MODEL,
                KEYRELAY_WORKERS=str(workers),
                **backing.environ,
            )
            async with process(environ, directory) as gateway:
                callers = Callers(gateway, simulator, PERMITS + 4)
                await callers.until_all(10.0)
                if several:
                    os.kill(random.Random(seed).choice(_workers(gateway)), signal.SIGKILL)
                    await until(lambda: callers.at_once() < PERMITS, "the provider notices")
                    took_s = await callers.until_all(LEASE_S + 20.0)
                    await asyncio.sleep(1.0)
                    callers.at_once()
                    await callers.leave()
                    return Outcome(all_used_after_s=took_s, most_at_once=callers.most_at_once)
                gateway.process.kill()
                await gateway.ended()
                await callers.leave()
            async with process(environ, directory) as gateway:
                callers = Callers(gateway, simulator, PERMITS + 4)
                took_s = await callers.until_all(LEASE_S + 20.0)
                await callers.leave()
                return Outcome(all_used_after_s=took_s, most_at_once=callers.most_at_once)


def _workers(gateway: Process) -> list[int]:
    pid = gateway.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
