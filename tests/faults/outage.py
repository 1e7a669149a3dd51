"""Take PostgreSQL or Redis away under load, in every way in which servers go away, and see what callers notice.

`scripts/outage` runs it at length, the suite for a few seconds. Everything is real: processes, sockets, stores.

- `postgres`: killed, frozen and restarted. No caller sees an error, no row is lost or doubled, readiness says degraded.
- `journal`: PostgreSQL is away until the journals are full. The gateway refuses before it loses a row, and goes on when
  the store is back.
- `redis`: frozen. How much longer requests take, against the time before.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from keyrelay.simulator import Latency, Simulator
from tests.e2e.harness import Caller, Process, environment, process, simulated
from tests.faults.backing import Backing
from tests.faults.crash import DATA
from tests.faults.frozen_redis import Delays, frozen_redis
from tests.faults.traffic import KEYS, PAID, Books, Tally, Traffic, books, scenario
from tests.servers.postgres_server import PostgresServer

_LOOK_EVERY_S = 0.2
_CATCH_UP_S = 60.0
SMALLEST_JOURNAL_BYTES = "16777216"


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """For how long something lasts, what is done to PostgreSQL before it (`again`: every so many seconds), and what
    readiness has to say when it ends, `None`: whatever."""

    name: str
    lasts_s: float
    fault: Callable[[PostgresServer], None] | None = None
    again_s: float = 0.0
    says: str | None = None


def phases(seconds: float, between_s: float) -> tuple[Phase, ...]:
    """PostgreSQL is killed, frozen, and restarted again and again, each for so many seconds."""
    return (
        Phase(name="up", lasts_s=between_s, says="ready"),
        Phase(name="killed", lasts_s=seconds, fault=PostgresServer.kill, says="degraded"),
        Phase(name="back", lasts_s=between_s, fault=PostgresServer.start),
        Phase(name="frozen", lasts_s=seconds, fault=PostgresServer.freeze, says="degraded" if seconds > 8.0 else None),
        Phase(name="thawed", lasts_s=between_s, fault=PostgresServer.thaw),
        Phase(name="restarted", lasts_s=seconds, fault=PostgresServer.restart, again_s=5.0),
    )


class Look(msgspec.Struct, frozen=True):
    """What health said: the two status codes, and the word of readiness."""

    live: int
    ready: int
    word: str


class Outcome(msgspec.Struct, kw_only=True):
    """What was seen, by callers, by whoever asks for health (by phase), and in the store afterwards.

    `caught_up_s` is how long the gateway took, after everything, to have all rows in the store; None: it had not.
    """

    tally: Tally
    looks: dict[str, list[Look]]
    books: Books
    caught_up_s: float | None
    wrong: list[str]

    @property
    def good(self) -> bool:
        """No error, the books right, alive and ready all the time."""
        seen = [look for looks in self.looks.values() for look in looks]
        return (
            self.books.right
            and self.caught_up_s is not None
            and not (self.tally.errors or self.tally.cut or self.wrong)
            and {(look.live, look.ready) for look in seen} == {(200, 200)}
        )

    def __str__(self) -> str:
        words = ", ".join(
            f"{name}: {'/'.join(sorted({f'{look.ready} {look.word}' for look in looks}))}"
            for name, looks in self.looks.items()
        )
        alive = sum(look.live == 200 for looks in self.looks.values() for look in looks)
        caught_up = "never" if self.caught_up_s is None else f"{self.caught_up_s:.1f} s after the last fault"
        slowest_ms = max((seconds for _, seconds in self.tally.took), default=0.0) * 1000
        return (
            f"{self.tally}; slowest {slowest_ms:.0f} ms; {self.books}; all rows in the store {caught_up}; "
            f"alive {alive} times of {sum(map(len, self.looks.values()))}; ready: {words}"
            + "".join(f"; {text}" for text in self.wrong)
        )


async def look(port: int) -> Look:
    """Ask for health on a connection of its own."""
    async with Caller(port) as caller:
        live = await caller.get("/livez")
        ready = await caller.get("/readyz")
    return Look(live.status, ready.status, ready.json["status"])


class Watch:
    """Asks for health all the time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.looks: dict[str, list[Look]] = {}
        self._phase = ""
        self._ended = False

    def enter(self, phase: str) -> None:
        self._phase = phase
        self.looks[phase] = []

    def end(self) -> None:
        self._ended = True

    async def run(self) -> None:
        """Ask until the end."""
        while not self._ended:
            self.looks[self._phase].append(await look(self._port))
            await asyncio.sleep(_LOOK_EVERY_S)


@contextlib.asynccontextmanager
async def gateway_on(
    backing: Backing, simulator: Simulator, directory: Path, workers: int, **more: str
) -> AsyncIterator[Process]:
    environ = environment(simulator, KEYS, KEYRELAY_WORKERS=str(workers), **PAID, **more) | backing.environ
    async with process(environ, directory) as gateway:
        yield gateway


