"""What clients have uploaded through Keyrelay, so that they can list it; and the secret behind the ids of files.

Two files in the data directory, which the workers of one host share. `files.key` is made by the first start: without it
no id of a file that was given out is of use. `files.jsonl` has a line for each file that came or went; it is read when
somebody asks for a list, as far as it has grown and a slice at a time, and is rewritten when it has become too long.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.storage.journal.locks import exclusive
from keyrelay.wire.file_lists import FileList

KEY_NAME = "files.key"
REGISTER_NAME = "files.jsonl"
LOCK_NAME = "files.lock"

MAX_REGISTER_BYTES = 16 * 1024 * 1024
"""As long as the register may become: some forty thousand files. Then the oldest are listed no more."""

MAX_OBJECT_BYTES = 8 * 1024
"""As much as is kept of what a provider says of a file; what is longer is not listed."""

SLICE_BYTES = 256 * 1024
"""As much is read in one go: some two milliseconds."""

_SECRET_BYTES = 32
_PRIVATE = 0o600
_KEPT_SHARE = 0.75


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that came, or without `file`, the object, one that went."""

    client: str
    id: str
    file: msgspec.Raw = msgspec.Raw()


_encode = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(_Line)


def file_secret(data_dir: Path) -> bytes:
    """The secret behind the ids of files, made if there is none. Raise StoreError when it cannot be kept or read."""
    path = data_dir / KEY_NAME
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            _make_key(path)
        text = path.read_text("ascii").strip()
        secret = bytes.fromhex(text)
    except OSError as error:
        raise StoreError(f"{path} cannot be kept or read: {error.strerror}", lasting=True) from error
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise StoreError(
            f"{path} is damaged: put it back, or move it away and let all files be uploaded anew", lasting=True
        )
    return secret


def _make_key(path: Path) -> None:
    """Make the secret in one step, unless another worker has. Raise FileExistsError when there is one, or OSError."""
    if path.exists():
        return
    made = path.with_name(f".{KEY_NAME}-{secrets.token_hex(8)}")
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        os.write(fd, secrets.token_hex(_SECRET_BYTES).encode() + b"\n")
        os.fsync(fd)
        path.hardlink_to(made)
    finally:
        os.close(fd)
        made.unlink()


class FileRegister:
    """Implements `ports.FileRegister` on a file that other workers write to as well.

    `report` gets a sentence when a file could not be put down: it can be used all the same, and is not listed.
    """

    __slots__ = ("_directory", "_files", "_inode", "_lists", "_offset", "_report")

    def __init__(self, data_dir: Path, report: Callable[[str], None]) -> None:
        self._directory = data_dir
        self._report = report
        self._files: dict[tuple[str, str], bytes] = {}
        self._lists: dict[str, FileList] = {}
        self._inode = 0
        self._offset = 0

    def add(self, client: str, file_id: str, told: bytes) -> None:
        """Put down what a provider said of a client's file, in place of what it said before."""
        compact = msgspec.json.format(told, indent=-1)
        if len(compact) <= MAX_OBJECT_BYTES:
            self._append(_Line(client, file_id, msgspec.Raw(compact)))

    def forget(self, client: str, file_id: str) -> None:
        """Put down that a file is gone."""
        self._append(_Line(client, file_id))

    def read_on(self) -> bool:
        """Take in a slice of what has been put down; whether there is more."""
        try:
            return self._read_slice()
        except OSError as error:
            self._report(f"{self._path} cannot be read ({error.strerror}): lists of files may lack some.")
            return False

    def of(self, client: str) -> FileList:
        """What was said of each of a client's files, as far as it has been read."""
        return self._lists.get(client) or FileList()

    @property
    def _path(self) -> Path:
        return self._directory / REGISTER_NAME

    def _append(self, line: _Line) -> None:
        try:
            with exclusive(self._directory / LOCK_NAME):
                if self._write(_encode(line) + b"\n") > MAX_REGISTER_BYTES:
                    self._rewrite()
        except OSError as error:
            self._report(f"{self._path} cannot be written ({error.strerror}): lists of files may lack some.")

    def _write(self, data: bytes) -> int:
        """Write a line, or nothing, behind what is there; how many bytes there are now. Raise OSError."""
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _PRIVATE)
        try:
            size = os.fstat(fd).st_size
            if os.write(fd, data) < len(data):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return size + len(data)
        finally:
            os.close(fd)

    def _rewrite(self) -> None:
        """Leave out what is gone, and the oldest if that is not enough. Raise OSError. The lock is held."""
        while self._read_slice():
            pass
        lines = [_encode(_Line(client, name, msgspec.Raw(told))) for (client, name), told in self._files.items()]
        size = sum(map(len, lines))
        first = 0
        while size > MAX_REGISTER_BYTES * _KEPT_SHARE:
            size -= len(lines[first])
            first += 1
        made = self._path.with_name(f".{REGISTER_NAME}-{secrets.token_hex(8)}")
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        try:
            with os.fdopen(fd, "wb") as file:
                file.writelines(line + b"\n" for line in lines[first:])
            made.replace(self._path)
        except OSError:
            made.unlink(missing_ok=True)  # of a full disk it would take what is left, at every try anew
            raise

    def _read_slice(self) -> bool:
        """Take in a slice of what has been put down since the last time; whether there is more. Raise OSError."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._begin_anew(0)
            return False
        with file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:
                self._begin_anew(inode)
            file.seek(self._offset)
            data = file.read(SLICE_BYTES)
        full = len(data) == SLICE_BYTES
        whole = data[: data.rfind(b"\n") + 1] or (data if full else b"")  # so long a line is none of ours
        self._offset += len(whole)
        for line in _lines(whole):
            self._take(line)
        return full

    def _begin_anew(self, inode: int) -> None:
        """Nothing has been read of this file, or there is none."""
        self._files.clear()
        self._lists.clear()
        self._inode, self._offset = inode, 0

    def _take(self, line: _Line) -> None:
        """A file has come or gone."""
        self._files.pop((line.client, line.id), None)
        listed = self._lists.setdefault(line.client, FileList())
        if line.file:
            told = bytes(line.file)
            self._files[line.client, line.id] = told
            listed.put(line.id, told)
        else:
            listed.drop(line.id)

    def __repr__(self) -> str:
        return f"<FileRegister {self._path}, {len(self._files)} files read>"


def _lines(data: bytes) -> Iterator[_Line]:
    """The lines that can be read: one that was cut off when a disk was full says nothing."""
    for text in data.splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            yield _line.decode(text)
