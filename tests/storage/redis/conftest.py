import pytest

from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module
from tests.servers.redis_server import RedisServer


@pytest.fixture(params=["server", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """One server, and a cluster."""
    if request.param == "server":
        return str(request.getfixturevalue("redis_url"))
    server: RedisServer = request.getfixturevalue("redis_cluster")
    return server.url.replace("redis://", "redis+cluster://")
