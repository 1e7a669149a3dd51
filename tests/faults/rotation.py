"""Change what seals the stored keys, under load, while commands and workers are killed.

No request may fail, and no key may be lost. The command that changes them is killed in the middle, which no request may
notice. Workers that serve are killed too, which those notice that are with them at that moment: they are asked again,
as the official SDKs do, and have to succeed then. `scripts/rotation` runs it at length, the suite for a few seconds.
Every process and every store is real.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from keyrelay.bootstrap.secret_keeping import secrets_of_store
from keyrelay.configuration import load_settings
from keyrelay.simulator import Simulator
from tests.e2e.harness import Process, environment, process, simulated
from tests.faults.backing import Backing
from tests.faults.crash import DATA, Kill, children_of, kill_worker
from tests.faults.traffic import KEYS, PAID, SDK_RETRIES, Cut, Tally, Traffic, scenario

ROTATIONS = (("rotate-master-key", "--generate"), ("rotate-term",))
_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.001


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """For how long, how many requests per second, and how many workers; several share PostgreSQL and Redis."""

    seconds: float = 60.0
    rate: float = 200.0
    workers: int = 2


class Outcome(msgspec.Struct, kw_only=True):
    """What was seen. `lost` keys are not what they were, `complaints` are what commands said that did not end well.

    `killed` commands were ended by SIGKILL, `halfway` of them with something begun and not ended; `kills` are workers'.
    """

    tally: Tally
    kills: list[Kill] = []
    rotations: int = 0
    killed: int = 0
    halfway: int = 0
    lost: list[str] = []
    complaints: list[str] = []

    @property
    def blameless(self) -> list[Cut]:
        """What was cut off though nobody had killed the worker that it was with."""
        return [cut for cut in self.tally.cut if not any(kill.explains(cut) for kill in self.kills)]

    @property
    def good(self) -> bool:
        """Nothing failed for good, nothing was cut off but by a worker's end, and all keys are there."""
        return not (self.tally.failed or self.tally.errors or self.blameless or self.lost or self.complaints)

    def __str__(self) -> str:
        tally, connections = self.tally, sum(len(kill.ports or ()) for kill in self.kills)
        errors = "".join(f"; {count} times {error}" for error, count in tally.errors.most_common(5))
        streams, blameless = sum(cut.streaming for cut in tally.cut), len(self.blameless)
        return (
            f"{self.rotations} rotations; {tally.asked} asked, {len(tally.acknowledged)} acknowledged, {tally.failed} "
            f"failed for good{errors}; rotating command killed {self.killed} times, {self.halfway} of them halfway: "
            f"{blameless} cut off; {len(self.kills)} serving workers killed, with {connections} connections: "
            f"{len(tally.cut) - blameless} cut off and asked again, {streams} of them streams that had begun; "
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
        self._took_s = 0.5
        lines = (f"{provider.upper()}_API_KEYS={','.join(keys)}\n" for provider, keys in KEYS.items())
        (directory / "old.env").write_text("".join(lines))

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start `keyrelay …`."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "keyrelay", *arguments,
            cwd=self.directory,
            env={"HOME": str(self.directory), "PATH": "/usr/bin:/bin", **self.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def command(self, *arguments: str) -> tuple[int, str]:
        """`keyrelay …`: exit code and what it printed."""
        started = await self.start(*arguments)
        out, _ = await asyncio.wait_for(started.communicate(), _PATIENCE_S)
        return started.returncode or 0, out.decode()

    async def rotate(self, until: asyncio.Event) -> None:
        """Rotate again and again; every other time the command is killed first, and then done again."""
        for number in range(10_000):
            if until.is_set() and number >= len(ROTATIONS):
                return
            name, *options = ROTATIONS[number % len(ROTATIONS)]
            if number % 4 < len(ROTATIONS):
                await self._kill_halfway(name, *options)
                if await self._is_halfway():  # the command without an option ends it
                    self.outcome.halfway += 1
                    options = []
            began_at = time.monotonic()
            code, said = await self.command("secrets", name, *options)
            self._took_s = time.monotonic() - began_at
            self.outcome.rotations += 1
            if code:
                self.outcome.complaints.append(said)

    async def _kill_halfway(self, *arguments: str) -> None:
        """Start a command and kill it once both master keys are in the file, or when it should be about its work."""
        started = await self.start("secrets", *arguments)
        until_at = time.monotonic() + self._took_s * self._chance.uniform(0.7, 1.0)
        master = self.directory / DATA / "master.key"
        self.outcome.killed += await asyncio.to_thread(_kill_halfway, started, master, until_at)
        await asyncio.wait_for(started.communicate(), _PATIENCE_S)

    async def _is_halfway(self) -> bool:
        """Whether a change was begun that has not ended."""
        settings = load_settings({"HOME": str(self.directory), **self.environ}, directory=self.directory, overrides={})
        async with secrets_of_store(settings) as keeping:
            standing = await keeping.standing()
        if standing.problem:
            self.outcome.complaints.append(standing.problem)
        return len(standing.known) > 1 or any(term.values for term in standing.terms if not term.current)

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
            traffic = Traffic(lambda: gateway.port, rate=self.plan.rate, retries=SDK_RETRIES)
            done = asyncio.Event()
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


def _kill_halfway(command: asyncio.subprocess.Process, master: Path, until_at: float) -> bool:
    """Kill a command that changes `master` once there are two keys in it, or when the time is up; False: it has ended.

    It runs in a thread: the event loop is busy with requests, and the moment is short.
    """
    size = master.stat().st_size
    while time.monotonic() < until_at and master.stat().st_size <= size:
        time.sleep(_LOOK_EVERY_S)
    if command.returncode is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(command.pid, signal.SIGKILL)
    return True


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
