"""The servers as fixtures. A folder that needs them imports them in its `conftest.py`:

    from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module

One server of a kind serves the whole session; each test gets a prefix or a database of its own. A test that freezes,
kills or flushes takes `own_redis_server`, so that the others never meet a broken one (a Redis starts in 15 ms, a
PostgreSQL in 400 ms). Contract suites take the fixtures that begin with `every_`, which run a test once per flavour
installed here. `KEYRELAY_TEST_REDIS_URL` and `KEYRELAY_TEST_POSTGRES_URL` name servers to use in place of the wheels'
for `redis_url` and `postgres_url`; the latter names a database that is emptied before each test.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.servers.postgres_server import PostgresServer, postgres_flavours
from tests.servers.redis_server import RedisServer, redis_flavours

__all__ = (
    "every_postgres_server",
    "every_postgres_url",
    "every_redis_server",
    "own_postgres_server",
    "own_redis_server",
    "postgres_server",
    "postgres_url",
    "redis_cluster",
    "redis_prefix",
    "redis_server",
    "redis_url",
)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis 6.2 for the session."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisServer]:
    """One cluster node for the session."""
    with RedisServer(cluster=True) as server:
        yield server


@pytest.fixture(scope="session", params=redis_flavours())
def every_redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One Redis of each flavour for the session."""
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A Redis for one test, to be broken at will."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis that other tests use too: keep to `redis_prefix`."""
    named = os.environ.get("KEYRELAY_TEST_REDIS_URL")
    return named or request.getfixturevalue("redis_server").url


@pytest.fixture
def redis_prefix() -> str:
    """A prefix that no other test uses, ending in a colon."""
    return f"test-{secrets.token_hex(6)}:"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL 16 for the session."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session", params=postgres_flavours())
def every_postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """One PostgreSQL of each flavour for the session."""
    with PostgresServer(request.param) as server:
        yield server


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for one test, to be broken at will."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database."""
    named = os.environ.get("KEYRELAY_TEST_POSTGRES_URL")
    if named:
        yield named
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def every_postgres_url(every_postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, on each flavour in turn."""
    url = every_postgres_server.create_database()
    yield url
    every_postgres_server.drop_database(url)
