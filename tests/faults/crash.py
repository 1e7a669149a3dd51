"""Kill the gateway's processes with SIGKILL under load, and count afterwards: what was acknowledged is there, once.

`scripts/crash` runs it at length, the suite for a few seconds. Everything is real: processes, sockets, store. An
answer is acknowledged when its last byte has arrived.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import uvloop

from keyrelay.simulator import Latency, ProviderPlan, Scenario, Simulator
from keyrelay.storage.database import open_database
from keyrelay.storage.schema import ATTEMPTS, REQUESTS, USAGE_DAYS
from tests.e2e.harness import Caller, Process, calls_of, environment, process, simulated

KEYS = {"groq": [f"k{n}=sim-groq-{n}" for n in range(4)], "openai": [f"k{n}=sim-openai-{n}" for n in range(4)]}
MODELS = ("groq/openai/gpt-oss-20b", "openai/gpt-5.4-mini")
PAID = {"GROQ_TIER": "paid", "OPENAI_TIER": "paid", "KEYRELAY_LOG_LEVEL": "error", "KEYRELAY_CACHE": "off"}
_SETTLE_S = 20.0
_BACK_S = 15.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: for how long, how many requests per second, one kill every `kill_every_s`; `all_at_once` kills every
    process of the gateway instead of one worker."""

    seconds: float
    rate: float
    kill_every_s: float
    workers: int = 1
    all_at_once: bool = False
    more: Mapping[str, str] = {}


class Outcome(msgspec.Struct, kw_only=True):
    """What was seen. `errors` are answers that were whole and no success, by status; `cut` requests that got none."""

    asked: int = 0
    acknowledged: set[str] = set()
    errors: Counter[str] = Counter()
    cut: int = 0
    kills: int = 0
    rows: int = 0
    unknown: int = 0
    lost: set[str] = set()
    doubled: int = 0
    unaccounted: int = 0

    @property
    def good(self) -> bool:
        """Nothing lost, nothing doubled, nothing that a provider saw and no row has."""
        return not (self.lost or self.doubled or self.unaccounted or self.errors)

    def __str__(self) -> str:
        return (
            f"{self.asked} asked, {len(self.acknowledged)} acknowledged, {self.cut} cut off by {self.kills} kills, "
            f"errors {dict(self.errors)}; {self.rows} rows ({self.unknown} unknown), {len(self.lost)} lost, "
            f"{self.doubled} doubled, {self.unaccounted} calls without a row"
        )


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Run:
    """One plan at work."""

    def __init__(self, plan: Plan, simulator: Simulator, directory: Path, chance: random.Random) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self.directory = directory
        self.environ = environment(simulator, KEYS, KEYRELAY_WORKERS=str(plan.workers), **PAID) | dict(plan.more)
        self.simulator = simulator
        self.gateway: Process | None = None
        self._chance = chance
        self._numbers = itertools.count()
        self._back = asyncio.Event()
        self._ending = False

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Process]:
        async with process(self.environ, self.directory) as gateway:
            self.gateway = gateway
            self.environ["KEYRELAY_PORT"] = str(gateway.port)
            self._back.set()
            yield gateway

    async def load(self) -> None:
        """Ask at the plan's rate until its time is up, whether or not anybody listens."""
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due_at = began_at + number / self.plan.rate
                if due_at - began_at > self.plan.seconds:
                    break
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))
                group.create_task(self._ask())
        self._ending = True

    async def _ask(self) -> None:
        gateway = self.gateway
        if gateway is None or not self._back.is_set():
            return
        number = next(self._numbers)
        self.outcome.asked += 1
        text = f"question {number} {'x' * self._chance.randrange(400)}"
        body: dict[str, Any] = {
            "model": MODELS[number % len(MODELS)],
            "messages": [{"role": "user", "content": text}],
            "stream": number % 3 == 0,
        }
        try:
            async with Caller(gateway.port) as caller:
                reply = await caller.post("/v1/chat/completions", body)
        except (OSError, asyncio.IncompleteReadError):
            self.outcome.cut += 1
            return
        if not reply.whole:
            self.outcome.cut += 1
        elif reply.is_good():
            self.outcome.acknowledged.add(reply.headers["x-request-id"])
        else:
            self.outcome.errors[f"{reply.status} {reply.body[:120]!r}"] += 1

    async def kill_now_and_then(self) -> None:
        """Send SIGKILL to one of the gateway's processes, or to all, again and again."""
        while not self._ending:
            await asyncio.sleep(self.plan.kill_every_s)
            gateway = self.gateway
            if gateway is None or self._ending:
                return
            pid = gateway.process.pid
            workers = children_of(pid) if self.plan.workers > 1 else []
            self.outcome.kills += 1
            if workers and not self.plan.all_at_once:
                os.kill(self._chance.choice(workers), signal.SIGKILL)
                continue
            self._back.clear()
            for each in (pid, *workers):
                os.kill(each, signal.SIGKILL)
            await gateway.ended()
            return

    async def run(self) -> Outcome:
        """Load and kills until the time is up; then a last start that takes over what is left, and the count."""
        load = asyncio.create_task(self.load())
        while not self._ending:
            async with self.served() as gateway:
                killer = asyncio.create_task(self.kill_now_and_then())
                await asyncio.wait({killer, load}, return_when=asyncio.FIRST_COMPLETED)
                killer.cancel()
                if load.done():
                    await load
                    if gateway.process.returncode is None:
                        await gateway.stop()
        async with self.served() as gateway:
            assert await gateway.stop() == 0
        await self.count()
        return self.outcome

    async def count(self) -> None:
        """Compare what was acknowledged, and what the simulated providers saw, with the rows in the store."""
        url = self.environ.get("KEYRELAY_DATABASE_URL", "")
        database = open_database(url, self.directory / ".local/share/keyrelay")
        try:
            await database.read(self._compare)
        finally:
            await database.close()

    def _compare(self, connection: sa.Connection) -> None:
        outcome = self.outcome
        ids = [row.id for row in connection.execute(sa.select(REQUESTS.c.id))]
        outcome.rows = len(ids)
        outcome.lost = outcome.acknowledged - set(ids)
        summed = connection.execute(sa.select(sa.func.sum(USAGE_DAYS.c.requests))).scalar_one() or 0
        outcome.doubled = len(ids) - len(set(ids)) + max(0, summed - len(ids))
        unknown = sa.select(sa.func.count()).select_from(REQUESTS).where(REQUESTS.c.category == "unknown")
        outcome.unknown = connection.execute(unknown).scalar_one()
        attempts = connection.execute(sa.select(sa.func.count()).select_from(ATTEMPTS)).scalar_one()
        outcome.unaccounted = max(0, len(calls_of(self.simulator)) - attempts)


