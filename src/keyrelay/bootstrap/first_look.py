"""A look into the store before anything is made: some settings only count for parts that are made with them."""

import asyncio

from keyrelay.administration.entries import read_all
from keyrelay.configuration.values import Configuration
from keyrelay.configuration.watching import Load
from keyrelay.core.administered import Administered
from keyrelay.core.errors import ConfigurationError, StoreError
from keyrelay.storage.database import FILE_NAME, open_database
from keyrelay.storage.entry_store import SqlEntryStore

LONGEST_LOOK_S = 3.0
_SETTING = "setting"


async def with_kept_settings(configuration: Configuration, load: Load) -> Configuration:
    """The configuration with the settings that are administered; everything else that is follows later.

    A store that does not answer is done without, and so are settings that are not valid any more: both are reported
    when everything is read.
    """
    url, data_dir = configuration.settings.database_url.reveal(), configuration.settings.data_dir
    if not url and not (data_dir / FILE_NAME).exists():
        return configuration
    try:
        database = open_database(url, data_dir)
        try:
            async with asyncio.timeout(LONGEST_LOOK_S):
                _, stored = await SqlEntryStore(database).read()
        finally:
            await database.close()
        entries, _ = read_all((each for each in stored if each.kind == _SETTING), None)
        return load(Administered(entries=entries)) if entries else configuration
    except (StoreError, TimeoutError, ValueError, ConfigurationError):
        return configuration
