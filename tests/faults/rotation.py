"""Change what seals the stored keys, under load, while commands and workers are killed.

No request may fail, and no key may be lost. `scripts/rotation` runs it at length, the suite for a few seconds. Every
process and every store is real.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from keyrelay.simulator import Simulator
from tests.e2e.harness import Process, environment, process, simulated
from tests.faults.backing import Backing
from tests.faults.crash import Kill, children_of, kill_worker
from tests.faults.traffic import KEYS, PAID, Cut, Tally, Traffic, scenario

ROTATIONS = (("rotate-master-key", "--generate"), ("rotate-term",))
_PATIENCE_S = 60.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """For how long, how many requests per second, and how many workers; several share PostgreSQL and Redis."""

    seconds: float = 60.0
    rate: float = 200.0
    workers: int = 2


class Outcome(msgspec.Struct, kw_only=True):
    """What was seen. `lost` keys are not what they were, `complaints` are what commands said that did not end well."""

    tally: Tally
    kills: list[Kill] = []
    rotations: int = 0
    killed: int = 0
    lost: list[str] = []
    complaints: list[str] = []

    @property
    def blameless(self) -> list[Cut]:
        """Requests that were cut off though nobody had killed the process that they were with."""
        return [cut for cut in self.tally.cut if not any(kill.explains(cut) for kill in self.kills)]

    @property
    def good(self) -> bool:
        return not (self.tally.errors or self.blameless or self.lost or self.complaints)

    def __str__(self) -> str:
        return (
            f"{self.rotations} rotations, {self.killed} commands and {len(self.kills)} workers killed: {self.tally}; "
            f"{len(self.lost)} keys lost{''.join('; ' + each for each in self.complaints)}"
        )


class Run:
    """One plan at work."""

    def __init__(self, plan: Plan, simulator: Simulator, directory: Path, backing: Backing, seed: int) -> None:
        self.plan = plan
        self.directory = directory
        none = dict.fromkeys(KEYS, ())
        more = {**PAID, **backing.environ, "KEYRELAY_WORKERS": str(plan.workers)}
        self.environ = environment(simulator, none) | more
        self.outcome = Outcome(tally=Tally())
        self._chance = random.Random(seed)
        lines = (f"{provider.upper()}_API_KEYS={','.join(keys)}\n" for provider, keys in KEYS.items())
        (directory / "old.env").write_text("".join(lines))

    async def command(self, *arguments: str, kill_after_s: float = 0.0) -> tuple[int, str]:
        """`keyrelay …`: exit code and what it printed; killed after so long, unless that is 0."""
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "keyrelay", *arguments,
            cwd=self.directory,
            env={"HOME": str(self.directory), "PATH": "/usr/bin:/bin", **self.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        if kill_after_s:
            await asyncio.sleep(kill_after_s)
            if started.returncode is None:
                started.kill()
                self.outcome.killed += 1
        out, _ = await asyncio.wait_for(started.communicate(), _PATIENCE_S)
        return started.returncode or 0, out.decode()

    async def rotate(self, until: asyncio.Event) -> None:
        """Rotate again and again; every other time the command is killed first, and then done again."""
        for number in range(10_000):
            if until.is_set() and number >= len(ROTATIONS):
                return
            name, *options = ROTATIONS[number % len(ROTATIONS)]
            if number % 4 < len(ROTATIONS):
                await self.command("secrets", name, *options, kill_after_s=self._chance.uniform(0.3, 1.0))
            await self._end(name, options)
            self.outcome.rotations += 1

    async def _end(self, name: str, options: list[str]) -> None:
        """What was killed is ended by the same command; where it was not begun, or was done, it is done once more."""
        code, said = await self.command("secrets", name)
        if code and options:
            code, said = await self.command("secrets", name, *options)
        if code:
            self.outcome.complaints.append(said)

    async def kill_workers(self, gateway: Process) -> None:
        """Kill a worker now and then; where there is but one process it lives."""
        while self.plan.workers > 1:
            await asyncio.sleep(min(5.0, self.plan.seconds / 3))
            workers = children_of(gateway.process.pid)
            if workers:
                self.outcome.kills.append(kill_worker(self._chance.choice(workers), gateway.port))

    async def run(self) -> Outcome:
        """Import keys, load and rotate, and see after another start whether all is there."""
        code, said = await self.command("import", "old.env", "--yes")
        assert code == 0, said
        async with process(self.environ, self.directory) as gateway:
            traffic, done = Traffic(lambda: gateway.port, rate=self.plan.rate), asyncio.Event()
            rotating = asyncio.create_task(self.rotate(done))
            killing = asyncio.create_task(self.kill_workers(gateway))
            await traffic.run(self.plan.seconds)
            done.set()
            killing.cancel()
            await rotating
            self.outcome.tally = traffic.tally
            await gateway.stop()
        async with process(self.environ, self.directory) as gateway:
            await gateway.stop()
        code, said = await self.command("import", "old.env", "--dry-run", "--json")
        document = msgspec.json.decode(said[said.index("{") :]) if code == 0 else {"lines": [{"source": said}]}
        lines = document["lines"]
        self.outcome.lost = [each["source"] for each in lines if each.get("outcome") != "duplicate"]
        if len(lines) != sum(map(len, KEYS.values())):
            self.outcome.lost.append(f"{len(lines)} lines")
        return self.outcome


async def rotation(plan: Plan, directory: Path, seed: int = 0) -> Outcome:
    """Carry out a plan."""
    several = plan.workers > 1
    with Backing.up(redis=several, postgres=several) as backing:
        await backing.make_tables()
        async with simulated(scenario()) as simulator:
            return await Run(plan, simulator, directory, backing, seed).run()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="scripts/rotation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to load (default 60)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (default 200)")
    parser.add_argument("--workers", type=int, default=2, help="workers of the gateway (default 2)")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="of when something is killed")
    given = parser.parse_args()
    plan = Plan(seconds=given.seconds, rate=given.rate, workers=given.workers)
    with tempfile.TemporaryDirectory() as directory:
        outcome = uvloop.run(rotation(plan, Path(directory), given.seed))
    sys.stdout.write(f"{outcome}{'' if outcome.good else '  FAILED'}\n")
    sys.exit(not outcome.good)


if __name__ == "__main__":
    main()