async def crash(plan: Plan, directory: Path, seed: int = 0) -> Outcome:
    """Carry out a plan."""
    generous = ProviderPlan(limits=(), answer_tokens=(4, 24))
    scenario = Scenario(
        providers=dict.fromkeys(KEYS, generous),
        latency=Latency(first_token_ms=(50.0, 400.0), tokens_per_s=50.0),
        recorded_calls=1_000_000,
    )
    async with simulated(scenario) as simulator:
        return await Run(plan, simulator, directory, random.Random(seed)).run()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to load (default 300)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (default 200)")
    parser.add_argument("--kill-every-s", type=float, default=2.0, help="seconds between kills (default 2)")
    parser.add_argument("--workers", type=int, default=1, help="workers of the gateway (default 1)")
    parser.add_argument("--all-at-once", action="store_true", help="kill all processes instead of one worker")
    parser.add_argument("--database-url", default="", help="PostgreSQL instead of SQLite")
    parser.add_argument("--redis-url", default="", help="needed for more than one worker")
    given = parser.parse_args()
    more = {"KEYRELAY_DATABASE_URL": given.database_url, "KEYRELAY_REDIS_URL": given.redis_url}
    plan = Plan(
        seconds=given.seconds,
        rate=given.rate,
        kill_every_s=given.kill_every_s,
        workers=given.workers,
        all_at_once=given.all_at_once,
        more={name: value for name, value in more.items() if value},
    )
    with tempfile.TemporaryDirectory() as directory:
        outcome = uvloop.run(crash(plan, Path(directory)))
    sys.stdout.write(f"{outcome}\n")
    sys.exit(not outcome.good)


if __name__ == "__main__":
    main()
