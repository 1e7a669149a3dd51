"""`clients.json` in the data directory: label, digest and date of each client that Keyrelay itself made.

Only digests are kept, so the file tells nobody a secret; it is readable by its owner only all the same, and is
replaced in one step, so that a crash leaves the old one or the new one.
"""

import contextlib
import datetime as dt
import os
import tempfile
from pathlib import Path

import msgspec

from keyrelay.core.configuration import Client
from keyrelay.core.errors import ConfigurationError

FILE_NAME = "clients.json"
_VERSION = 1
_DIGEST_BYTES = 32
_MAX_BYTES = 16 * 1024 * 1024


class StoredClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One client as the file has it; `sha256` is the digest in hex."""

    label: str
    sha256: str
    created_at: dt.datetime

    @property
    def client(self) -> Client:
        """The client itself. Raise ValueError when the digest is none."""
        digest = bytes.fromhex(self.sha256)
        if len(digest) != _DIGEST_BYTES:
            raise ValueError("not a SHA-256 digest")
        return Client(self.label, digest)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    clients: tuple[StoredClient, ...]


def path_in(data_dir: Path) -> Path:
    """Where the file is."""
    return data_dir / FILE_NAME


def read_stored(data_dir: Path) -> tuple[StoredClient, ...]:
    """The clients in the file, none when there is no file. Raise ConfigurationError when it cannot be read."""
    path = path_in(data_dir)
    fix = "Mend it, or move it away: `keyrelay clients new` makes another one."
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
        document = msgspec.json.decode(data, type=_Document)
        for stored in document.clients:
            _ = stored.client
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}.", fix) from error
    except ValueError:  # msgspec's errors are ValueErrors, and may quote what stands in the file
        raise ConfigurationError(str(path), "is not a list of clients as Keyrelay writes it.", fix) from None
    if document.version != _VERSION:
        problem = f"is of version {document.version}, which this Keyrelay does not know."
        raise ConfigurationError(str(path), problem, "Start the Keyrelay that wrote it, or a newer one.")
    return document.clients


def write_stored(data_dir: Path, clients: tuple[StoredClient, ...]) -> None:
    """Replace the file in one step, for the owner's eyes only. Raise OSError when the directory cannot be written."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = msgspec.json.format(msgspec.json.encode(_Document(_VERSION, clients)), indent=2)
    descriptor, name = tempfile.mkstemp(dir=data_dir, prefix=f".{FILE_NAME}-")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(document + b"\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path_in(data_dir))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
