"""Clients that Keyrelay makes itself, so that the data plane is never open.

When there is no client, a start makes one as soon as it serves; its secret is shown once and only its digest is kept.
"""

import datetime as dt
import secrets
from pathlib import Path

import msgspec

from keyrelay.configuration.client_file import StoredClient, path_in, read_stored, write_stored
from keyrelay.configuration.clients import LABEL, LABEL_RULE, MAX_CLIENTS, SourcedClient, digest_of
from keyrelay.configuration.values import Configuration
from keyrelay.core.administered import Administered
from keyrelay.core.configuration import Client
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.secrets import Secret

FIRST_LABEL = "first-run"
_SECRET_BYTES = 32


def new_secret() -> Secret:
    """A client secret of 256 random bits."""
    return Secret(f"kr-{secrets.token_urlsafe(_SECRET_BYTES)}")


def make_first_client(data_dir: Path) -> Secret:
    """Make the first client and return its secret, to be shown once. Raise ConfigurationError as `add_client` does."""
    return add_client(data_dir, FIRST_LABEL)


def _make(label: str) -> tuple[Secret, StoredClient]:
    secret = new_secret()
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return secret, StoredClient(label, digest_of(secret.reveal()).hex(), now)


def add_client(data_dir: Path, label: str) -> Secret:
    """Make a client and return its secret, which is kept nowhere.

    Raise ConfigurationError when the label will not do or is taken, or the directory cannot be written.
    """
    if not LABEL.fullmatch(label):
        raise ConfigurationError("label", f"{label!r} will not do.", LABEL_RULE)
    stored = read_stored(data_dir)
    if any(each.label == label for each in stored):
        raise ConfigurationError("label", f"{label!r} is taken.", "Choose another one, or remove that client first.")
    if len(stored) >= MAX_CLIENTS:
        raise ConfigurationError(str(path_in(data_dir)), f"holds {MAX_CLIENTS} clients.", "Remove some first.")
    secret, made = _make(label)
    _write(data_dir, (*stored, made))
    return secret


def remove_client(data_dir: Path, label: str) -> None:
    """Forget a client. Raise ConfigurationError when there is none with this label."""
    stored = read_stored(data_dir)
    kept = tuple(each for each in stored if each.label != label)
    if len(kept) == len(stored):
        labels = ", ".join(each.label for each in stored) or "none"
        problem = f"no client in {path_in(data_dir)} is called {label!r}."
        raise ConfigurationError("label", problem, f"There are: {labels}.")
    _write(data_dir, kept)


def _write(data_dir: Path, clients: tuple[StoredClient, ...]) -> None:
    try:
        write_stored(data_dir, clients)
    except OSError as error:
        fix = "Choose a directory that you may write, with --data-dir or KEYRELAY_DATA_DIR."
        raise ConfigurationError(str(path_in(data_dir)), f"cannot be written: {error.strerror}.", fix) from error


def kept_clients(data_dir: Path) -> tuple[SourcedClient, ...]:
    """The clients in the data directory, as the configuration takes them."""
    path = path_in(data_dir)
    return tuple(SourcedClient(each.client, path.name, f"{path} {each.label}") for each in read_stored(data_dir))


def with_clients(configuration: Configuration, clients: tuple[Client, ...], *, source: str) -> Configuration:
    """The configuration with more clients let in, for example those of a demonstration."""
    again = configuration.again

    def with_them(administered: Administered) -> Configuration:
        if again is None:
            raise ConfigurationError(source, "cannot be read again.")
        return with_clients(again(administered), clients, source=source)

    added = {client.digest: client for client in clients if client.digest not in configuration.snapshot.clients}
    snapshot = msgspec.structs.replace(configuration.snapshot, clients=configuration.snapshot.clients | added)
    shown = tuple(SourcedClient(client, source, source).shown for client in added.values())
    return msgspec.structs.replace(
        configuration,
        snapshot=snapshot,
        values=(*configuration.values, *shown),
        again=None if again is None else with_them,
    )
