"""The way to Redis for everything off the hot path: a client without redis-py's defaults, and a circuit of its own.

redis-py waits 5 s and tries ten times by default, so a Redis that is frozen would freeze its callers. Here every call
has one deadline for all it does, connecting included, and is made once. After the first call that meets no working
Redis the `Breaker` is open: calls fail at once, without waiting, while a task of its own asks once per second whether
Redis answers again.

`redis://` and `rediss://` name one server, `redis+cluster://` and `rediss+cluster://` any node of a cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterCrossSlotError,
    ClusterDownError,
    ClusterError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as NoConnectionError,
)
from redis.exceptions import (
    TimeoutError as NoAnswerError,
)

from keyrelay.core.errors import StoreError

PROBE_EVERY_S = 1.0
"""How often Redis is asked whether it is back, give or take a fifth."""

MAX_CONNECTIONS = 32
"""Connections of one client; who finds none free waits for one, within the deadline of the call."""

_CLUSTER_SCHEME = "+cluster://"
_PROBE_JITTER = 0.2
_CANCEL_EVERY_S = 0.02
_FIRST_PROBE_S = 10.0  # a cluster is discovered anew by it, node by node

Client = Redis | RedisCluster
P = ParamSpec("P")
T = TypeVar("T")


class _Meaning:
    """What an exception means: a sentence, whether it says that Redis is not there, whether a person has to act."""

    __slots__ = ("gone", "lasting", "text")

    def __init__(self, text: str, *, gone: bool = False, lasting: bool = False) -> None:
        self.text = text
        self.gone = gone
        self.lasting = lasting


_NO_ANSWER = _Meaning("Redis does not answer in time", gone=True)
_UNREACHABLE = _Meaning("Redis cannot be reached", gone=True)
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], _Meaning], ...] = (
    # The first that fits counts: the narrow ones stand before those that they derive from.
    ((AuthenticationError, AuthorizationError), _Meaning("Redis refuses the password", gone=True, lasting=True)),
    ((MaxConnectionsError,), _Meaning("all connections to Redis are in use")),
    ((NoAnswerError, TimeoutError), _NO_ANSWER),
    ((NoConnectionError, OSError), _UNREACHABLE),
    ((ClusterDownError, TryAgainError), _Meaning("the Redis cluster is down or moving", gone=True)),
    ((ClusterCrossSlotError, AskError), _Meaning("this Redis is a cluster: use redis+cluster://", lasting=True)),
    ((ReadOnlyError,), _Meaning("this Redis is a replica and takes no writes", gone=True)),
    ((OutOfMemoryError,), _Meaning("Redis has no memory left")),
    ((NoPermissionError,), _Meaning("Redis does not permit this command to this user", lasting=True)),
    ((RedisClusterException, ClusterError), _Meaning("the Redis cluster cannot be reached", gone=True)),
    ((ResponseError,), _Meaning("Redis refuses the command", lasting=True)),
    ((RedisError,), _Meaning("Redis answers something that cannot be understood", gone=True)),
)
"""Texts of the originals are left out: they may hold arguments, and so what callers asked."""

REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)
"""Everything that redis-py raises when a call fails."""


def _meaning_of(error: Exception) -> _Meaning:
    return next(meaning for kinds, meaning in _MEANINGS if isinstance(error, kinds))


def store_error(error: Exception) -> StoreError:
    """What one of `REDIS_ERRORS` means, without its text."""
    meaning = _meaning_of(error)
    return StoreError(f"{meaning.text} ({type(error).__name__})", lasting=meaning.lasting)


def open_client(
    url: str, *, timeout_s: float, blocking_s: float = 0.0, max_connections: int = MAX_CONNECTIONS
) -> Client:
    """A client that decodes nothing and never tries again; nothing is connected before the first call.

    No read takes longer than `timeout_s`, and `blocking_s` more for clients of commands that block. Close it with
    `aclose`. A URL that is none is a StoreError.
    """
    retry = Retry(NoBackoff(), 0)
    try:
        if _CLUSTER_SCHEME in url:
            return RedisCluster.from_url(
                url.replace(_CLUSTER_SCHEME, "://", 1),
                max_connections=max_connections,
                protocol=2,
                retry=retry,
                driver_info=None,
                socket_timeout=timeout_s + blocking_s,
                socket_connect_timeout=timeout_s,
            )
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout_s,
            protocol=2,  # with 3 redis-py does not notice what a call that was given up has left on a connection
            retry=retry,
            driver_info=None,
            socket_timeout=timeout_s + blocking_s,
            socket_connect_timeout=timeout_s,
        )
    except (ValueError, RedisClusterException):
        text = "redis_url is no URL of a Redis, or names a database other than 0 of a cluster"
        raise StoreError(text, lasting=True) from None  # the original may hold the password
    return Redis.from_pool(pool)


async def passing_cancellation(command: Awaitable[T]) -> T:
    """Await a call of redis-py, and pass a cancellation on that it has swallowed.

    It writes through `asyncio.wait_for`, which before Python 3.12 forgets one that comes just as the write ends.
    """
    task = asyncio.current_task()
    cancelled = 0 if task is None else task.cancelling()
    try:
        return await command
    finally:
        if task is not None and task.cancelling() > cancelled:
            raise asyncio.CancelledError


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks that use redis-py, again and again for the same reason, until they have ended."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_EVERY_S)


class Breaker:
    """The circuit of one client. `report` gets a sentence when it opens and when it closes.

    `random` returns a number in [0, 1). It belongs to the event loop that calls it first.
    """

    __slots__ = ("_client", "_probe_every_s", "_probing", "_random", "_report", "_timeout_s", "openings")

    def __init__(
        self,
        client: Client,
        *,
        timeout_s: float,
        random: Callable[[], float],
        report: Callable[[str], None],
        probe_every_s: float = PROBE_EVERY_S,
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._random = random
        self._report = report
        self._probe_every_s = probe_every_s
        self._probing: asyncio.Task[None] | None = None
        self.openings = 0
        """How often it has opened."""

    def __repr__(self) -> str:
        return f"<Breaker {'open' if self.is_open else 'closed'} after {self.openings} openings>"

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once."""
        return self._probing is not None

    async def call(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute a command of the client: `await breaker.call(client.get, name)`. StoreError when it fails.

        Whatever it does takes at most the timeout, and nothing at all while the circuit is open.
        """
        if self._probing is not None:
            raise StoreError("Redis is left alone: it did not answer a moment ago")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await passing_cancellation(command(*args, **kwargs))
        except REDIS_ERRORS as error:
            meaning = _meaning_of(error)
            if meaning.gone:
                self._open(meaning.text)
            raise store_error(error) from None

    def _open(self, reason: str) -> None:
        if self._probing is None:
            self.openings += 1
            self._report(f"{reason}; going on without it")
            self._probing = asyncio.create_task(self._probe(), name="Redis probe")

    async def _probe(self) -> None:
        """Ask until Redis answers in time; then the circuit is closed."""
        while True:
            await asyncio.sleep(self._probe_every_s * (1 + _PROBE_JITTER * (2 * self._random() - 1)))
            try:
                async with asyncio.timeout(_FIRST_PROBE_S):
                    await passing_cancellation(self._client.initialize())
                async with asyncio.timeout(self._timeout_s):
                    await passing_cancellation(self._client.ping())
            except REDIS_ERRORS:
                continue
            self._probing = None
            self._report("Redis answers again")
            return

    async def aclose(self) -> None:
        """Stop asking. The client is closed by whoever opened it."""
        probing, self._probing = self._probing, None
        if probing is not None:
            await end((probing,))
