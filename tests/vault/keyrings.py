"""Keyrings for tests, all of them backends of the library: they do what real ones do, without a desktop."""

import json
import threading
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordSetError


class FileKeyring(KeyringBackend):
    """Keeps its entries in a file, by `PYTHON_KEYRING_BACKEND` and `KEYRING_PROPERTY_FILE` in another process too."""

    priority = 0.1
    file = ""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        if file is not None:
            self.file = str(file)
        self.asked = 0

    @property
    def entries(self) -> dict[str, str]:
        """What is in it, by `service/name`."""
        path = Path(self.file)
        entries: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return entries

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        return self.entries.get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        path = Path(self.file)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({**self.entries, f"{service}/{username}": password}))
        draft.replace(path)


class LockedKeyring(FileKeyring):
    """Somebody has dismissed the prompt."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("Failed to unlock the collection!")


class RefusingKeyring(FileKeyring):
    """Takes nothing, and repeats what it was to take."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise PasswordSetError(f"cannot keep {password}")


class SilentKeyring(FileKeyring):
    """Waits for somebody who does not come."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__(file)
        self.unlocked = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.unlocked.wait(60)
        return super().get_password(service, username)
