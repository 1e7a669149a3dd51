"""Rows that the store will never take, kept in a file for a person to look at."""

import asyncio
import os
import time
from pathlib import Path

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.core.moments import rfc3339
from keyrelay.storage.journal.syncing import sync_data

FILE_NAME = "rejected.jsonl"

MAX_REJECTED_BYTES = 64 * 1024 * 1024
"""As large as the file may become; then such rows stay in the journal until somebody has looked at it."""

_PRIVATE = 0o600
_encode = msgspec.json.Encoder().encode


class RejectedRows:
    """The file `rejected.jsonl` in the data directory: when, why, and the row as it was, one line each."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME

    async def keep(self, line: bytes, reason: str) -> None:
        """Keep a row; on the disk on return. Raise StoreError when that cannot be done."""
        fields = {"time": rfc3339(time.time()), "reason": reason, "row": line.decode(errors="backslashreplace")}
        try:
            await asyncio.to_thread(self._append, _encode(fields) + b"\n")
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written: {error.strerror}") from error

    def _append(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _PRIVATE)
        try:
            if os.fstat(fd).st_size + len(data) > MAX_REJECTED_BYTES:
                raise StoreError(f"{self._path} is full: look at the rows in it and move it away")
            if os.write(fd, data) < len(data):
                raise StoreError(f"{self._path} cannot be written: the disk is full")
            sync_data(fd)
        finally:
            os.close(fd)

    def __repr__(self) -> str:
        return f"<RejectedRows {self._path}>"
