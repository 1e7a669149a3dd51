"""The vault over the store's key ring, opened when something is first sealed or opened: its library takes memory."""

import asyncio
import importlib
from typing import TYPE_CHECKING

from keyrelay.core.errors import MasterKeyError
from keyrelay.ports import Clock
from keyrelay.settings import PREFIX, Settings
from keyrelay.storage.database import Database
from keyrelay.storage.ring_store import SqlRingStore

if TYPE_CHECKING:
    from keyrelay.vault.keeper import RingKeeper
    from keyrelay.vault.master_key_source import KeySource
    from keyrelay.vault.vault import Vault

MASTER_KEY_FILE = "master.key"
"""The file in the data directory, where no other place is named."""


class VaultOpener:
    """Opens one vault for all who need it. Calling it raises StoreError and VaultError."""

    __slots__ = ("_clock", "_database", "_generation", "_lock", "_settings", "_source", "_vault")

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._vault: Vault | None = None
        self._generation = 0
        self._source: KeySource | None = None
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

    async def follow(self) -> None:
        """Refresh if the ring is another one than when this was done last: from then on its newest term is used."""
        if self._vault is None:
            return
        stored = await SqlRingStore(self._database, self._clock.epoch_s).read_ring()
        if stored is not None and stored.generation != self._generation:
            await self.refresh()
            self._generation = stored.generation

    async def look(self) -> None:
        """See that a keyring can be asked, before a master key is needed. Raise MasterKeyError."""
        if self._settings.master_key_source == "keyring":
            await self.source().look()

    @property
    def setting(self) -> str:
        """The setting that has to be mended where the master key is missing or wrong."""
        return "KEYRELAY_MASTER_KEY_FILE" if self._source is None else self._source.setting

    def keeper(self) -> "RingKeeper":
        """Who keeps the ring, for changing it. Raise MasterKeyError."""
        keepers = importlib.import_module("keyrelay.vault.keeper")
        ring_store = SqlRingStore(self._database, self._clock.epoch_s)
        keeper: RingKeeper = keepers.RingKeeper(ring_store, self.source(), self._clock.epoch_s)
        return keeper

    def source(self) -> "KeySource":
        """Where the master key comes from, which may remember what it has been told. Raise MasterKeyError."""
        if self._source is None:
            self._source = _source_of(self._settings)
        return self._source

    def __repr__(self) -> str:
        return f"<VaultOpener {'closed' if self._vault is None else self._vault!r}>"


def _source_of(settings: Settings) -> "KeySource":
    source: KeySource
    if settings.master_key_source == "keyring":
        given = [name for name in ("master_key", "master_key_file") if getattr(settings, name)]
        if given:
            names = " and ".join(f"{PREFIX}{name.upper()}" for name in given)
            raise MasterKeyError(f"KEYRELAY_MASTER_KEY_SOURCE is keyring, and {names} is set too: keep one of them")
        source = importlib.import_module("keyrelay.vault.keyring_source").KeyringSource()
        return source
    sources = importlib.import_module("keyrelay.vault.master_key_source")
    if settings.master_key and settings.master_key_file:
        raise MasterKeyError("KEYRELAY_MASTER_KEY and KEYRELAY_MASTER_KEY_FILE are both set: keep one of them")
    file = settings.data_dir / (settings.master_key_file or MASTER_KEY_FILE)
    source = sources.MasterKeySource(settings.master_key, file)
    return source
