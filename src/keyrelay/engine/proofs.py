"""Waiting for somebody else's attempt to end, because its outcome decides whether one may follow."""

import asyncio


class Arrivals:
    """Wakes everyone who waits whenever an attempt has ended."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    def announce(self) -> None:
        """An attempt has ended."""
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def wait(self, at_most_s: float) -> None:
        """Wait for the next end of an attempt, at most so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await asyncio.wait((future,), timeout=max(0.0, at_most_s))
        if not future.done():
            future.cancel()
            self.waiting.remove(future)

    def __repr__(self) -> str:
        return f"<Arrivals {len(self.waiting)} waiting>"