async def postgres_away(directory: Path, plan: Sequence[Phase], *, rate: float, workers: int) -> Outcome:
    """Load while PostgreSQL goes through the phases."""
    with Backing.up(redis=workers > 1) as backing:
        await backing.make_tables()
        async with simulated(scenario()) as simulator, gateway_on(backing, simulator, directory, workers) as gateway:
            traffic, watch = Traffic(lambda: gateway.port, rate=rate), Watch(gateway.port)
            watch.enter(plan[0].name)
            load = asyncio.create_task(traffic.run(sum(phase.lasts_s for phase in plan) * 2))
            watching = asyncio.create_task(watch.run())
            wrong = [text for phase in plan if (text := await _through(phase, backing.postgres, watch))]
            traffic.stop()
            await load
            watch.end()
            await watching
            caught_up_s = await until_right(backing, directory, traffic.tally, simulator)
            assert await gateway.stop() == 0
            found = await books(backing.database_url, directory / DATA, traffic.tally, simulator)
            return Outcome(tally=traffic.tally, looks=watch.looks, books=found, caught_up_s=caught_up_s, wrong=wrong)


async def _through(phase: Phase, postgres: PostgresServer, watch: Watch) -> str:
    """One phase; what is wrong at its end."""
    if phase.fault is not None:
        await asyncio.to_thread(phase.fault, postgres)
    watch.enter(phase.name)
    ends_at = time.monotonic() + phase.lasts_s
    while (left_s := ends_at - time.monotonic()) > 0:
        await asyncio.sleep(min(left_s, phase.again_s or left_s))
        if phase.again_s and phase.fault is not None and time.monotonic() < ends_at:
            await asyncio.to_thread(phase.fault, postgres)
    last = watch.looks[phase.name][-1].word
    return f"{phase.name}, and readiness says {last}" if phase.says not in {None, last} else ""


async def until_right(backing: Backing, directory: Path, tally: Tally, simulator: Simulator) -> float | None:
    """How long it takes until the store has everything, with the gateway running; None: longer than it may."""
    began_at = time.monotonic()
    while (passed_s := time.monotonic() - began_at) < _CATCH_UP_S:
        if (await books(backing.database_url, directory / DATA, tally, simulator)).right:
            return passed_s
        await asyncio.sleep(0.25)
    return None


class Filled(msgspec.Struct, kw_only=True):
    """What became of a gateway whose journals were full: what callers saw, what health said then and afterwards."""

    tally: Tally
    when_full: Look
    afterwards: Look
    serves: bool
    books: Books

    @property
    def good(self) -> bool:
        """It refused before it lost anything, said so, and came back."""
        return (
            self.tally.refused > 0
            and not (self.tally.cut or self.tally.errors)
            and (self.when_full.live, self.when_full.ready) == (200, 503)
            and self.afterwards == Look(200, 200, "ready")
            and self.serves
            and self.books.right
        )

    def __str__(self) -> str:
        return (
            f"{self.tally}; when full: {self.when_full.ready} {self.when_full.word}; {self.books}; "
            f"afterwards: {self.afterwards.word}, {'serves' if self.serves else 'does not serve'}"
        )


async def journal_full(directory: Path, *, workers: int) -> Filled:
    """PostgreSQL is away until every worker's journal is full, and comes back."""
    with Backing.up(redis=workers > 1) as backing:
        await backing.make_tables()
        bound = {"KEYRELAY_JOURNAL_MAX_BYTES": SMALLEST_JOURNAL_BYTES}
        async with (
            simulated(scenario(Latency())) as simulator,
            gateway_on(backing, simulator, directory, workers, **bound) as gateway,
        ):
            traffic = Traffic(lambda: gateway.port, expected=frozenset({"journal_full"}))
            await asyncio.to_thread(backing.postgres.kill)
            await traffic.press(at_once=32, in_a_row=20)
            when_full = await look(gateway.port)
            await asyncio.to_thread(backing.postgres.start)
            await until_right(backing, directory, traffic.tally, simulator)
            afterwards = await until_ready(gateway.port)
            serves = all([await traffic.ask() for _ in range(20)])
            assert await gateway.stop() == 0
            return Filled(
                tally=traffic.tally,
                when_full=when_full,
                afterwards=afterwards,
                serves=serves,
                books=await books(backing.database_url, directory / DATA, traffic.tally, simulator),
            )


async def until_ready(port: int, within_s: float = 15.0) -> Look:
    """Wait until readiness says that all is well; what it said last."""
    deadline_at = time.monotonic() + within_s
    while True:
        seen = await look(port)
        if seen.word == "ready" or time.monotonic() > deadline_at:
            return seen
        await asyncio.sleep(0.1)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="scripts/outage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plans", nargs="*", metavar="PLAN", help="postgres, journal, redis (default: each)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each fault lasts (default 60)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (default 200)")
    parser.add_argument("--workers", type=int, default=4, help="workers of the gateway (default 4)")
    given = parser.parse_args()
    unknown = set(given.plans) - {"postgres", "journal", "redis"}
    if unknown:
        sys.exit(f"no such plan: {', '.join(sorted(unknown))}")
    failed = [name for name in given.plans or ("postgres", "journal", "redis") if not _carried_out(name, given)]
    sys.exit(bool(failed))


def _carried_out(name: str, given: argparse.Namespace) -> bool:
    outcome: Outcome | Filled | Delays
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if name == "postgres":
            plan = phases(given.seconds, between_s=10.0)
            outcome = uvloop.run(postgres_away(place, plan, rate=given.rate, workers=given.workers))
        elif name == "journal":
            outcome = uvloop.run(journal_full(place, workers=given.workers))
        else:
            outcome = uvloop.run(frozen_redis(place, given.seconds, rate=given.rate / 2, workers=given.workers))
    sys.stdout.write(f"{name}: {outcome}{'' if outcome.good else '  FAILED'}\n")
    sys.stdout.flush()
    return outcome.good


if __name__ == "__main__":
    main()
