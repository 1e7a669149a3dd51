"""Where the master key comes from: a setting, or a file that only its owner can read (`keyring_source` has another).

The file is made on the first run: whole or not at all, on the disk before anything is sealed with it, and never in the
place of another one. While a new key takes the place of an old one both stand there: whoever starts meanwhile finds the
one that the ring is wrapped by, whichever that is.

What is written stands in a draft first. Who writes holds a lock on it, so that what a killed process has left is known
by having none, and goes.
"""

import contextlib
import fcntl
import glob
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from keyrelay.core.errors import MasterKeyError
from keyrelay.core.secrets import Secret
from keyrelay.vault.master_key import HOW_TO_MAKE, MasterKey

FILE_NAME = "master.key"

_SETTING = "KEYRELAY_MASTER_KEY"
_MAX_FILE_BYTES = 4_096
_MOST_KEYS = 4
_OTHERS = 0o077
_GROUP_READS = 0o040
_ROOT = 0
_DRAFT_BYTES = 8


class KeySource(Protocol):
    """Where master keys are kept. What may wait is awaited; every such method raises MasterKeyError."""

    @property
    def setting(self) -> str:
        """The setting that has to be mended when no key is found."""
        ...

    @property
    def place(self) -> str:
        """Where keys are looked for, in words."""
        ...

    def place_of(self, mark: str) -> str:
        """Where the key with this mark is looked for, or should be put, in words."""
        ...

    def remedy(self, mark: str) -> str:
        """How the key with this mark is put there: a sentence with a space behind it; empty where that is plain."""
        ...

    async def look(self) -> None:
        """See that keys could be had from there, before one is needed."""
        ...

    async def at_hand(self, mark: str) -> tuple[MasterKey, ...]:
        """The keys that may wrap a ring which is wrapped by the key with this mark; the last one is the newest."""
        ...

    async def first(self) -> MasterKey:
        """The key to make a ring with: the one there, or a fresh one."""
        ...

    async def stand_by(self, old: MasterKey, new: MasterKey) -> str:
        """Keep a key beside the one that it is to replace, on the disk; where the old one stays for good, in words.

        Empty where keys are only changed by hand.
        """
        ...

    async def settle(self, new: MasterKey) -> None:
        """Let the key that wraps the ring now be the one that is found."""
        ...


class MasterKeySource:
    """The setting's `text`, or, where that is empty, the `file`. It is a `KeySource`."""

    __slots__ = ("_file", "_text")

    def __init__(self, text: Secret, file: Path) -> None:
        self._text = text
        self._file = file

    @property
    def place(self) -> str:
        """Where the key is looked for, in words."""
        return _SETTING if self._text else f"the file {self._file}"

    @property
    def setting(self) -> str:
        """The setting that has to be mended when no key is found."""
        return _SETTING if self._text else f"{_SETTING}_FILE"

    def place_of(self, mark: str) -> str:
        """Where keys are looked for: all in one place."""
        del mark
        return self.place

    def remedy(self, mark: str) -> str:
        """Who has the key knows how to set a setting, and to copy a file."""
        del mark
        return ""

    async def look(self) -> None:
        """Nothing is found out before a key is needed: a file is made then."""

    async def at_hand(self, mark: str) -> tuple[MasterKey, ...]:
        """All keys there; raises as `find_all` does."""
        del mark
        return self.find_all()

    async def first(self) -> MasterKey:
        """The first key there, or a fresh one in the file. Raise MasterKeyError."""
        if not self._text:
            _sweep(self._file)
        return self.find() or self.make()

    async def stand_by(self, old: MasterKey, new: MasterKey) -> str:
        """Write both keys into the file, and the old one into a file of its own. Raise MasterKeyError.

        A setting has to hold both already.
        """
        if not self._text:
            aside = self.keep_aside(old)
            self.replace(old, new)
            return f"the file {aside}"
        if all(key.mark != new.mark for key in self.find_all()):
            raise MasterKeyError(
                f"{_SETTING} has to hold both keys while one takes the other's place: set it to the old and "
                "the new one with a comma between them, restart, and do this again"
            )
        return ""

    async def settle(self, new: MasterKey) -> None:
        """Write the new key alone into the file. Raise MasterKeyError."""
        if not self._text:
            self.replace(new)

    def find(self) -> MasterKey | None:
        """The first key; None when there is no file. Raise MasterKeyError for one that is of no use or not secret."""
        return next(iter(self.find_all()), None)

    def find_all(self) -> tuple[MasterKey, ...]:
        """All keys, of which there are two while one takes the other's place; raises as `find` does."""
        if self._text:
            try:
                return _keys_in(self._text.reveal())
            except MasterKeyError as error:
                raise MasterKeyError(f"{_SETTING}: {error}") from None
        try:
            text = _read(self._file)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise MasterKeyError(f"the master key in {self._file} cannot be read: {error.strerror}") from error
        try:
            return _keys_in(text)
        except MasterKeyError as error:
            raise MasterKeyError(f"the file {self._file}: {error}. Restore it from a backup") from None

    def replace(self, *keys: MasterKey) -> None:
        """Write these keys into the file in place of what is there, whole or not at all. Raise MasterKeyError."""
        if self._text:
            raise MasterKeyError(f"the master key stands in {_SETTING}, which only who starts Keyrelay can change")
        try:
            _write_over(self._file, _text_of(keys))
        except OSError as error:
            raise MasterKeyError(f"the master key {self._file} cannot be written: {error.strerror}") from error

    def keep_aside(self, key: MasterKey) -> Path:
        """Keep a key in a file of its own beside the file, and return that. Raise MasterKeyError."""
        aside = self._file.with_name(f"{self._file.name}.{key.mark}")
        try:
            _write_once(aside, _text_of((key,)))
        except OSError as error:
            raise MasterKeyError(f"the master key {aside} cannot be written: {error.strerror}") from error
        return aside

    def make(self) -> MasterKey:
        """A fresh key in the file; the one there, should another process have been faster. Raise MasterKeyError."""
        key = MasterKey.new()
        try:
            made = _write_once(self._file, _text_of((key,)))
        except OSError as error:
            raise MasterKeyError(
                f"the master key {self._file} cannot be made: {error.strerror}. Make it yourself, with mode 0600: "
                f"{HOW_TO_MAKE}"
            ) from error
        found = key if made else self.find()
        if found is None:
            raise MasterKeyError(f"the master key {self._file} comes and goes: see who else works on that directory")
        return found

    def __repr__(self) -> str:
        return f"<MasterKeySource {self.place}>"


