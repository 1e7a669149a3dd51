"""Reading for people who wait: a store that does not answer is said to be gone soon, a long reading may take its time.

Before each reading the database is asked for nothing at all, and one such question stands for everybody who has one at
the time. A frozen server keeps that question for as long as the database's own deadlines let it; nobody waits so long.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from keyrelay.core.errors import StoreError
from keyrelay.storage.database import Database

REACH_S = 2.5
"""Longest wait for a database to answer at all."""

_Result = TypeVar("_Result")


class PromptReader:
    """Reads from a database, and fails soon when that does not answer."""

    __slots__ = ("_database", "_question")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._question: asyncio.Task[None] | None = None

    async def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """What `Database.read` does. Raise StoreError, after `REACH_S` when there is no answer to anything."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._database.read(_nothing))
            self._question.add_done_callback(_heard)
        question = self._question
        await asyncio.wait({question}, timeout=REACH_S)
        if not question.done():
            raise StoreError(f"the database {self._database.place} does not answer within {REACH_S:g} s")
        if question.cancelled():
            raise StoreError(f"the database {self._database.place} is being closed")
        question.result()
        return await self._database.read(work)

    async def close(self) -> None:
        """Ask no more; before the database is closed."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait({self._question})

    def __repr__(self) -> str:
        asking = self._question is not None and not self._question.done()
        return f"<PromptReader of {self._database!r}{', asking' if asking else ''}>"


def _nothing(connection: sa.Connection) -> None:
    connection.execute(sa.select(1))


def _heard(question: asyncio.Task[None]) -> None:
    """Take note of how it ended, which nobody else may be there for."""
    if not question.cancelled():
        question.exception()
