"""Two hosts with two workers each: every alert is told once, also when the host that tells is killed in between.

It takes about 25 seconds and prints what was told, and when.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa

from keyrelay.simulator import Scenario
from keyrelay.simulator.scenario import KeyPlan, ProviderPlan
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.versions import make_tables
from tests.api.served import MODEL, OPERATOR_SECRET
from tests.e2e.harness import Caller, Process, chat, environment, process, simulated
from tests.notify.servers import hooks
from tests.servers.guarded import free_port
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer

LEASE_S = 5.0
"""How long who leads does so without being heard of, with alerts looked at every second."""

PATIENCE_S = 15.0
BAD = ("sim-groq-bad1", "sim-groq-bad2")


async def send(gateway: Process, path: str, body: object, method: str = "POST") -> None:
    async with Caller(gateway.port, OPERATOR_SECRET) as operator:
        reply = await operator.post(f"/api/v1/{path}", body, method=method)
    assert reply.status < 300, reply.body


async def spoil(gateway: Process, label: str, secret: str) -> None:
    """Add a key that its provider refuses, and find that out."""
    body = {"provider": "groq", "label": label, "secret": secret, "validate": False}
    await send(gateway, "keys", body)
    await send(gateway, f"keys/groq/{label}/test", {})


async def leader(database: Database) -> str:
    """The instance that tells."""
    statement = sa.text("SELECT value FROM states WHERE name = 'alerts'")
    value = await database.read(lambda connection: connection.execute(statement).scalar())
    return str(msgspec.json.decode(bytes(value or b"{}")).get("leader", ""))


def kill(gateway: Process) -> None:
    """End the supervisor and its workers at the same moment, as a lost host does."""
    pid = gateway.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, workers)):
        os.kill(each, signal.SIGKILL)


async def told_once() -> bool:
    """Whether each of two alerts was told once, the second by the host that was left."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        postgres = stack.enter_context(PostgresServer())
        redis = stack.enter_context(RedisServer())
        server = await stack.enter_async_context(hooks())
        plan = ProviderPlan(limits=(), keys={secret: KeyPlan(state="invalid") for secret in BAD})
        simulator = await stack.enter_async_context(simulated(Scenario(providers={"groq": plan})))
        url = postgres.create_database()
        database = open_database(url, directory)
        stack.push_async_callback(database.close)
        await database.change(make_tables)
        gateways: dict[int, Process] = {}
        for _ in range(2):
            port = free_port()
            shared = {
                "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET,
                "KEYRELAY_DATABASE_URL": url,
                "KEYRELAY_REDIS_URL": redis.url,
                "KEYRELAY_MASTER_KEY": base64.b64encode(bytes(range(32))).decode(),
                "KEYRELAY_WORKERS": "2",
                "KEYRELAY_ALERT_INTERVAL_S": "1",
                "KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true",
                "KEYRELAY_PORT": str(port),
            }
            home = directory / str(port)
            home.mkdir()
            more = {**shared, "KEYRELAY_DATA_DIR": str(home / "data"), "GROQ_TIER": "paid"}
            environ = environment(simulator, {"groq": ["work=sim-groq-a"]}, **more)
            gateways[port] = await stack.enter_async_context(process(environ, home))
        one = next(iter(gateways.values()))
        await send(one, "alerts/channels", {"name": "ops", "kind": "webhook", "url": server.url})
        await send(one, "alerts/rules/key_invalid", {"for_s": 0, "clear_for_s": 0, "gather_s": 0}, "PATCH")
        await spoil(one, "bad1", BAD[0])
        took_s = await told(server.taken, 1)
        sys.stdout.write(f"first alert told after {took_s:.1f} s\n")
        await asyncio.sleep(4.0)
        assert len(server.taken) == 1, [taken.json for taken in server.taken]
        leads = await leader(database)
        port = int(leads.rpartition("-")[2])
        kill(gateways.pop(port))
        (left,) = gateways.values()
        killed_at = time.monotonic()
        await spoil(left, "bad2", BAD[1])
        await told(server.taken, 2)
        took_s = time.monotonic() - killed_at
        sys.stdout.write(f"{leads} killed; the next alert told by {await leader(database)} after {took_s:.1f} s\n")
        assert took_s < LEASE_S + 4.0
        assert (await left.ask(chat(MODEL))).status == 200
        await asyncio.sleep(4.0)
        names = ("groq/bad1", "groq/bad2")
        subjects = [name for taken in server.taken for name in names if name in taken.body.decode()]
        sys.stdout.write(f"told in all: {subjects}\n")
        return subjects == list(names) and len(server.taken) == len(names)


async def told(taken: Sequence[object], count: int) -> float:
    """Wait for so many messages; how long that took."""
    began_at = time.monotonic()
    while len(taken) < count:
        assert time.monotonic() - began_at < PATIENCE_S
        await asyncio.sleep(0.05)
    return time.monotonic() - began_at


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(prog="scripts/shared-alerts", description=__doc__).parse_args()
    sys.exit(not asyncio.run(told_once()))


if __name__ == "__main__":
    main()
