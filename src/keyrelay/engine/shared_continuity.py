"""What is remembered of conversations where several processes serve them: in this process, and beside it for all.

The process's own memory answers, so that nothing waits where a request is read and written. What another process may
have kept is brought into it before, in one go; what is kept here is told to the others in the background. When nobody
else can be asked, a process knows what it has kept itself.

Ids name what does not change: once a value is here, it is right. Only that it was deleted has to be asked. What is
deleted here while it is being fetched stays deleted, although its value may be on the way by then.
"""

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from keyrelay.engine.continuity_store import MemoryContinuityStore


class SharedState(Protocol):
    """Values that all processes share, each for one client. Nothing raises."""

    @property
    def waits(self) -> bool:
        """Whether others may be asked now."""
        ...

    async def read(
        self,
        client: str,
        wanted: Sequence[str],
        known: Sequence[str],
        into: dict[str, tuple[bytes, float]] | None = None,
    ) -> tuple[Mapping[str, tuple[bytes, float]], AbstractSet[str]]:
        """Which of the wanted values there are, each with its expiry (epoch), and which of the known were deleted.

        Values are in `into` as soon as they are there, so that who waits no longer has those that came.
        """
        ...

    def write(self, client: str, entry_id: str, value: bytes, *, now_s: float, ttl_s: float) -> None:
        """Have a value kept, without waiting for it; what is too large, or too much at a time, is not."""
        ...

    def delete(self, client: str, entry_id: str, *, ttl_s: float) -> None:
        """Have a value forgotten everywhere, as soon as that can be said; nobody has it for longer than `ttl_s`."""
        ...

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """What is done when all that has been written for a client has been tried; None when it is done."""
        ...


class _Fetch:
    """A fetch that is under way, and what has been deleted since it began."""

    __slots__ = ("deleted",)

    def __init__(self) -> None:
        self.deleted: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Fetch, {len(self.deleted)} deleted meanwhile>"


class SharedContinuityStore:
    """Implements `ContinuityStore` over this process's memory and what all share."""

    __slots__ = ("_fetches", "_memory", "_state")

    def __init__(self, memory: MemoryContinuityStore, state: SharedState) -> None:
        self._memory = memory
        self._state = state
        self._fetches: list[_Fetch] = []

    @property
    def waits(self) -> bool:
        """Whether others may be asked now."""
        return self._state.waits

    async def fetch(self, client: str, entry_ids: Sequence[str], now_s: float) -> None:
        """Learn what others have kept under these ids, or have forgotten."""
        memory = self._memory
        known, wanted = list[str](), list[str]()
        for entry_id in entry_ids:
            (wanted if memory.get(client, entry_id, now_s) is None else known).append(entry_id)
        if not entry_ids or not self._state.waits:
            return
        found, fetch = dict[str, tuple[bytes, float]](), _Fetch()
        self._fetches.append(fetch)
        try:
            _, deleted = await self._state.read(client, wanted, known, into=found)
            for entry_id in deleted:
                memory.delete(client, entry_id)
                fetch.deleted.add((client, entry_id))
        finally:  # also for who gives up waiting: the next one to ask then needs less
            self._fetches.remove(fetch)
            for entry_id, (value, expires_s) in found.items():
                gone = (client, entry_id) in fetch.deleted
                if not gone and memory.get(client, entry_id, now_s) is None:  # else it has been kept here meanwhile
                    memory.put(client, entry_id, value, now_s=now_s, ttl_s=expires_s - now_s)

    def get(self, client: str, entry_id: str, now_s: float) -> bytes | None:
        """What is kept here or has been fetched."""
        return self._memory.get(client, entry_id, now_s)

    def holds(self, client: str) -> bool:
        """Whether anything is here for this client."""
        return self._memory.holds(client)

    def put(self, client: str, entry_id: str, value: bytes, *, now_s: float, ttl_s: float) -> bool:
        """Keep a value here, and have it told to the others; False when there is no room for it here."""
        if not self._memory.put(client, entry_id, value, now_s=now_s, ttl_s=ttl_s):
            return False
        self._state.write(client, entry_id, value, now_s=now_s, ttl_s=ttl_s)
        return True

    def delete(self, client: str, entry_id: str, *, ttl_s: float) -> bool:
        """Forget a value here, and have the others forget it."""
        there = self._memory.delete(client, entry_id)
        for fetch in self._fetches:
            fetch.deleted.add((client, entry_id))
        self._state.delete(client, entry_id, ttl_s=ttl_s)
        return there

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """What is done when others may know of all that has been put for this client."""
        return self._state.unwritten(client)

    def __repr__(self) -> str:
        return f"<SharedContinuityStore {self._memory!r} {self._state!r}>"
