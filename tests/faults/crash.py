"""Kill the gateway's processes with SIGKILL under load, and count afterwards: what was acknowledged is there, once.

`scripts/crash` runs it at length, the suite for a few seconds. Everything is real: processes, sockets, stores. Only a
request on a connection of a killed process may be cut off, and none may fail.
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
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec
import uvloop

from keyrelay.simulator import Simulator
from tests.e2e.harness import Process, environment, process, simulated
from tests.faults import permits
from tests.faults.backing import Backing
from tests.faults.traffic import KEYS, PAID, Books, Cut, Tally, Traffic, books, scenario

DATA = Path(".local/share/keyrelay")
_LISTENS = "0A"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: for how long, how many requests per second, one kill every `kill_every_s`; `all_at_once` kills every
    process of the gateway instead of one worker. One worker keeps its rows in SQLite, several in PostgreSQL."""

    seconds: float = 300.0
    rate: float = 200.0
    kill_every_s: float = 2.0
    workers: int = 1
    all_at_once: bool = False

    @property
    def kills_everything(self) -> bool:
        return self.all_at_once or self.workers == 1


class Kill(msgspec.Struct, frozen=True):
    """When (monotonic), and the callers' ports of the connections that the process had; None: it had them all."""

    at: float
    ports: frozenset[int] | None

    def explains(self, cut: Cut) -> bool:
        """Whether it cut off this request."""
        if self.ports is None:
            return True
        return cut.port in self.ports and cut.began_at <= self.at


class Outcome(msgspec.Struct, kw_only=True):
    """What was seen. `blameless` requests were cut off though nobody had killed the process that they were with."""

    tally: Tally
    kills: list[Kill] = []
    books: Books

    @property
    def blameless(self) -> list[Cut]:
        return [cut for cut in self.tally.cut if not any(kill.explains(cut) for kill in self.kills)]

    @property
    def good(self) -> bool:
        """The books are right, and nobody saw an error who was not with a killed process."""
        return self.books.right and not self.tally.errors and not self.blameless

    def __str__(self) -> str:
        return f"{len(self.kills)} kills: {self.tally}, {len(self.blameless)} of them by no kill; {self.books}"


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peers_of(pid: int, port: int) -> frozenset[int]:
    """The ports at the other end of the connections to `port` that a process has taken."""
    sockets, peers = set(_open_by(pid)), set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, peer, state, *_, inode = line.split()[:10]
        if int(local.rpartition(":")[2], 16) == port and state != _LISTENS and f"socket:[{inode}]" in sockets:
            peers.add(int(peer.rpartition(":")[2], 16))
    return frozenset(peers)


def _open_by(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(link.readlink())


def kill_worker(pid: int, port: int) -> Kill:
    """SIGKILL for one worker; it is stopped first, so that the list of its connections is the last one."""
    os.kill(pid, signal.SIGSTOP)
    ports = peers_of(pid, port)
    os.kill(pid, signal.SIGKILL)
    return Kill(time.monotonic(), ports)


class Run:
    """One plan at work."""

    def __init__(self, plan: Plan, simulator: Simulator, directory: Path, more: Mapping[str, str], seed: int) -> None:
        self.plan = plan
        self.kills: list[Kill] = []
        self.directory = directory
        self.environ = environment(simulator, KEYS, KEYRELAY_WORKERS=str(plan.workers), **PAID) | dict(more)
        self.gateway: Process | None = None
        self._chance = random.Random(seed)
        self.traffic = Traffic(lambda: self.gateway.port if self.gateway else None, rate=plan.rate)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Process]:
        async with process(self.environ, self.directory) as gateway:
            self.environ["KEYRELAY_PORT"] = str(gateway.port)
            self.gateway = gateway
            try:
                yield gateway
            finally:
                self.gateway = None

    async def kill_now_and_then(self, gateway: Process) -> None:
        """Send SIGKILL to one of the gateway's processes again and again, or once to all."""
        while True:
            await asyncio.sleep(self.plan.kill_every_s)
            pid = gateway.process.pid
            workers = children_of(pid) if self.plan.workers > 1 else []
            if workers and not self.plan.all_at_once:
                self.kills.append(kill_worker(self._chance.choice(workers), gateway.port))
                continue
            self.gateway = None
            for each in (pid, *workers):
                os.kill(each, signal.SIGKILL)
            self.kills.append(Kill(time.monotonic(), None))
            await gateway.ended()
            return

    async def run(self) -> Tally:
        """Load and kills until the time is up; then a last start, which takes over what is left."""
        load: asyncio.Task[None] | None = None
        while load is None or not load.done():
            async with self.served() as gateway:
                load = load or asyncio.create_task(self.traffic.run(self.plan.seconds))
                killer = asyncio.create_task(self.kill_now_and_then(gateway))
                await asyncio.wait({killer, load}, return_when=asyncio.FIRST_COMPLETED)
                killer.cancel()
                if load.done():
                    await load
                    await gateway.stop()
        async with self.served() as gateway:
            assert await gateway.stop() == 0
        return self.traffic.tally


async def crash(plan: Plan, directory: Path, seed: int = 0) -> Outcome:
    """Carry out a plan."""
    several = plan.workers > 1
    with Backing.up(redis=several, postgres=several) as backing:
        await backing.make_tables()
        async with simulated(scenario()) as simulator:
            run = Run(plan, simulator, directory, backing.environ, seed)
            tally = await run.run()
            found = await books(backing.database_url, directory / DATA, tally, simulator)
            return Outcome(tally=tally, kills=run.kills, books=found)


PLANS = {
    "one": Plan(),
    "workers": Plan(workers=4),
    "all": Plan(workers=4, all_at_once=True, kill_every_s=5.0),
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("plans", nargs="*", metavar="PLAN", help="one, workers, all, permits (default: each)")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to load, for each (default 300)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (default 200)")
    parser.add_argument("--kill-every-s", type=float, help="seconds between kills (default 2; 5 for all)")
    given = parser.parse_args()
    unknown = set(given.plans) - {*PLANS, "permits"}
    if unknown:
        sys.exit(f"no such plan: {', '.join(sorted(unknown))}")
    failed = [name for name in given.plans or (*PLANS, "permits") if not _carried_out(name, given)]
    sys.exit(bool(failed))


def _carried_out(name: str, given: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        outcome: Outcome | permits.Outcome
        if name == "permits":
            outcome = uvloop.run(permits.permits(Path(directory)))
        else:
            changes = {"seconds": given.seconds, "rate": given.rate}
            if given.kill_every_s:
                changes["kill_every_s"] = given.kill_every_s
            outcome = uvloop.run(crash(msgspec.structs.replace(PLANS[name], **changes), Path(directory)))
    sys.stdout.write(f"{name}: {outcome}{'' if outcome.good else '  FAILED'}\n")
    sys.stdout.flush()
    return outcome.good


if __name__ == "__main__":
    main()
