"""Importing without a gateway: what is administered is changed in its store, by the same rules.

Gateways that run on the same store follow within a second, as they follow each other.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from keyrelay.administration.importing.service import Importer
from keyrelay.administration.service import Administration
from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.importing import compose_importer
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration.values import Configuration
from keyrelay.configuration.watching import Load, Watch
from keyrelay.core.errors import StoreError
from keyrelay.storage.database import open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.migrating import ensure_schema
from keyrelay.storage.standing import standing_of
from keyrelay.storage.versions import SchemaState

_Result = TypeVar("_Result")


async def import_offline(
    configuration: Configuration, load: Load, work: Callable[[Importer], Awaitable[_Result]]
) -> _Result:
    """Do something with an importer over the store of this configuration; `load` reads the configuration anew.

    Raise StoreError and VaultError, and what the work raises.
    """
    async with _administration(configuration, load) as administration:
        return await work(compose_importer(administration, configuration.settings, time.time, _nothing))


async def administered_offline(configuration: Configuration, load: Load) -> Configuration:
    """A configuration with what is administered, if the store has its tables. Raise as `import_offline` does."""
    settings = configuration.settings
    database = open_database(settings.database_url.reveal(), settings.data_dir)
    try:
        current = (await standing_of(database)).state is SchemaState.CURRENT
    finally:
        await database.close()
    if not current:
        return configuration
    async with _administration(configuration, load) as administration:
        return administration.configuration


@contextlib.asynccontextmanager
async def _administration(configuration: Configuration, load: Load) -> AsyncIterator[Administration]:
    settings = configuration.settings
    database = open_database(settings.database_url.reveal(), settings.data_dir)
    try:
        await ensure_schema(database)
        clock = SystemClock()
        watch = Watch(configuration, load, take=lambda *_: None, refuse=_refuse)
        vault = VaultOpener(settings, database, clock)
        administration = Administration(SqlEntryStore(database), watch, vault=vault, clock=clock, refresh=vault.refresh)
        await administration.follow()
        yield administration
    finally:
        await database.close()


async def _nothing() -> None:
    """No ledger counts here; the gateway's does when it starts."""


def _refuse(text: str) -> None:
    raise StoreError(f"what is administered already is not valid: {text}", lasting=True)
