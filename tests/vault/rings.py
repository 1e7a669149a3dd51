"""A ring's store in memory, as exact as the real ones, and keys for tests."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from keyrelay.core.secrets import Secret
from keyrelay.ports import AuditEntry, StoredRing
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.master_key import MasterKey
from keyrelay.vault.master_key_source import MasterKeySource
from keyrelay.vault.ring import Ring, decode_ring

NOW_S = 1_800_000_000.0

A_KEY = MasterKey(bytes(range(32)))
ANOTHER_KEY = MasterKey(bytes(range(32, 64)))


class MemoryRingStore:
    """`ports.RingStore` over a variable; each verb gives others their turn first, as I/O would."""

    def __init__(self) -> None:
        self.stored: StoredRing | None = None
        self.writes = 0
        self.audit: list[AuditEntry] = []

    async def read_ring(self) -> StoredRing | None:
        await asyncio.sleep(0)
        return self.stored

    async def write_ring(self, value: bytes, *, replaces: int, audit: Sequence[AuditEntry] = ()) -> bool:
        await asyncio.sleep(0)
        if replaces != (0 if self.stored is None else self.stored.generation):
            return False
        self.stored = StoredRing(replaces + 1, value)
        self.writes += 1
        self.audit += audit
        return True

    @property
    def ring(self) -> Ring:
        assert self.stored is not None
        return decode_ring(self.stored.value)


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def epoch_s(self) -> float:
        return self.now_s


def source_of(key: MasterKey | None, directory: Path = Path("/nonexistent")) -> MasterKeySource:
    return MasterKeySource(Secret("" if key is None else key.reveal()), directory / "master.key")


def keeper_of(store: MemoryRingStore, key: MasterKey | None = A_KEY, clock: Clock | None = None) -> RingKeeper:
    return RingKeeper(store, source_of(key), (clock or Clock()).epoch_s)
