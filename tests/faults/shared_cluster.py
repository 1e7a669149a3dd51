"""Three workers on a Redis Cluster of three nodes: limits of several providers, then a hash slot that moves.

    .venv/bin/python -m tests.faults.shared_cluster

Takes some 20 s; ends with 1 when a limit did not hold or a moved partition did not come back.
"""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.redis.shared_ledger import SharedLedger
from tests.servers.guarded import free_port
from tests.servers.redis_server import redis_binary

PROVIDERS = ("groq", "gemini", "openai", "mistral", "cohere", "xai", "together")
AMOUNT = 9
PREFIX = "cluster"


def path_of(provider: str) -> tuple[LimitKey, ...]:
    rows = (
        (Unit.REQUESTS, AMOUNT, "60s"),
        (Unit.TOKENS, 1000, "day@UTC"),
        (Unit.REQUESTS, 100, "once"),
        (Unit.REQUESTS, 50, "concurrent"),
    )
    return tuple(
        LimitKey(
            Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.ACCOUNT,)),
            (f"acct:{provider}/a",),
        )
        for unit, amount, window in rows
    )


async def start_nodes(folder: Path) -> dict[int, asyncio.subprocess.Process]:
    """Three nodes that form a cluster, by port."""
    binary = redis_binary("wheel")
    assert binary is not None
    nodes: dict[int, asyncio.subprocess.Process] = {}
    for _ in range(3):
        port = free_port()
        place = folder / str(port)
        place.mkdir()
        options = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", "")
        nodes[port] = await asyncio.create_subprocess_exec(
            binary, *options, "--cluster-enabled", "yes", stdout=asyncio.subprocess.DEVNULL
        )
    await asyncio.sleep(1.0)
    addresses = [f"127.0.0.1:{port}" for port in nodes]
    cli = str(Path(binary).with_name("redis-cli"))
    created = await asyncio.create_subprocess_exec(
        cli, "--cluster", "create", *addresses, "--cluster-yes", stdout=asyncio.subprocess.DEVNULL
    )
    assert await created.wait() == 0
    await asyncio.sleep(3.0)
    return nodes


async def admitted(ledger: SharedLedger, path: tuple[LimitKey, ...]) -> bool:
    reservation = ledger.reserve(path, Amounts(1, 5, 5), time.time())
    return not isinstance(reservation, Refusal) and await ledger.confirm(reservation, time.time()) is None


async def move_slot(ports: list[int], provider: str, source: int) -> None:
    """Move a provider's keys to another node, with a pause half-way."""
    nodes: dict[int, Any] = {port: redis.Redis(port=port, decode_responses=True) for port in ports}
    target = next(port for port in ports if port != source)
    ids = {port: node.execute_command("cluster", "myid") for port, node in nodes.items()}
    slot = nodes[source].execute_command("cluster", "keyslot", f"{{{PREFIX}:{provider}}}:state")
    nodes[target].execute_command("cluster", "setslot", slot, "importing", ids[source])
    nodes[source].execute_command("cluster", "setslot", slot, "migrating", ids[target])
    keys = nodes[source].execute_command("cluster", "getkeysinslot", slot, 1000)
    for index, key in enumerate(keys):
        if index == len(keys) // 2:
            await asyncio.sleep(0.7)
        nodes[source].execute_command("migrate", "127.0.0.1", target, key, 0, 5000)
    for port in sorted(ports, key=lambda port: port != target):
        nodes[port].execute_command("cluster", "setslot", slot, "node", ids[target])
    for node in nodes.values():
        node.close()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


async def judge(ports: list[int]) -> bool:
    ledgers = [
        SharedLedger(
            f"redis+cluster://127.0.0.1:{port}",
            prefix=PREFIX,
            worker=f"host/{slot}",
            epoch_s=time.time,
            random=random.random,
            report=say,
            barrier_s=0.2,
        )
        for slot, port in enumerate(ports)
    ]
    for ledger in ledgers:
        await ledger.start(PROVIDERS)
    held = all([await ledger.serving(*PROVIDERS) for ledger in ledgers])
    for provider in PROVIDERS:
        path = path_of(provider)
        count = sum([await admitted(ledgers[turn % 3], path) for turn in range(30)])
        say(f"{provider}: {count} of {AMOUNT} admitted")
        held = held and count == AMOUNT
    source = ledgers[0]._partitions["groq"].link.address.port
    await move_slot(ports, "groq", source)
    await asyncio.sleep(5.0)
    moved = [ledger._partitions["groq"].link.address.port for ledger in ledgers]
    more = sum([await admitted(ledger, path_of("groq")) for ledger in ledgers])
    apart = [ledger.status().apart for ledger in ledgers]
    say(f"groq moved from {source} to {moved}: {more} more admitted, apart {apart}")
    held = held and more == 0 and source not in moved and not any(apart)
    for ledger in ledgers:
        await ledger.stop()
    return held


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        nodes = await start_nodes(Path(folder))
        try:
            return 0 if await judge(list(nodes)) else 1
        finally:
            for node in nodes.values():
                node.terminate()
                await node.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
