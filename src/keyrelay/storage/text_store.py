"""Prompts and answers of requests in a database, sealed."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from keyrelay.ports import SealedTexts
from keyrelay.storage.database import Database
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.schema import TEXTS

_WRITE = (
    sa.text(
        "INSERT INTO texts (id, request, answer) VALUES (:request_id, :request, :answer) ON CONFLICT (id) DO NOTHING"
    )
    .bindparams(sa.bindparam("request_id", type_=TEXTS.c.id.type))
    .bindparams(*(sa.bindparam(name, type_=sa.LargeBinary) for name in ("request", "answer")))
)


class SqlTextStore:
    """Implements `ports.TextStore`. A single row is read by `reader`, for whom people wait."""

    __slots__ = ("_database", "_reader")

    def __init__(self, database: Database, reader: PromptReader) -> None:
        self._database = database
        self._reader = reader

    async def write_texts(self, rows: Sequence[SealedTexts]) -> None:
        """Keep them, all or none; a row that is there already stays as it is."""
        values = [msgspec.structs.asdict(row) for row in sorted(rows, key=_id_of)]  # nobody waits in a circle
        if values:
            await self._database.change(lambda connection: connection.execute(_WRITE, values).close())

    async def read_texts(self, request_id: str) -> SealedTexts | None:
        """Those of one request; None when there are none."""
        statement = sa.select(TEXTS.c.request, TEXTS.c.answer).where(TEXTS.c.id == request_id)
        row = await self._reader.read(lambda connection: connection.execute(statement).one_or_none())
        return None if row is None else SealedTexts(request_id=request_id, request=row[0], answer=row[1])

    def __repr__(self) -> str:
        return f"<SqlTextStore in {self._database!r}>"


def _id_of(row: SealedTexts) -> str:
    return row.request_id
