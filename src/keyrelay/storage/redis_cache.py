"""The response cache in Redis, shared by all workers and hosts.

Nobody waits long for it: a read takes as long as the client's circuit allows, and nothing once that is open; then the
answer is a miss. Writing is left to tasks, and what does not fit among those under way is not written. Every command
names one key, so that a cluster will do.

Redis lets go of values when they expire. It is not to evict any before, because the counts of all limits are there too;
so each process writes no more than its share of bytes before the first of them have expired.

Values are sealed, and named, with what their keys are made of: the requests that they answer. Redis has neither, so who
reads along there learns nothing without knowing the very request.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from keyrelay.core.errors import SealedValueError, StoreError, VaultError
from keyrelay.storage.redis.client import REDIS_ERRORS, Breaker, Client, store_error
from keyrelay.storage.redis.state import Seal

MAX_WRITES = 64
"""Values that may be on their way to Redis at a time."""

SealOf = Callable[[str, bytes], Seal]
"""The seal of what is kept in a scope under a key."""

ENTRY_BYTES = 300
"""What an entry takes in Redis beside its value: its name, its expiry, its places in the tables."""

_ID = ""
"""Each key has a seal of its own, so nothing more is needed to tell values apart."""

_BUCKET_S = 60
_SCANNED = 1000
_DELETED = 200


class _Written:
    """Bytes that were written and have not expired, counted by the minute in which they will."""

    __slots__ = ("_by_minute", "_minute", "bytes_held")

    def __init__(self) -> None:
        self._by_minute: dict[int, int] = {}
        self._minute = 0
        self.bytes_held = 0

    def at(self, now_s: float) -> int:
        """How many they are now."""
        minute = int(now_s // _BUCKET_S)
        if minute != self._minute:
            self._minute = minute
            for expired in [each for each in self._by_minute if each < minute]:
                self.bytes_held -= self._by_minute.pop(expired)
        return self.bytes_held

    def add(self, size: int, expires_s: float) -> None:
        """So many more."""
        minute = int(expires_s // _BUCKET_S)
        self._by_minute[minute] = self._by_minute.get(minute, 0) + size
        self.bytes_held += size

    def clear(self) -> None:
        """None are left."""
        self._by_minute.clear()
        self.bytes_held = 0


class RedisCache:
    """Implements `Cache`, the engine's protocol for kept answers. `most_bytes` bounds what this process has in Redis.

    `seal_of` gives what values are sealed with. `failed` counts reads and writes that Redis did not answer, `skipped`
    writes that were given up at once. The client and its circuit belong to whoever made them.
    """

    __slots__ = ("_breaker", "_client", "_seal_of", "_stem", "_writes", "_written", "failed", "most_bytes", "skipped")

    evicted = 0

    def __init__(self, client: Client, breaker: Breaker, *, prefix: str, most_bytes: int, seal_of: SealOf) -> None:
        self._client = client
        self._breaker = breaker
        self._stem = f"{prefix}:cache:"
        self._seal_of = seal_of
        self._writes: set[asyncio.Task[None]] = set()
        self._written = _Written()
        self.most_bytes = most_bytes
        self.failed = 0
        self.skipped = 0

    @property
    def waits(self) -> bool:
        """Whether Redis may be asked."""
        return not self._breaker.is_open

    def size(self) -> tuple[int, int] | None:
        """Nothing: only Redis knows, and only by looking through all of it."""
        return None

    def get_now(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        """Nothing is known without asking Redis."""
        del key, scope, now_s
        return None

    async def get(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        """What is kept under this key; nothing when Redis does not say so in time, and no bytes for what is damaged."""
        del now_s  # Redis forgets by its own clock, and whoever gets the value looks at its expiry
        seal = self._seal_of(scope, key)
        try:
            value = await self._breaker.call(self._client.get, self._name(seal, scope))
        except StoreError:
            self.failed += 1
            return None
        try:
            return seal.open(_ID, value) if isinstance(value, bytes) else None
        except SealedValueError:
            return b""

    def put(self, key: bytes, scope: str, value: bytes, *, now_s: float, ttl_s: float) -> bool:
        """Have a value written; False when there is no room for it, or too many are on their way."""
        size, milliseconds = len(value) + ENTRY_BYTES, int(ttl_s * 1000)
        if milliseconds <= 0 or self._written.at(now_s) + size > self.most_bytes:
            return False
        seal = self._seal_of(scope, key)
        try:
            sealed = seal.seal(_ID, value)
        except VaultError:  # larger than anything that is sealed
            return False
        if not self._begin(self._set(self._name(seal, scope), sealed, milliseconds)):
            return False
        self._written.add(size, now_s + ttl_s)
        return True

    def discard(self, key: bytes, scope: str) -> None:
        """Have a value deleted."""
        self._begin(self._delete(self._name(self._seal_of(scope, key), scope)))

    async def purge(self, scope: str | None = None) -> int:
        """Delete everything, or what is kept for one scope; how many values. Raise StoreError when Redis fails."""
        await self.written()
        if self._breaker.is_open:
            raise StoreError("Redis does not answer; nothing was deleted from the cache")
        pattern = _escaped(self._stem) + ("*" if scope is None else f"{_tag(scope)}:*")
        count = 0
        names: list[bytes] = []
        try:
            async for name in self._client.scan_iter(match=pattern, count=_SCANNED):
                names.append(name)
                if len(names) >= _DELETED:
                    count += await self._unlink(names)
                    names = []
            count += await self._unlink(names)
        except REDIS_ERRORS as error:
            raise store_error(error) from None
        if scope is None:
            self._written.clear()
        return count

    async def written(self) -> None:
        """Wait for the writes under way, none of which takes long."""
        if self._writes:
            await asyncio.wait(tuple(self._writes))

    async def aclose(self) -> None:
        """Let the writes under way end."""
        await self.written()

    def _name(self, seal: Seal, scope: str) -> str:
        return f"{self._stem}{_tag(scope)}:{seal.name(_ID)}"

    def _begin(self, write: Coroutine[Any, Any, None]) -> bool:
        if self._breaker.is_open or len(self._writes) >= MAX_WRITES:
            self.skipped += 1
            write.close()
            return False
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return True

    async def _set(self, name: str, value: bytes, milliseconds: int) -> None:
        try:
            await self._breaker.call(self._client.set, name, value, px=milliseconds)
        except StoreError:
            self.failed += 1

    async def _delete(self, name: str) -> None:
        try:
            await self._breaker.call(self._client.unlink, name)
        except StoreError:
            self.failed += 1

    async def _unlink(self, names: list[bytes]) -> int:
        if not names:
            return 0
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.unlink(name)
        return sum(await pipeline.execute())

    def __repr__(self) -> str:
        state = "asleep" if self._breaker.is_open else "awake"
        return f"<RedisCache {state}, {len(self._writes)} writes under way, {self.failed} failed>"


def _tag(scope: str) -> str:
    """A scope as it stands in keys: clients' labels may hold anything."""
    return hashlib.blake2b(scope.encode(), digest_size=8).hexdigest()


def _escaped(stem: str) -> str:
    r"""A text that stands for itself in a pattern of Redis, in which `*?[]\` mean something."""
    return "".join(f"\\{sign}" if sign in "*?[]\\^-" else sign for sign in stem)
