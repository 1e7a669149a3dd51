"""Several worker processes on one Redis, which is killed, frozen, flushed and restarted while they hammer one limit.

A judge sees when each admitted request arrived and counts: never more than N in any sliding window, and with Redis up
at least 99 % of N. A worker's own measure is how long `confirm` took.

    .venv/bin/python -m tests.faults.shared_exactness --amount 15 --window-s 3

prints a line for each limit and ends with 1 when one did not hold.
"""

import argparse
import asyncio
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.redis.shared_ledger import SharedLedger
from tests.servers.redis_server import RedisServer

PROVIDER = "gemini"
LONGEST_PAUSE_S = 0.3
ROOT = Path(__file__).parents[2]


class Tally(msgspec.Struct, kw_only=True):
    """What workers saw: arrivals (epoch), the slowest `confirm`, and the slowest once the circuit was open."""

    arrivals: list[float] = []
    slowest_s: float = 0.0
    slowest_open_s: float = 0.0
    asked: int = 0


class Phase(msgspec.Struct, frozen=True):
    """For how long something lasts, and what is done to Redis before it."""

    name: str
    lasts_s: float
    fault: Callable[[RedisServer], None] | None = None


def path_of(amount: int, window: str) -> tuple[LimitKey, ...]:
    limit = Limit(
        unit=Unit.REQUESTS,
        amount=amount,
        window=parse_window(window),
        scope=(ScopePart.ACCOUNT,),
    )
    return (LimitKey(limit, (f"acct:{PROVIDER}/a",)),)


def open_ledger(url: str, worker: str, **settings: Any) -> SharedLedger:
    return SharedLedger(
        url,
        prefix=settings.pop("prefix", "exact"),
        worker=worker,
        epoch_s=time.time,
        random=random.random,
        report=settings.pop("report", lambda _: None),
        **settings,
    )


async def hammer(
    ledger: SharedLedger,
    path: tuple[LimitKey, ...],
    tally: Tally,
    *,
    until_at: float,
    transit_s: float,
) -> None:
    """One caller after another, each as soon as the limit allows."""
    while time.monotonic() < until_at:
        reservation = ledger.reserve(path, Amounts(), time.time())
        refusal: Refusal | None
        if isinstance(reservation, Refusal):
            refusal = reservation
        else:
            is_open = not ledger.status().connected
            began_at = time.perf_counter()
            refusal = await ledger.confirm(reservation, time.time())
            took_s = time.perf_counter() - began_at
            tally.asked += 1
            tally.slowest_s = max(tally.slowest_s, took_s)
            if is_open:
                tally.slowest_open_s = max(tally.slowest_open_s, took_s)
        if refusal is None:
            await asyncio.sleep(random.random() * transit_s)
            tally.arrivals.append(time.time())
            ledger.settle(reservation, Amounts(), time.time(), arrived=True)
        else:
            until_s = math.inf if refusal.until_s is None else refusal.until_s
            await asyncio.sleep(min(max(0.0, until_s - time.time()), LONGEST_PAUSE_S))


async def work(
    url: str, worker: str, path: tuple[LimitKey, ...], *, lasts_s: float, callers: int, transit_s: float
) -> Tally:
    """One worker with its callers."""
    tally, ledger = Tally(), open_ledger(url, worker)
    await ledger.start([PROVIDER])
    try:
        until_at = time.monotonic() + lasts_s
        tasks = (hammer(ledger, path, tally, until_at=until_at, transit_s=transit_s) for _ in range(callers))
        await asyncio.gather(*tasks)
    finally:
        await ledger.stop()
    return tally


def most_in_any(arrivals: Sequence[float], length_s: float) -> int:
    """The most arrivals in any window of that length."""
    ordered, first, most = sorted(arrivals), 0, 0
    for last, at_s in enumerate(ordered):
        while at_s - ordered[first] >= length_s - 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


def used_share(arrivals: Sequence[float], amount: int, length_s: float, between: tuple[float, float]) -> float:
    """How much was used of what a limit allows between two times."""
    seen = sum(between[0] <= at_s < between[1] for at_s in arrivals)
    return seen / (amount * (between[1] - between[0]) / length_s)


PHASES = (
    Phase("up", 10.0),
    Phase("killed", 9.0, RedisServer.kill),
    Phase("back", 5.0, RedisServer.start),
    Phase("frozen", 9.0, RedisServer.freeze),
    Phase("thawed", 5.0, RedisServer.thaw),
    Phase("flushed", 4.0, RedisServer.flush),
    Phase("restarted", 5.0, RedisServer.restart),
    Phase("flushed again", 3.0, RedisServer.flush),
)


async def run_phases(server: RedisServer, phases: Sequence[Phase]) -> list[tuple[str, float, float]]:
    """Do to Redis what the phases say; return when each lasted."""
    seen = []
    for phase in phases:
        if phase.fault is not None:
            await asyncio.to_thread(phase.fault, server)
        began_s = time.time()
        await asyncio.sleep(phase.lasts_s)
        seen.append((phase.name, began_s, time.time()))
    return seen


async def judge(amount: int, window_s: int, *, instances: int, workers: int, callers: int, transit_s: float) -> bool:
    """Run one limit through all phases, with real processes; print what was seen, return whether it held."""
    lasts_s = sum(phase.lasts_s for phase in PHASES) + 3.0
    with RedisServer() as server:
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.faults.shared_exactness",
                *("--work", server.url, f"host-{instance}/{worker}", str(lasts_s)),
                *("--amount", str(amount), "--window-s", str(window_s)),
                *("--callers", str(callers), "--transit-s", str(transit_s)),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            for instance in range(instances)
            for worker in range(workers)
        ]
        await asyncio.sleep(3.0)
        seen = await run_phases(server, PHASES)
        outputs = await asyncio.gather(*(process.communicate() for process in processes))
    tallies = [msgspec.json.decode(output, type=Tally) for output, _ in outputs]
    arrivals = [at_s for tally in tallies for at_s in tally.arrivals]
    most = most_in_any(arrivals, window_s)
    _, began_s, ended_s = seen[0]
    share = used_share(arrivals, amount, window_s, (began_s + 2 * window_s, ended_s))
    counted = {name: sum(first <= at_s < last for at_s in arrivals) for name, first, last in seen}
    print(  # noqa: T201 - a script's output
        f"N={amount} in {window_s} s: most {most}; {share:.1%} used while Redis was up; slowest confirm "
        f"{max(tally.slowest_s for tally in tallies) * 1000:.0f} ms, with the circuit open "
        f"{max(tally.slowest_open_s for tally in tallies) * 1000:.2f} ms; arrivals {json.dumps(counted)}"
    )
    return most <= amount


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amount", type=int, nargs="*", default=[1, 2, 5, 15, 60, 1000])
    parser.add_argument("--window-s", type=int, default=2)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--transit-s", type=float, default=0.005)
    parser.add_argument("--work", nargs=3)
    options = parser.parse_args()
    if options.work:
        url, worker, lasts_s = options.work
        path = path_of(options.amount[0], f"{options.window_s}s")
        tally = asyncio.run(
            work(url, worker, path, lasts_s=float(lasts_s), callers=options.callers, transit_s=options.transit_s)
        )
        sys.stdout.buffer.write(msgspec.json.encode(tally))
        return 0
    held = [
        asyncio.run(
            judge(
                amount,
                options.window_s,
                instances=options.instances,
                workers=options.workers,
                callers=options.callers,
                transit_s=options.transit_s,
            )
        )
        for amount in options.amount
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
