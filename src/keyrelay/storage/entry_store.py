"""Administered entries and the log of their changes, in SQLite or PostgreSQL.

A counter is raised by each change, in the same transaction. Who changes says which count it has read: of two at once
one is told to read again, and nobody's change is lost.
"""

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from keyrelay.core.errors import RevisionError
from keyrelay.ports import AuditEntry, EntryChanges, StoredEntry
from keyrelay.storage.database import Database
from keyrelay.storage.schema import AUDIT, ENTRIES, REVISIONS

_NAME = "entries"
_PUT = sa.text(
    "INSERT INTO entries (kind, id, document, sealed) VALUES (:kind, :id, :document, :sealed)"
    " ON CONFLICT (kind, id) DO UPDATE SET document = excluded.document, sealed = excluded.sealed"
)
_DELETE = sa.text("DELETE FROM entries WHERE kind = :kind AND id = :id")
_BEGIN = sa.text("INSERT INTO revisions (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING")
_RAISE = sa.text("UPDATE revisions SET value = value + 1 WHERE name = :name AND value = :expected")


class SqlEntryStore:
    """Implements `ports.EntryStore`."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """The number of the last change; 0 before the first one."""
        return await self._database.read(_revision)

    async def read(self) -> tuple[int, tuple[StoredEntry, ...]]:
        """The revision and all entries as of it."""
        return await self._database.read(_read)

    async def commit(self, expected: int, changes: EntryChanges) -> int:
        """Make the changes in one transaction and return the new revision. Raise RevisionError."""
        return await self._database.change(lambda connection: _commit(connection, expected, changes))

    async def note(self, entries: Sequence[AuditEntry]) -> None:
        """Write down what changes no entry."""
        await self._database.change(noting(entries))

    async def audit(self, *, before: str = "", limit: int = 100) -> tuple[AuditEntry, ...]:
        """What was written down, the newest first."""
        statement = sa.select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        if before:
            statement = statement.where(AUDIT.c.id < before)
        return await self._database.read(
            lambda connection: tuple(AuditEntry(**row._mapping) for row in connection.execute(statement))  # noqa: SLF001 - SQLAlchemy's public name for it
        )

    def __repr__(self) -> str:
        return f"<SqlEntryStore in {self._database!r}>"


def _revision(connection: sa.Connection) -> int:
    value = connection.execute(sa.select(REVISIONS.c.value).where(REVISIONS.c.name == _NAME)).scalar()
    return value or 0


def _read(connection: sa.Connection) -> tuple[int, tuple[StoredEntry, ...]]:
    rows = connection.execute(sa.select(ENTRIES.c.kind, ENTRIES.c.id, ENTRIES.c.document, ENTRIES.c.sealed))
    entries = tuple(StoredEntry(kind, name, bytes(document), bytes(sealed)) for kind, name, document, sealed in rows)
    return _revision(connection), entries


def _commit(connection: sa.Connection, expected: int, changes: EntryChanges) -> int:
    connection.execute(_BEGIN, {"name": _NAME})
    raised = connection.execute(_RAISE, {"name": _NAME, "expected": expected})
    if raised.rowcount != 1:
        raise RevisionError("somebody else has changed something meanwhile")
    if changes.delete:
        connection.execute(_DELETE, [{"kind": kind, "id": entry_id} for kind, entry_id in changes.delete])
    if changes.put:
        connection.execute(_PUT, [msgspec.structs.asdict(entry) for entry in changes.put])
    noting(changes.audit)(connection)
    return expected + 1


def noting(entries: Sequence[AuditEntry]) -> Callable[[sa.Connection], None]:
    """What writes these lines, in the transaction of what they are about."""
    values = [msgspec.structs.asdict(entry) for entry in entries]

    def note(connection: sa.Connection) -> None:
        if values:
            connection.execute(AUDIT.insert(), values)

    return note
