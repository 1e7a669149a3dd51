"""Files that providers keep for clients: who owns them is known by a secret and a register in the data directory."""

from collections.abc import Callable

from keyrelay.core.errors import ConfigurationError, StoreError
from keyrelay.engine.files import Files
from keyrelay.engine.pool import Pool
from keyrelay.settings import Settings
from keyrelay.storage.file_register import FileRegister, file_secret
from keyrelay.wire.files import FileIds


def compose_files(settings: Settings, pool: Pool, report: Callable[[str], None]) -> Files:
    """The files of all clients. Raise ConfigurationError when the secret behind their ids cannot be kept or read."""
    try:
        secret = file_secret(settings.data_dir)
    except StoreError as error:
        raise ConfigurationError("KEYRELAY_DATA_DIR", str(error)) from None
    return Files(pool, FileIds(secret), FileRegister(settings.data_dir, report))
