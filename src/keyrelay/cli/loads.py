"""How many connections each worker has, in a page of memory that all of them share.

A number is written by its worker alone and read by the others as it comes: it may be a tenth of a second old.
"""

import mmap

SLOTS = 258
"""One for each worker that there may be, and one for who takes another's place."""

NOBODY = 2**31 - 1
"""The load of a slot without a worker, or of one that takes no connections."""

LOADS_BYTES = 4 * SLOTS


class Loads:
    """The page, by the descriptor of the file that it is in."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, LOADS_BYTES)
        self._loads = memoryview(self._page).cast("i")

    def clear(self) -> None:
        """Nobody is there yet."""
        for slot in range(SLOTS):
            self._loads[slot] = NOBODY

    def set(self, slot: int, load: int) -> None:
        """Say how many connections a worker has."""
        self._loads[slot] = load

    def least(self) -> int:
        """The fewest that anybody has."""
        return min(self._loads)

    def close(self) -> None:
        """Let go of the page."""
        self._loads.release()
        self._page.close()

    def __repr__(self) -> str:
        loads = {slot: load for slot, load in enumerate(self._loads) if load != NOBODY}
        return f"<Loads {loads}>"
