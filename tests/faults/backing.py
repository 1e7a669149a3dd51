"""What a gateway stands on in these checks: a Redis and a PostgreSQL of its own, which may be broken."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from keyrelay.storage.database import open_database
from keyrelay.storage.versions import make_tables
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer


class Backing:
    """The servers that a plan needs; `environ` tells the gateway of them."""

    def __init__(self, redis: RedisServer | None, postgres: PostgresServer | None) -> None:
        self._redis = redis
        self._postgres = postgres
        self.database_url = "" if postgres is None else postgres.create_database()
        urls = {"KEYRELAY_REDIS_URL": redis.url if redis else "", "KEYRELAY_DATABASE_URL": self.database_url}
        self.environ = {name: url for name, url in urls.items() if url}

    @classmethod
    @contextlib.contextmanager
    def up(cls, *, redis: bool = True, postgres: bool = True) -> Iterator[Self]:
        """With the servers wanted, empty."""
        with contextlib.ExitStack() as stack:
            yield cls(
                stack.enter_context(RedisServer()) if redis else None,
                stack.enter_context(PostgresServer()) if postgres else None,
            )

    @property
    def redis(self) -> RedisServer:
        assert self._redis is not None
        return self._redis

    @property
    def postgres(self) -> PostgresServer:
        assert self._postgres is not None
        return self._postgres

    async def make_tables(self) -> None:
        """What `keyrelay db migrate` does with an empty PostgreSQL; SQLite's are made by the gateway."""
        if self.database_url:
            with tempfile.TemporaryDirectory() as directory:
                database = open_database(self.database_url, Path(directory))
                await database.change(make_tables)
                await database.close()

    def __repr__(self) -> str:
        return f"<Backing {self._redis} {self._postgres}>"
