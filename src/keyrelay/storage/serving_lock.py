"""Who serves from a data directory: one gateway alone, or several that count what they spend in one Redis.

A gateway without Redis counts in its own memory, and knows of no other: two of them on one directory would each spend
the whole quota. So each holds a lock on `serving.lock`, alone or shared. The system lets go of it when the process
ends, however it ends; what the file says is for people and outlives nobody's lock.
"""

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path

from keyrelay.core.errors import OccupiedError, StoreError
from keyrelay.storage.journal.locks import take

FILE_NAME = "serving.lock"

LONGEST_WAIT_S = 3.0
"""One that is told to end while nothing is under way has ended by then."""

_LOOK_S = 0.1
_LONGEST_NAME = 200


class ServingLock:
    """The lock that a gateway holds while it serves from this directory. `shared`: it counts together with others."""

    def __init__(self, data_dir: Path, *, shared: bool) -> None:
        self._path = data_dir / FILE_NAME
        self._shared = shared
        self._descriptor: int | None = None

    async def take(self, longest_s: float = LONGEST_WAIT_S) -> None:
        """Take it, waiting so long for one that is about to end. Raise OccupiedError, StoreError."""
        until_at = time.monotonic() + longest_s
        while (descriptor := self._try()) is None:
            if time.monotonic() >= until_at:
                raise self._refusal()
            await asyncio.sleep(_LOOK_S)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another one serve."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> int | None:
        try:
            descriptor = take(self._path, shared=self._shared)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be locked: {error.strerror}", lasting=True) from error
        if descriptor is not None:
            with contextlib.suppress(OSError):  # what it says is for people alone, and the disk may be full
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        return descriptor

    def _refusal(self) -> OccupiedError:
        try:
            name = self._path.read_text("utf-8", "replace")[:_LONGEST_NAME].strip()
        except OSError:
            name = ""
        if self._shared:
            problem = "serves from here without Redis, so the two would not count together."
        else:
            problem = "serves from here, and each of the two would spend the whole quota."
        return OccupiedError(
            str(self._path.parent),
            f"another gateway ({name or 'of an unknown process'}) {problem}",
            "Stop it first (it ends once its requests have ended), give this one another directory by --data-dir, or "
            "have both count together by KEYRELAY_REDIS_URL.",
        )

    def __repr__(self) -> str:
        how = "free" if self._descriptor is None else "shared" if self._shared else "alone"
        return f"<ServingLock {self._path} {how}>"
