"""The servers that other tests stand on: they break as they say, come back, and leave nothing behind."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
import redis
from redis.asyncio import Redis

from tests.servers.fault_proxy import FaultProxy, Mode
from tests.servers.guarded import wait_until
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import NO_RETRY, RedisServer

ROOT = Path(__file__).parents[2]


# Redis


def test_a_killed_redis_comes_back_empty_on_the_same_port(own_redis_server: RedisServer) -> None:
    own_redis_server.command("set", "a", "1")
    own_redis_server.kill()
    with pytest.raises(redis.exceptions.ConnectionError):
        own_redis_server.command("ping")
    own_redis_server.start()
    assert own_redis_server.command("get", "a") is None


def test_a_persistent_redis_keeps_what_it_acknowledged_over_a_kill() -> None:
    with RedisServer(persistent=True) as server:
        server.command("set", "a", "1")
        server.kill()
        server.start()
        assert server.command("get", "a") == "1"
        server.restart()
        assert server.command("get", "a") == "1"
        server.flush()
        assert server.command("get", "a") is None


def test_a_frozen_redis_accepts_and_answers_nothing_until_it_is_thawed(own_redis_server: RedisServer) -> None:
    with redis.Redis(port=own_redis_server.port, socket_timeout=0.05, retry=NO_RETRY) as client:
        own_redis_server.freeze()
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()
        own_redis_server.thaw()
        assert client.ping()


def test_every_flavour_of_redis_is_one_that_the_product_supports(every_redis_server: RedisServer) -> None:
    version = every_redis_server.command("INFO", "server")["redis_version"]
    assert tuple(map(int, version.split(".")[:2])) >= (6, 2)


# PostgreSQL


async def test_each_test_has_an_empty_database(every_postgres_url: str) -> None:
    connection = await asyncpg.connect(every_postgres_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        await connection.execute("CREATE TABLE a (b integer)")
    finally:
        await connection.close()


def test_postgres_keeps_what_it_committed(own_postgres_server: PostgresServer) -> None:
    database = own_postgres_server.create_database().rpartition("/")[2]
    own_postgres_server.execute(database, "CREATE TABLE a (b integer)")
    own_postgres_server.execute(database, "INSERT INTO a VALUES (7)")
    own_postgres_server.kill()
    own_postgres_server.start()
    assert own_postgres_server.execute(database, "SELECT b FROM a") == "7"
    own_postgres_server.restart()
    assert own_postgres_server.execute(database, "SELECT b FROM a") == "7"


async def test_a_frozen_postgres_answers_nothing_whoever_asks(
    own_postgres_server: PostgresServer,
) -> None:
    connection = await asyncpg.connect(own_postgres_server.url("postgres"))
    own_postgres_server.freeze()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0.05)
    with pytest.raises(TimeoutError):
        await asyncpg.connect(own_postgres_server.url("postgres"), timeout=0.05)
    own_postgres_server.thaw()
    fresh = await asyncpg.connect(own_postgres_server.url("postgres"))
    assert await fresh.fetchval("SELECT 1") == 1
    await fresh.close()
    connection.terminate()


# What is left behind


@pytest.mark.parametrize(
    ("server", "frozen"), [("redis_server.RedisServer", False), ("postgres_server.PostgresServer", True)]
)
def test_nothing_is_left_when_the_test_process_is_killed(server: str, frozen: bool) -> None:
    module, _, name = server.partition(".")
    program = (
        f"from tests.servers.{module} import {name}\n"
        f"import time\nserver = {name}()\nserver.start()\n"
        f"{'server.freeze()' if frozen else ''}\n"
        "print(server._running.pid, server._running.directory, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, directory = process.stdout.readline().split()
        assert Path(directory).is_dir()
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(directory).exists(), "its directory is gone")
    wait_until(lambda: not is_alive(int(pid)), "the server is gone")


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_nothing_is_left_of_a_server_that_is_stopped() -> None:
    with PostgresServer() as server:
        directory, pid = server._running.directory, server._running.pid
        assert is_alive(pid)
    assert not directory.exists()
    assert not is_alive(pid)
    assert repr(server) == f"<PostgresServer postgresql://keyrelay@127.0.0.1:{server.port}/postgres: None>"


# The proxy


@pytest.mark.parametrize(
    ("mode", "raised"),
    [("refuse", redis.exceptions.ConnectionError), ("blackhole", redis.exceptions.TimeoutError)],
)
async def test_the_proxy_withholds_the_server(
    redis_server: RedisServer, mode: Mode, raised: type[redis.exceptions.RedisError]
) -> None:
    async with FaultProxy(redis_server.port) as proxy:
        client = Redis.from_url(proxy.url(redis_server.url), socket_timeout=0.1, retry=None)
        await proxy.set(mode)
        with pytest.raises(raised):
            await client.ping()
        await proxy.set("pass")
        assert await client.ping()
        await client.aclose()
        assert proxy.url("redis://user:word@a:1/0") == f"redis://user:word@127.0.0.1:{proxy.port}/0"


async def test_the_proxy_silences_an_open_connection_and_lets_it_go_on(redis_server: RedisServer) -> None:
    async with FaultProxy(redis_server.port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.set("blackhole")
        writer.write(b"PING\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.05)
        await proxy.set("pass")
        assert await reader.readline() == b"+PONG\r\n"
        writer.close()


async def test_the_proxy_delays_each_direction(redis_server: RedisServer) -> None:
    async with FaultProxy(redis_server.port) as proxy:
        proxy.latency_s = 0.03
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        began_at = time.monotonic()
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
        assert time.monotonic() - began_at >= 0.06
        writer.close()


@pytest.mark.parametrize("how", [FaultProxy.cut, FaultProxy.reset], ids=["cut", "reset"])
async def test_the_proxy_ends_open_connections(redis_server: RedisServer, how: Callable[[FaultProxy], None]) -> None:
    async with FaultProxy(redis_server.port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
        how(proxy)
        if how is FaultProxy.cut:
            assert await reader.read() == b""
        else:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()
        assert proxy.accepted == 1
