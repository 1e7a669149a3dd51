"""What is done now and then beside the requests: old rows deleted, what was learned saved.

A store that cannot be reached is no reason to stop, nor is anything else: the work is done when it can be.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from keyrelay.core.errors import StoreError, VaultError


class Chore(msgspec.Struct, frozen=True):
    """Something to do every so many seconds, the first time `first_s` after the start."""

    name: str
    every_s: float
    work: Callable[[], Awaitable[object]]
    first_s: float = 0.0


class Housekeeping:
    """Does its chores, each at its own pace, until it is stopped; failures of the store are reported once in a row."""

    __slots__ = ("_chores", "_failing", "_report", "_tasks")

    def __init__(self, chores: tuple[Chore, ...], report: Callable[[str], None]) -> None:
        self._chores = chores
        self._report = report
        self._failing: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; to be called in the event loop."""
        self._tasks = [asyncio.create_task(self._keep(chore), name=chore.name) for chore in self._chores]

    async def stop(self) -> None:
        """End what is being done, and do each chore no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def do(self, chore: Chore) -> None:
        """Do a chore once."""
        try:
            await chore.work()
        except Exception as error:  # noqa: BLE001 - a supervisor: a chore that ended for good would fill a disk, or lose what was learned
            if chore.name not in self._failing:
                self._failing.add(chore.name)
                words = error if isinstance(error, StoreError | VaultError) else type(error).__name__
                self._report(f"{chore.name}: {words}; tried again every {chore.every_s:g} s")
        else:
            self._failing.discard(chore.name)

    async def _keep(self, chore: Chore) -> None:
        await asyncio.sleep(chore.first_s)
        while True:
            await self.do(chore)
            await asyncio.sleep(chore.every_s)

    def __repr__(self) -> str:
        return f"<Housekeeping {len(self._chores)} chores, failing: {sorted(self._failing)}>"
