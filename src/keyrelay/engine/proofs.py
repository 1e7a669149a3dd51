"""Waiting for somebody else's attempt to end, because its outcome decides whether one may follow."""

import asyncio


class Arrivals:
    """Wakes everyone who waits whenever an attempt has ended."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def announce(self) -> None:
        """An attempt has ended."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def wait(self, at_most_s: float) -> None:
        """Wait for the next end of an attempt, at most so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait((future,), timeout=max(0.0, at_most_s))
        if not future.done():
            future.cancel()
            self._waiting.remove(future)

    def __repr__(self) -> str:
        return f"<Arrivals {len(self._waiting)} waiting>"
