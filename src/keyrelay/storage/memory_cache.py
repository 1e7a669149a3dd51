"""The response cache in this process: bounded in bytes, the least recently used out first.

Every verb costs the same however much is kept, but for `purge` of one scope, which looks through everything and lets
others have their turn meanwhile. What has expired is let go of when somebody asks for it, or when room is needed.
"""

import asyncio
import sys
from collections import OrderedDict

import msgspec

ENTRY_BYTES = 400
"""What an entry takes beside its value: key, expiry, its places in the tables, at the worst moment of their growth."""

_TURN = 1000


class _Entry(msgspec.Struct, frozen=True, gc=False):
    value: bytes
    scope: str
    expires_s: float
    size: int


class MemoryCache:
    """Implements `Cache`, the engine's protocol for kept answers. `most_bytes` bounds all entries together."""

    __slots__ = ("_entries", "bytes_held", "evicted", "most_bytes")

    waits = False

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes_held = 0
        self.evicted = 0
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def size(self) -> tuple[int, int]:
        """How many values there are and how many bytes they take, their keys and tables counted."""
        return len(self._entries), self.bytes_held

    def get_now(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        """What is kept under this key for this scope."""
        entry = self._entries.get(key)
        if entry is None or entry.scope != scope:
            return None
        if now_s >= entry.expires_s:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def get(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        """The same: there is nothing to wait for."""
        return self.get_now(key, scope, now_s)

    def put(self, key: bytes, scope: str, value: bytes, *, now_s: float, ttl_s: float) -> bool:
        """Keep a value, and let go of as many others as it needs room; False when it is larger than all of it."""
        self._remove(key)
        size = sys.getsizeof(value) + ENTRY_BYTES
        if size > self.most_bytes:
            return False
        while self.bytes_held + size > self.most_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes_held -= oldest.size
            self.evicted += now_s < oldest.expires_s
        self._entries[key] = _Entry(value, scope, now_s + ttl_s, size)
        self.bytes_held += size
        return True

    def discard(self, key: bytes, scope: str) -> None:
        """Forget what is kept under this key for this scope."""
        entry = self._entries.get(key)
        if entry is not None and entry.scope == scope:
            self._remove(key)

    async def purge(self, scope: str | None = None) -> int:
        """Forget everything, or what is kept for one scope; how many values."""
        if scope is None:
            count = len(self._entries)
            self._entries.clear()
            self.bytes_held = 0
            return count
        count = 0
        for place, key in enumerate(tuple(self._entries)):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            entry = self._entries.get(key)
            if entry is not None and entry.scope == scope:
                self._remove(key)
                count += 1
        return count

    async def aclose(self) -> None:
        """Let go of everything."""
        await self.purge()

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes_held -= entry.size

    def __repr__(self) -> str:
        return f"<MemoryCache {len(self._entries)} answers, {self.bytes_held} of {self.most_bytes} bytes>"
