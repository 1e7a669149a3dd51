"""Where what outlives a request is kept, client by client: answers by their id, and what providers want back.

Here it is kept in this process: bounded in bytes and in time, the least recently used out first. When it is full, a
client that has more than its share makes room for itself, so that a busy one cannot push out what others count on.

Whoever needs something of a store reads it without waiting. Where other processes keep things too
(`engine.shared_continuity`), what they may have kept is fetched before, all of it at once.
"""

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec

ENTRY_BYTES = 700
"""What an entry takes beside its value: two keys, two places in tables, its expiry."""

SHARE = 4
"""A quarter of it all is one client's share, and the most that one value may take."""


class ContinuityStore(Protocol):
    """Keeps bytes under ids, each for one client. Nothing raises, and only `fetch` waits."""

    @property
    def waits(self) -> bool:
        """Whether `fetch` may find what `get` does not."""
        ...

    async def fetch(self, client: str, entry_ids: Sequence[str], now_s: float) -> None:
        """Learn what others have kept under these ids, or have forgotten, so that `get` says so."""
        ...

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """What is done when others may know of all that has been put for this client; None when it is done."""
        ...

    def get(self, client: str, entry_id: str, now_s: float) -> bytes | None:
        """What is kept for this client under this id; times are epoch seconds."""
        ...

    def holds(self, client: str) -> bool:
        """Whether anything is kept for this client."""
        ...

    def put(self, client: str, entry_id: str, value: bytes, *, now_s: float, ttl_s: float) -> bool:
        """Keep a value for some seconds; False when there is no room for it."""
        ...

    def delete(self, client: str, entry_id: str, *, ttl_s: float) -> bool:
        """Forget a value that was kept for `ttl_s` at most; whether there was one."""
        ...


class _Entry(msgspec.Struct, frozen=True, gc=False):
    value: bytes
    expires_s: float
    size: int


_Key = tuple[str, str]


class MemoryContinuityStore:
    """Implements `ContinuityStore`. `most_bytes` bounds all entries together; see `SHARE` for one client's."""

    __slots__ = ("_clients", "_entries", "_held", "bytes_held", "most_bytes")

    waits = False

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes_held = 0
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._clients: dict[str, OrderedDict[str, None]] = {}
        self._held: dict[str, int] = {}

    async def fetch(self, client: str, entry_ids: Sequence[str], now_s: float) -> None:
        """Nothing: nobody else keeps anything."""

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """Nothing: what is put is there."""
        del client
        return None

    def get(self, client: str, entry_id: str, now_s: float) -> bytes | None:
        """What is kept for this client under this id."""
        entry = self._entries.get((client, entry_id))
        if entry is None:
            return None
        if now_s >= entry.expires_s:
            self._remove(client, entry_id)
            return None
        self._entries.move_to_end((client, entry_id))
        self._clients[client].move_to_end(entry_id)
        return entry.value

    def holds(self, client: str) -> bool:
        """Whether anything is kept for this client, outdated or not."""
        return client in self._clients

    def put(self, client: str, entry_id: str, value: bytes, *, now_s: float, ttl_s: float) -> bool:
        """Keep a value for some seconds, and let go of as many others as it needs room."""
        self._remove(client, entry_id)
        size = sys.getsizeof(value) + ENTRY_BYTES
        share = self.most_bytes // SHARE
        if size > share or ttl_s <= 0:
            return False
        while self.bytes_held + size > self.most_bytes:
            if self._held.get(client, 0) + size > share:
                self._remove(client, next(iter(self._clients[client])))
            else:
                self._remove(*next(iter(self._entries)))
        self._entries[client, entry_id] = _Entry(value, now_s + ttl_s, size)
        self._clients.setdefault(client, OrderedDict())[entry_id] = None
        self._held[client] = self._held.get(client, 0) + size
        self.bytes_held += size
        return True

    def delete(self, client: str, entry_id: str, *, ttl_s: float = 0.0) -> bool:
        """Forget a value; whether there was one."""
        del ttl_s
        return self._remove(client, entry_id)

    def size(self) -> tuple[int, int]:
        """How many values there are and how many bytes they take, their keys and tables counted."""
        return len(self._entries), self.bytes_held

    def _remove(self, client: str, entry_id: str) -> bool:
        entry = self._entries.pop((client, entry_id), None)
        if entry is None:
            return False
        self.bytes_held -= entry.size
        self._held[client] -= entry.size
        entries = self._clients[client]
        del entries[entry_id]
        if not entries:
            del self._clients[client], self._held[client]
        return True

    def __repr__(self) -> str:
        return (
            f"<MemoryContinuityStore {len(self._entries)} values of {len(self._clients)} clients,"
            f" {self.bytes_held} of {self.most_bytes} bytes>"
        )
