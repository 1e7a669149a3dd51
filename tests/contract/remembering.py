"""Processes that remember conversations in one Redis, for tests."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable

from keyrelay.engine.continuity_store import ContinuityStore, MemoryContinuityStore
from keyrelay.engine.shared_continuity import SharedContinuityStore
from keyrelay.storage.redis.client import Breaker, open_client
from keyrelay.storage.redis.state import RedisState
from keyrelay.vault.client_seal import ClientSeal

NOW_S = 1_800_000_000.0
TTL_S = 60.0


def seals_of(client: str) -> tuple[ClientSeal, ...]:
    """One secret for each client; `nobody` has none, `rotating` a second one."""
    digests = {"nobody": (), "rotating": (b"new", b"old")}.get(client, (client.encode(),))
    return tuple(ClientSeal(client, hashlib.sha256(digest).digest()) for digest in digests)


@contextlib.asynccontextmanager
async def in_redis(
    url: str,
    prefix: str,
    *,
    most_bytes: int = 1 << 20,
    timeout_s: float = 2.0,
    seals: Callable[[str], tuple[ClientSeal, ...]] = seals_of,
    reports: list[str] | None = None,
) -> AsyncIterator[RedisState]:
    """What one process has of it."""
    client = open_client(url, timeout_s=timeout_s)
    breaker = Breaker(client, timeout_s=timeout_s, random=lambda: 0.5, report=lambda _: None)
    told = [] if reports is None else reports
    state = RedisState(client, breaker, prefix=prefix, most_bytes=most_bytes, seals_of=seals, report=told.append)
    try:
        yield state
    finally:
        await state.aclose()
        await breaker.aclose()
        await client.aclose()


def over(state: RedisState, most_bytes: int = 1 << 20) -> SharedContinuityStore:
    """A process's store over it."""
    return SharedContinuityStore(MemoryContinuityStore(most_bytes), state)


async def settled(store: ContinuityStore, client: str) -> None:
    """Wait until others may know what a store was told."""
    unwritten = store.unwritten(client)
    if unwritten is not None:
        await unwritten


async def found(store: ContinuityStore, client: str, entry_id: str, now_s: float = NOW_S) -> bytes | None:
    """What a process finds under an id, when it has asked the others."""
    if store.waits:
        await store.fetch(client, [entry_id], now_s)
    return store.get(client, entry_id, now_s)
