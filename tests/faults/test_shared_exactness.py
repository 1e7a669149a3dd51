"""The short form of `shared_exactness`: two instances of two workers, in one process, through all faults of Redis."""

import asyncio
import random
import time

import pytest

from keyrelay.quota.values import Amounts
from tests.faults.shared_exactness import (
    PROVIDER,
    Phase,
    Tally,
    hammer,
    most_in_any,
    open_ledger,
    path_of,
    run_phases,
    used_share,
)
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.alone

PHASES = (
    Phase("up", 1.6),
    Phase("killed", 0.5, RedisServer.kill),
    Phase("back", 1.4, RedisServer.start),
    Phase("frozen", 0.5, RedisServer.freeze),
    Phase("thawed", 1.4, RedisServer.thaw),
    Phase("flushed", 0.7, RedisServer.flush),
    Phase("restarted", 1.4, RedisServer.restart),
)


async def lag(longest_s: list[float]) -> None:
    """How late the event loop is at most: this machine's fault, not the ledger's."""
    while True:
        began_at = time.perf_counter()
        await asyncio.sleep(0.005)
        longest_s[0] = max(longest_s[0], time.perf_counter() - began_at - 0.005)


@pytest.mark.parametrize("amount", [15])
async def test_no_sliding_window_holds_more_whatever_happens_to_redis(amount: int) -> None:
    tallies, late_s, path = [Tally() for _ in range(4)], [0.0], path_of(amount, "1s")
    with RedisServer() as server:
        ledgers = [
            open_ledger(server.url, f"host-{slot // 2}/{slot % 2}", barrier_s=0.3, beat_s=0.1, silent_s=0.4)
            for slot in range(4)
        ]
        for ledger in ledgers:
            await ledger.start([PROVIDER])
        for ledger in ledgers:
            assert await ledger.serving(PROVIDER)
        until_at = time.monotonic() + sum(phase.lasts_s for phase in PHASES) + 0.5
        watching = asyncio.create_task(lag(late_s))
        hammering = asyncio.gather(
            *(
                hammer(ledger, path, tally, until_at=until_at, transit_s=0.003)
                for ledger, tally in zip(ledgers, tallies, strict=True)
                for _ in range(3)
            )
        )
        seen = await run_phases(server, PHASES)
        await hammering
        watching.cancel()
        for ledger in ledgers:
            await ledger.stop()
    arrivals = [at_s for tally in tallies for at_s in tally.arrivals]
    assert most_in_any(arrivals, 1.0) == amount
    began_s, ended_s = seen[0][1:]
    assert used_share(arrivals, amount, 1.0, (began_s, ended_s)) > 0.9
    for name, first_s, last_s in seen:
        if name in {"back", "thawed", "flushed", "restarted"}:
            assert any(first_s <= at_s < last_s for at_s in arrivals), name
    assert max(tally.slowest_s for tally in tallies) < 0.15 + late_s[0]


async def test_a_day_is_never_exceeded_by_workers_that_come_and_go() -> None:
    path, admitted = path_of(60, "day@UTC"), 0
    with RedisServer() as server:
        for turn in range(6):
            ledger = open_ledger(server.url, f"host/{turn % 2}", barrier_s=0.0, beat_s=0.02)
            await ledger.start([PROVIDER])
            assert await ledger.serving(PROVIDER)
            for _ in range(25):
                reservation = ledger.reserve(path, Amounts(), time.time())
                if await ledger.confirm(reservation, time.time()) is None and hasattr(reservation, "slots"):
                    admitted += 1
                    if random.random() < 0.5:
                        ledger.settle(reservation, Amounts(), time.time(), arrived=True)
                await asyncio.sleep(0.001)
            await ledger.stop()
    assert admitted == 60
