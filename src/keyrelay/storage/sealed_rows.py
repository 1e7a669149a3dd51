"""Sealed values where they lie, for sealing them anew: read in the order of their rows, replaced as they are given."""

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from keyrelay.ports import SealedTexts
from keyrelay.storage.database import Database
from keyrelay.storage.schema import ENTRIES, TEXTS

_HEAD_BYTES = 5
_PAGE = 5_000
_REPLACE = (
    TEXTS.update()
    .where(TEXTS.c.id == sa.bindparam("row"))
    .values(request=sa.bindparam("new_request"), answer=sa.bindparam("new_answer"))
)


class SqlSealedRows:
    """The sealed values of a database. All of it raises StoreError."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heads(self) -> dict[bytes, int]:
        """How many values begin with these five bytes, which say under which term they are sealed."""
        counts = Counter[bytes]()
        statement = sa.select(sa.func.substr(ENTRIES.c.sealed, 1, _HEAD_BYTES)).where(ENTRIES.c.sealed != b"")
        counts.update(await self._database.read(lambda connection: _bytes_in(connection.execute(statement).all())))
        after = ""
        while True:
            after, found = await self._text_heads(after)
            counts.update(found)
            if not after:
                return dict(counts)

    async def texts(self, after: str, most: int) -> tuple[SealedTexts, ...]:
        """The texts of the requests whose ids follow this one, empty for the beginning; at most so many."""
        statement = sa.select(TEXTS.c.id, TEXTS.c.request, TEXTS.c.answer).order_by(TEXTS.c.id).limit(most)
        if after:
            statement = statement.where(TEXTS.c.id > after)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return tuple(
            SealedTexts(request_id=name, request=_bytes_of(request), answer=_bytes_of(answer))
            for name, request, answer in rows
        )

    async def replace(self, rows: Sequence[SealedTexts]) -> None:
        """Keep other values in place of those of these rows, all or none; a row that is gone stays so."""
        values = [{"row": row.request_id, "new_request": row.request, "new_answer": row.answer} for row in rows]
        if values:
            await self._database.change(lambda connection: connection.execute(_REPLACE, values).close())

    async def _text_heads(self, after: str) -> tuple[str, list[bytes]]:
        """Those of the next rows, and the last of these; that is empty at the end."""
        heads = [sa.func.substr(column, 1, _HEAD_BYTES) for column in (TEXTS.c.request, TEXTS.c.answer)]
        statement = sa.select(TEXTS.c.id, *heads).order_by(TEXTS.c.id).limit(_PAGE)
        if after:
            statement = statement.where(TEXTS.c.id > after)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        found = _bytes_in([(value,) for _, *values in rows for value in values])
        return (rows[-1][0] if len(rows) == _PAGE else ""), found

    def __repr__(self) -> str:
        return f"<SqlSealedRows in {self._database!r}>"


def _bytes_in(rows: Sequence[Sequence[object]]) -> list[bytes]:
    return [value for (each,) in rows if (value := _bytes_of(each))]


def _bytes_of(value: object) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None
