"""What a request costs Redis and PostgreSQL themselves, for the arithmetic of docs/scaling.md.

Run: `REDIS_URL=redis://… python bench/server_cost.py`, or with `DATABASE_URL=postgresql://…` whose tables have been
made, or with both. Each has to be a server of its own, on this machine and without other users: Redis is emptied.
Redis is asked by a worker's ledger, many requests in flight at once; of PostgreSQL the writing of a recorder's batches
is measured. Prints CPU time of the server, and bytes, per request.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import redis
import uvloop

from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.quota.ledger import Reservation
from keyrelay.quota.values import Amounts, LimitKey
from keyrelay.storage.database import open_database
from keyrelay.storage.redis.shared_ledger import SharedLedger
from redis_cost import opened
from store_rows import lines

REQUESTS = 20_000
AT_ONCE = 64
BATCH_ROWS = 450
"""As many as make up the recorder's 256 KiB."""

ROWS = 100_000
PROVIDER = "gemini"
WINDOWS = ("60s", "day@America/Los_Angeles", "60s", "24h")
UNITS = (Unit.REQUESTS, Unit.REQUESTS, Unit.TOKENS, Unit.TOKENS)
ESTIMATE, TRUE = Amounts(requests=1, input_tokens=400, output_tokens=256), Amounts(1, 420, 180)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure what is named in the environment."""
    redis_url, database_url = os.environ.get("REDIS_URL", ""), os.environ.get("DATABASE_URL", "")
    if not redis_url and not database_url:
        raise SystemExit("set REDIS_URL or DATABASE_URL")
    if redis_url:
        uvloop.run(_measure_redis(redis_url))
    if database_url:
        uvloop.run(_measure_postgres(database_url))


async def _measure_redis(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        print(f"Redis {client.info('server')['redis_version']}, {AT_ONCE} requests at once, whole answers")
        print("limits  admit µs  settle µs  all CPU µs  bytes in  bytes out")
        for count in (1, 2, 4):
            client.flushall()
            ledger = await opened(url, PROVIDER)
            try:
                await _ask(client, ledger, count)
            finally:
                await ledger.stop()


async def _ask(client: Any, ledger: SharedLedger, count: int) -> None:
    limits = tuple(
        LimitKey(Limit(unit=unit, amount=10**9, window=parse_window(window)), (f"acct:{PROVIDER}/a", "model:flash"))
        for window, unit in list(zip(WINDOWS, UNITS, strict=True))[:count]
    )
    admit_us = settle_us = 0.0
    began = client.info()
    for _ in range(REQUESTS // AT_ONCE):
        at = _evalsha_us(client)
        held = [ledger.reserve(limits, ESTIMATE, time.time()) for _ in range(AT_ONCE)]
        refusals = await asyncio.gather(*(ledger.confirm(each, time.time()) for each in held))
        if any(refusals) or not all(isinstance(each, Reservation) for each in held):
            raise SystemExit("refused")
        admitted = _evalsha_us(client)
        for each in held:
            ledger.settle(each, TRUE, time.time(), arrived=True)
        while ledger.status().unsent:  # noqa: ASYNC110 - it happens in Redis
            await asyncio.sleep(0.0005)
        admit_us += admitted - at
        settle_us += _evalsha_us(client) - admitted
    ended, done = client.info(), REQUESTS // AT_ONCE * AT_ONCE
    cpu_us = sum(ended[name] - began[name] for name in ("used_cpu_user", "used_cpu_sys")) / done * 1e6
    net = [(ended[name] - began[name]) / done for name in ("total_net_input_bytes", "total_net_output_bytes")]
    print(f"{count:6}  {admit_us / done:8.1f}  {settle_us / done:9.1f}  {cpu_us:10.1f}  {net[0]:8.0f}  {net[1]:9.0f}")


def _evalsha_us(client: Any) -> float:
    return float(client.info("commandstats").get("cmdstat_evalsha", {}).get("usec", 0))


async def _measure_postgres(url: str) -> None:
    """Rows as they come in time, from as many writers at once as there may be workers; the server's CPU time of all."""
    connection = await asyncpg.connect(url)
    postmaster = _parent_of(await connection.fetchval("SELECT pg_backend_pid()"))
    print(f"PostgreSQL {await connection.fetchval('SHOW server_version')}, batches of {BATCH_ROWS} rows")
    print("writers  rows/s  server CPU µs/row  WAL bytes/row  disk bytes/row  bytes sent/row")
    for writers in (1, 2, 4):
        databases = [open_database(url, Path("unused")) for _ in range(writers)]
        from_s = time.time() - writers * 100_000
        batches = [
            list(lines(ROWS // writers, from_s=from_s, to_s=from_s + ROWS / 1_000, seed=writers * 10 + seed))
            for seed in range(writers)
        ]
        size, wal = await connection.fetchrow("SELECT pg_database_size(current_database()), pg_current_wal_lsn()-'0/0'")
        cpu_s, began_at = _family_cpu_s(postmaster), time.perf_counter()
        await asyncio.gather(*(_write(*pair) for pair in zip(databases, batches, strict=True)))
        wall_s, cpu_s = time.perf_counter() - began_at, _family_cpu_s(postmaster) - cpu_s
        later = await connection.fetchrow("SELECT pg_database_size(current_database()), pg_current_wal_lsn()-'0/0'")
        for database in databases:
            await database.close()
        sent = sum(map(len, batches[0])) / len(batches[0])
        print(
            f"{writers:7}  {ROWS / wall_s:6.0f}  {cpu_s / ROWS * 1e6:17.0f}  {float(later[1] - wal) / ROWS:13.0f}"
            f"  {(later[0] - size) / ROWS:14.0f}  {sent:14.0f}"
        )
    await connection.close()


async def _write(database: Any, rows: list[bytes]) -> None:
    for start in range(0, len(rows), BATCH_ROWS):
        await database.write(rows[start : start + BATCH_ROWS])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _family_cpu_s(parent: int) -> float:
    """CPU time of a process and of all its children, those that have ended included."""
    ticks = sum(int(value) for value in _stat(parent)[11:15])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return (ticks + sum(int(value) for child in children for value in _stat(int(child))[11:13])) / _TICKS_PER_S


if __name__ == "__main__":
    main()
