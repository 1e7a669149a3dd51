"""The journal of a process that serves nothing, and so has nothing to write down."""

from typing import NoReturn

from keyrelay.core.records import Reserved


class NoJournal:
    """Stands where a journal is asked how it is. Writing to it is a mistake of ours: RuntimeError."""

    full = False
    syncs = False
    gathers = False
    exhausted = True
    problem = ""
    rows_waiting = 0
    bytes_waiting = 0
    damaged_bytes = 0

    def reserved(self, entry: Reserved) -> NoReturn:
        """Raise RuntimeError."""
        raise RuntimeError(f"{entry.request_id} is not to be served here")

    def ended(self, line: bytes, request_id: str | None = None) -> NoReturn:
        """Raise RuntimeError."""
        raise RuntimeError(f"{request_id or line!r} is not to be served here")

    async def synced(self) -> None:
        """Nothing has been written."""

    def commit(self) -> None:
        """Nothing has been gathered."""

    async def read(self, max_rows: int, max_bytes: int) -> list[bytes]:
        """No rows, however many may come."""
        del max_rows, max_bytes
        return []

    async def kept(self) -> None:
        """There were none."""

    async def tend(self) -> None:
        """Nothing has been put off."""

    def close(self) -> None:
        """There is nothing to let go of."""

    def __repr__(self) -> str:
        return "<NoJournal>"
