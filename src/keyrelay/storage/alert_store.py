"""What is known of alerts, and the messages on them, in SQLite or PostgreSQL.

What is known is one value among the states, with a counter that each change of it raises in the same transaction: of
two hosts that find out the same at once, one alone writes, and so sends, it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from keyrelay.core.alerts import AlertRecord
from keyrelay.ports import StoredAlerts
from keyrelay.storage.database import Database
from keyrelay.storage.schema import ALERTS, REVISIONS, STATES, id_floor

_NAME = "alerts"
_BEGIN = sa.text("INSERT INTO revisions (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING")
_RAISE = sa.text("UPDATE revisions SET value = value + 1 WHERE name = :name AND value = :expected")
_WRITE = sa.text(
    "INSERT INTO states (name, value, updated_s) VALUES (:name, :value, 0)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_PUT = sa.text(
    "INSERT INTO alerts (id, waiting, document) VALUES (:id, :waiting, :document)"
    " ON CONFLICT (id) DO UPDATE SET waiting = excluded.waiting, document = excluded.document"
).bindparams(sa.bindparam("id", type_=ALERTS.c.id.type))

_ADD = sa.text(
    "INSERT INTO alerts (id, waiting, document) VALUES (:id, :waiting, :document) ON CONFLICT (id) DO NOTHING"
).bindparams(sa.bindparam("id", type_=ALERTS.c.id.type))
"""A message that is there already has been delivered meanwhile, and says so."""

_decoder = msgspec.json.Decoder(AlertRecord)


class SqlAlertStore:
    """Implements `ports.AlertStore`."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoredAlerts:
        """What is known, with its generation."""
        return await self._database.read(_read)

    async def commit(self, expected: int, value: bytes, records: Sequence[AlertRecord] = ()) -> bool:
        """Keep what is known and new messages; False when somebody else was first."""

        def commit(connection: sa.Connection) -> bool:
            connection.execute(_BEGIN, {"name": _NAME})
            if connection.execute(_RAISE, {"name": _NAME, "expected": expected}).rowcount != 1:
                return False
            connection.execute(_WRITE, {"name": _NAME, "value": value})
            if records:
                connection.execute(_ADD, [_row(record) for record in records])
            return True

        return await self._database.change(commit)

    async def put(self, record: AlertRecord) -> None:
        """Keep a message as it is now."""
        await self._database.change(lambda connection: connection.execute(_PUT, _row(record)).close())

    async def waiting(self, limit: int) -> tuple[AlertRecord, ...]:
        """Messages that are still to be delivered, the oldest first."""
        statement = sa.select(ALERTS.c.document).where(sa.text("waiting")).order_by(ALERTS.c.id).limit(limit)
        return await self._records(statement)

    async def history(self, *, before: str = "", limit: int = 100) -> tuple[AlertRecord, ...]:
        """Messages, the newest first."""
        statement = sa.select(ALERTS.c.document).order_by(ALERTS.c.id.desc()).limit(limit)
        return await self._records(statement.where(ALERTS.c.id < before) if before else statement)

    async def purge(self, before_s: float, most: int) -> int:
        """Delete old messages, and all but the newest so many."""

        def purge(connection: sa.Connection) -> int:
            newest = sa.select(ALERTS.c.id).order_by(ALERTS.c.id.desc()).offset(most).limit(1)
            beyond = connection.execute(newest).scalar()
            old = ALERTS.c.id < id_floor(int(before_s * 1000))
            which = old if beyond is None else sa.or_(old, ALERTS.c.id <= beyond)
            return connection.execute(sa.delete(ALERTS).where(which)).rowcount

        return await self._database.change(purge)

    async def _records(self, statement: sa.Select[Any]) -> tuple[AlertRecord, ...]:
        return await self._database.read(
            lambda connection: tuple(_decoder.decode(bytes(row[0])) for row in connection.execute(statement))
        )

    def __repr__(self) -> str:
        return f"<SqlAlertStore in {self._database!r}>"


def _read(connection: sa.Connection) -> StoredAlerts:
    generation = connection.execute(sa.select(REVISIONS.c.value).where(REVISIONS.c.name == _NAME)).scalar()
    value = connection.execute(sa.select(STATES.c.value).where(STATES.c.name == _NAME)).scalar()
    return StoredAlerts(generation or 0, bytes(value or b""))


def _row(record: AlertRecord) -> dict[str, object]:
    return {"id": record.message.id, "waiting": record.open, "document": msgspec.json.encode(record)}
