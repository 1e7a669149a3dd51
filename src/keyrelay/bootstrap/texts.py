"""Prompts and answers, where they are kept: from the data plane over the vault into the store."""

from keyrelay.api.keeping_metrics import TextsCollector
from keyrelay.api.text_copies import TextCopying, TextSettings
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.core.errors import ConfigurationError, StoreError, VaultError
from keyrelay.engine.housekeeping import Chore
from keyrelay.engine.text_keeper import FLUSH_EVERY_S, TextKeeper
from keyrelay.ports import Clock
from keyrelay.settings import Settings
from keyrelay.storage.database import Database
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.ring_store import SqlRingStore
from keyrelay.storage.text_store import SqlTextStore

_FOLLOW_EVERY_S = 2.0
"""How often is looked whether the key ring has changed; a term is retired much longer after it was current."""

_DRAIN_S = 3.0


class Texts:
    """The keeper of texts, which also reads them, and `copying` for the data plane, None where none are kept."""

    def __init__(
        self, settings: Settings, database: Database, reader: PromptReader, *, vault: VaultOpener, clock: Clock
    ) -> None:
        self._vault = vault
        self._ring = SqlRingStore(database, clock.epoch_s)
        self.keeper = TextKeeper(SqlTextStore(database, reader), vault, clock, refresh=vault.refresh)
        wanted = TextSettings(mode=settings.keep_texts, max_bytes=settings.keep_texts_max_bytes)
        self.copying = None if wanted.mode == "off" else TextCopying(self.keeper.keep, wanted)

    def chores(self) -> tuple[Chore, ...]:
        """What is to be done now and then."""
        refresh = Chore("reading the key ring", _FOLLOW_EVERY_S, self._vault.follow, first_s=_FOLLOW_EVERY_S)
        if self.copying is None:
            return (refresh,)
        return (refresh, Chore("keeping prompts and answers", FLUSH_EVERY_S, self.keeper.flush, first_s=FLUSH_EVERY_S))

    def collectors(self) -> tuple[TextsCollector, ...]:
        """Metrics, where texts are kept."""
        return () if self.copying is None else (TextsCollector(self.keeper),)

    async def open(self) -> None:
        """See to it that what is sealed can be opened, before anything more is sealed.

        A store that does not answer is done without until it does. Raise ConfigurationError when there is a key ring,
        or should be one, and the master key is missing or wrong, or when its keyring cannot be asked.
        """
        try:
            if self.copying is not None or await self._ring.read_ring() is not None:
                await self._vault()
            else:
                await self._vault.look()
        except VaultError as error:
            raise ConfigurationError(self._vault.setting, f"{error}.") from None
        except StoreError as error:
            if error.lasting:
                raise ConfigurationError("KEYRELAY_DATABASE_URL", str(error)) from None

    async def close(self) -> bool:
        """Write what waits; False when some of it is lost."""
        return await self.keeper.drain(_DRAIN_S)

    def __repr__(self) -> str:
        return f"<Texts {self.keeper!r}>"
