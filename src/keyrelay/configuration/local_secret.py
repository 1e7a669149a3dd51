"""`local.secret` in the data directory: with it, commands of the same user administer the gateway of this machine.

Who can read it can read all that is kept there as well, so it opens nothing that was closed. It is made at the first
start, readable by its owner only.
"""

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from keyrelay.core.secrets import Secret

FILE_NAME = "local.secret"
NONE = Secret("")
DEMO_PREFIX = "demo-"

_SECRET_BYTES = 32
_MAX_BYTES = 256
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def ensure_local_secret(data_dir: Path) -> Secret:
    """The secret, made now if there is none; empty when the directory cannot be written."""
    found = read_local_secret(data_dir)
    if found:
        return found
    with contextlib.suppress(OSError):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=data_dir, prefix=f".{FILE_NAME}-")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"kr-local-{secrets.token_urlsafe(_SECRET_BYTES)}\n")
            with contextlib.suppress(FileExistsError):  # another worker was first
                os.link(draft, data_dir / FILE_NAME)
        finally:
            Path(draft).unlink()
    return read_local_secret(data_dir)


def demo_directory(data_dir: Path, port: int) -> Path:
    """Where the demonstration that listens on this port keeps what it has, for as long as it runs."""
    return data_dir / f"{DEMO_PREFIX}{port}"


def read_local_secret(data_dir: Path) -> Secret:
    """The secret; empty when there is none, or when others may read it."""
    try:
        with (data_dir / FILE_NAME).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                return NONE
            return Secret(file.read(_MAX_BYTES).decode("ascii", "replace").strip())
    except OSError:
        return NONE
