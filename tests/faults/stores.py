"""Everything that stores hold, as bytes: tables, keys, files, and what seals them."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import redis

from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration import load_configuration
from keyrelay.storage.database import open_database
from keyrelay.vault.ring import unwrapped
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer
from tests.shipped import shipped_rows

_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
_SESSIONS = "SELECT application_name, query FROM pg_stat_activity"


def backed_up(database: Path, copy: Path) -> bytes:
    """A backup of an SQLite database, as its own command makes one."""
    with sqlite3.connect(database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy.read_bytes()


def postgres_texts(server: PostgresServer, url: str) -> str:
    """Every table, and what the server shows of its sessions."""
    name = url.rpartition("/")[2]
    tables = server.execute(name, _TABLES).split()
    return "\n".join(
        [server.execute(name, f"COPY {table} TO STDOUT") for table in tables] + [server.execute(name, _SESSIONS)]
    )


def redis_texts(server: RedisServer) -> bytes:
    """Every key with its value, and what the server shows of its clients and slow commands."""
    with redis.Redis(port=server.port, socket_timeout=5.0) as client:
        readers: Mapping[bytes, Callable[[bytes], Any]] = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            b"stream": client.xrange,
        }
        pieces = [client.execute_command("CLIENT LIST"), client.execute_command("SLOWLOG GET 100")]
        for key in client.scan_iter(count=1000):
            pieces += [key, readers[client.type(key)](key)]
    return b"\n".join(_flat(pieces))


def _flat(value: object) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Mapping):
        yield from _flat([*value.items()])
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _flat(each)
    else:
        yield str(value).encode()


async def keys_of_ring(environ: Mapping[str, str], directory: Path) -> dict[str, bytes]:
    """The data keys in the clear, as only the vault has them."""
    loaded = load_configuration(
        {"HOME": str(directory), **environ}, directory=directory, overrides={}, catalogue=shipped_rows()
    )
    settings = loaded.settings
    database = open_database(settings.database_url.reveal(), settings.data_dir)
    try:
        opener = VaultOpener(settings, database, SystemClock())
        ring = await opener.keeper().ring()
        assert ring is not None
        (master,) = await opener.source().at_hand(ring.master)
        return {f"data key {number}": key for number, key in unwrapped(ring, master).by_term.items()}
    finally:
        await database.close()