def _keys_in(text: str) -> tuple[MasterKey, ...]:
    """The keys of a text, between which are spaces, commas or line ends. Raise MasterKeyError."""
    words = text.replace(",", " ").split()
    if not 0 < len(words) <= _MOST_KEYS:
        words = [text]
    keys = {key.mark: key for key in map(MasterKey.of_text, words)}
    return tuple(keys.values())


def _text_of(keys: Iterable[MasterKey]) -> bytes:
    return "".join(f"{key.reveal()}\n" for key in keys).encode("ascii")


def _read(file: Path) -> str:
    """What is in the file, if nobody else can read it. Raise OSError, MasterKeyError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise MasterKeyError(f"the master key {file} is no ordinary file: name one")
        # Where root gives a secret to a group, as orchestrators do, the group may read it.
        allowed = _GROUP_READS if state.st_uid == _ROOT else 0
        if state.st_mode & _OTHERS & ~allowed:
            raise MasterKeyError(
                f"the master key {file} has mode {stat.S_IMODE(state.st_mode):04o}, so that others may get at it: "
                f"`chmod 600 {file}`, and if others may have read it, change it"
            )
        return opened.read(_MAX_FILE_BYTES).decode("utf-8", "replace")


def _write_once(file: Path, content: bytes) -> bool:
    """Make the file with this content, on the disk; False if there is one already. Raise OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _draft(file, content) as draft:
        try:
            os.link(draft, file)
        except FileExistsError:
            return False
    _sync_directory(file.parent)
    return True


def _write_over(file: Path, content: bytes) -> None:
    """Put a file with this content in the place of the one there, on the disk. Raise OSError."""
    with _draft(file, content) as draft:
        draft.replace(file)
    _sync_directory(file.parent)


@contextlib.contextmanager
def _draft(file: Path, content: bytes) -> Iterator[Path]:
    """A file beside this one with this content, on the disk, which is gone after that unless it was moved."""
    _sweep(file)
    draft, descriptor = _begun(file)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
            yield draft
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def _begun(file: Path) -> tuple[Path, int]:
    """An empty draft and its descriptor, locked for as long as that is open where the file system has locks."""
    while True:
        draft = file.with_name(f".{file.name}.{secrets.token_hex(_DRAFT_BYTES)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if draft.exists():
            return draft, descriptor
        os.close(descriptor)  # somebody took it for one that was left, before it was locked


def _sweep(file: Path) -> None:
    """Remove the drafts of this file, and of those kept aside, that killed processes have left: keys stand in them."""
    digits = "[0-9a-f]" * 2 * _DRAFT_BYTES
    for ending in (digits, f"{digits}.{digits}"):
        for draft in file.parent.glob(f".{glob.escape(file.name)}.{ending}"):
            with contextlib.suppress(OSError), draft.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
