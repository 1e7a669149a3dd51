"""What `keyrelay doctor` finds on this machine: directories, files, limits, room, Python. Nothing is changed."""

import importlib.util
import os
import resource
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from keyrelay.configuration import client_file, local_secret
from keyrelay.settings import Settings
from keyrelay.storage.database import FILE_NAME as DATABASE_FILE

Level = Literal["ok", "warn", "fail"]

LEAST_FILES, GOOD_FILES = 256, 4_096
LEAST_ROOM_BYTES, GOOD_ROOM_BYTES = 100 * 1024**2, 1024**3
LEAST_PYTHON = (3, 11)

_OTHERS = 0o077
_FILES_KEY = "files.key"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: how it is, and what to do about it, empty where nothing is to be done."""

    name: str
    level: Level
    detail: str
    fix: str = ""


def fine(name: str, detail: str) -> Finding:
    """What is as it should be."""
    return Finding(name=name, level="ok", detail=detail)


def odd(name: str, detail: str, fix: str) -> Finding:
    """What works, and might not for long."""
    return Finding(name=name, level="warn", detail=detail, fix=fix)


def wrong(name: str, detail: str, fix: str) -> Finding:
    """What keeps Keyrelay from working, or secrets from being secret."""
    return Finding(name=name, level="fail", detail=detail, fix=fix)


def look_at_machine(settings: Settings) -> Iterator[Finding]:
    """Everything that no other process has to be asked about."""
    yield _python()
    yield _uvloop()
    yield _open_files()
    yield from _directory(settings.data_dir)
    yield from _files(settings)
    yield _room(settings)


def look_at_port(settings: Settings, *, answered: bool) -> Finding:
    """Whether the port can be had; `answered`: a gateway is there already."""
    where = f"{settings.host} port {settings.port}"
    if answered:
        return fine("port", f"{where}: a gateway listens there")
    if not settings.port:
        return fine("port", "0: a free one is taken at the start")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            fix = "End what has it, or choose another by --port or KEYRELAY_PORT."
            return wrong("port", f"{where}: {error.strerror}", fix)
    return fine("port", f"{where} is free")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return wrong("python", version, f"Install Python {'.'.join(map(str, LEAST_PYTHON))} or newer.")
    return fine("python", version)


def _uvloop() -> Finding:
    if importlib.util.find_spec("uvloop") is None:
        return odd("uvloop", "not installed", "Install it where the platform has it: requests cost less then.")
    return fine("uvloop", "installed")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{soft} at a time, {hard} at most"
    fix = f"`ulimit -n {GOOD_FILES}` before the start, or LimitNOFILE={GOOD_FILES} in the unit of systemd."
    if 0 <= soft < LEAST_FILES:
        return wrong("open files", detail, fix)
    return fine("open files", detail) if soft < 0 or soft >= GOOD_FILES else odd("open files", detail, fix)


def _directory(path: Path) -> Iterator[Finding]:
    name = "data directory"
    try:
        state = path.stat()
    except FileNotFoundError:
        yield fine(name, f"{path} is made at the first start")
        return
    except OSError as error:
        yield wrong(name, f"{path}: {error.strerror}", "Name a directory that can be read and written.")
        return
    if not stat.S_ISDIR(state.st_mode) or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield wrong(name, f"{path} cannot be written", "Name a directory of yours by KEYRELAY_DATA_DIR.")
    elif state.st_mode & _OTHERS:
        yield odd(name, f"{path} has mode {stat.S_IMODE(state.st_mode):04o}", f"`chmod 700 {path}`")
    elif state.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        yield odd(name, f"{path} belongs to somebody else", "Run Keyrelay as the user whose directory it is.")
    else:
        yield fine(name, str(path))


def _files(settings: Settings) -> Iterator[Finding]:
    """Files with secrets or digests in them, which nobody else may read."""
    names = (DATABASE_FILE, client_file.FILE_NAME, local_secret.FILE_NAME, _FILES_KEY)
    seen = [each for name in names if (each := _mode(settings.data_dir / name)) is not None]
    open_to_others = [(path, mode) for path, mode in seen if mode & _OTHERS]
    for path, mode in open_to_others:
        fix = f"`chmod 600 {path}`, and change what others may have read."
        yield wrong("files", f"{path} has mode {mode:04o}", fix)
    if seen and not open_to_others:
        yield fine("files", f"{', '.join(path.name for path, _ in seen)}: for their owner alone")


def _mode(path: Path) -> tuple[Path, int] | None:
    try:
        return path, stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _room(settings: Settings) -> Finding:
    """The room on the disk of the data directory, or of the next one above it that is there."""
    place = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.is_dir())
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return odd("disk", f"{place}: {error.strerror}", "Look at the disk.")
    detail = f"{free / 1024**2:,.0f} MiB free"
    if free < LEAST_ROOM_BYTES:
        return wrong("disk", detail, "Make room: a full disk stops requests. `keyrelay db purge` deletes old rows.")
    needed = max(GOOD_ROOM_BYTES, settings.journal_max_bytes)
    if free < needed:
        return odd("disk", detail, f"Make room for {needed / 1024**2:,.0f} MiB: the journal may grow to that.")
    return fine("disk", detail)
