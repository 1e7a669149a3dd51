"""The vault over the store's key ring, opened when something is first sealed or opened: its library takes memory."""

import asyncio
import importlib
from typing import TYPE_CHECKING

from keyrelay.core.errors import MasterKeyError
from keyrelay.ports import Clock
from keyrelay.settings import Settings
from keyrelay.storage.database import Database
from keyrelay.storage.ring_store import SqlRingStore

if TYPE_CHECKING:
    from keyrelay.vault.keeper import RingKeeper
    from keyrelay.vault.master_key_source import MasterKeySource
    from keyrelay.vault.vault import Vault

MASTER_KEY_FILE = "master.key"
"""The file in the data directory, where no other place is named."""


class VaultOpener:
    """Opens one vault for all who need it. Calling it raises StoreError and VaultError."""

    __slots__ = ("_clock", "_database", "_lock", "_settings", "_vault")

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._vault: Vault | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> "Vault":
        """The vault."""
        async with self._lock:
            if self._vault is None:
                self._vault = await self.keeper().open()
            return self._vault

    async def refresh(self) -> None:
        """Let the vault go on with the ring as it is now, which others may have changed. Raise as opening it does."""
        async with self._lock:
            if self._vault is not None:
                await self.keeper().refresh(self._vault)

    def keeper(self) -> "RingKeeper":
        """Who keeps the ring, for changing it. Raise MasterKeyError."""
        keepers = importlib.import_module("keyrelay.vault.keeper")
        ring_store = SqlRingStore(self._database, self._clock.epoch_s)
        keeper: RingKeeper = keepers.RingKeeper(ring_store, self.source(), self._clock.epoch_s)
        return keeper

    def source(self) -> "MasterKeySource":
        """Where the master key comes from. Raise MasterKeyError."""
        sources = importlib.import_module("keyrelay.vault.master_key_source")
        settings = self._settings
        if settings.master_key and settings.master_key_file:
            raise MasterKeyError("KEYRELAY_MASTER_KEY and KEYRELAY_MASTER_KEY_FILE are both set: keep one of them")
        file = settings.data_dir / (settings.master_key_file or MASTER_KEY_FILE)
        source: MasterKeySource = sources.MasterKeySource(settings.master_key, file)
        return source

    def __repr__(self) -> str:
        return f"<VaultOpener {'closed' if self._vault is None else self._vault!r}>"
