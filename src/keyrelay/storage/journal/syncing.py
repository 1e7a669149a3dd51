"""Bringing what was written to the disk: one `fdatasync` for all who wait for it at the time."""

import asyncio
import os
from collections.abc import Callable, Sequence

from keyrelay.storage.journal.segments import Position

Where = Callable[[], tuple[int, Position]]
"""The file that is being written, and up to where."""


class GroupSync:
    """Syncs the file that is being written, and those written before it that have not been synced yet."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._retired: list[int] = []
        self._reached = Position(0, 0)
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.problem = ""

    def retire(self, fd: int) -> None:
        """Nothing more will be written to this file: it is closed once it has been synced."""
        self._retired.append(fd)

    async def reach(self, position: Position) -> None:
        """Return once everything before the position is on the disk, or the disk has said that it cannot be."""
        while self._reached < position:
            await self._sync()

    async def try_again(self) -> None:
        """Sync now if it failed the last time."""
        if self.problem:
            await self._sync()

    def close(self) -> None:
        """Sync and close what was retired, at once unless a sync is under way: then when it ends."""
        self._closed = True
        if self._task is None:
            self._settle(self._retired, _sync_files(self._retired))

    async def _sync(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        await asyncio.shield(self._task)  # who stops waiting takes nothing from the others

    async def _run(self) -> None:
        try:
            current, position = self._where()
            retired = list(self._retired)
            problem = await asyncio.to_thread(_sync_files, [*retired, current])
            self._settle(retired, problem)
            self._reached = max(self._reached, position)
        finally:
            self._task = None
            if self._closed:
                self.close()

    def _settle(self, synced: Sequence[int], problem: str) -> None:
        self.problem = problem
        for fd in list(synced):
            self._retired.remove(fd)
            os.close(fd)

    def __repr__(self) -> str:
        return f"<GroupSync up to {self._reached.segment}:{self._reached.offset} {self.problem or 'ok'}>"


def _sync_files(fds: Sequence[int]) -> str:
    """Bring files to the disk; return what went wrong, empty when nothing did."""
    problem = ""
    for fd in fds:
        try:
            sync_data(fd)
        except OSError as error:
            problem = f"the journal cannot be brought to the disk: {error.strerror}"
    return problem


def sync_data(fd: int) -> None:
    """Bring a file's data to the disk. Raise OSError."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)  # macOS has no other
