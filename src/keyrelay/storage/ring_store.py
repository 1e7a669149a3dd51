"""The vault's key ring in a database: one row, of which whoever writes says which one it replaces."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from keyrelay.ports import AuditEntry, StoredRing
from keyrelay.storage.database import Database
from keyrelay.storage.entry_store import noting
from keyrelay.storage.schema import VAULT_RING

_NAME = "ring"

_READ = sa.select(VAULT_RING.c.generation, VAULT_RING.c.value).where(VAULT_RING.c.name == _NAME)
_MAKE = sa.text(
    "INSERT INTO vault_ring (name, generation, value, updated_s) VALUES (:name, 1, :value, :now_s)"
    " ON CONFLICT (name) DO NOTHING"
)
_REPLACE = sa.text(
    "UPDATE vault_ring SET generation = :replaces + 1, value = :value, updated_s = :now_s"
    " WHERE name = :name AND generation = :replaces"
)


class SqlRingStore:
    """Implements `ports.RingStore`. `epoch_s` is the present time."""

    __slots__ = ("_database", "_epoch_s")

    def __init__(self, database: Database, epoch_s: Callable[[], float]) -> None:
        self._database = database
        self._epoch_s = epoch_s

    async def read_ring(self) -> StoredRing | None:
        """The ring; None before there is one."""
        row = await self._database.read(lambda connection: connection.execute(_READ).one_or_none())
        return None if row is None else StoredRing(*row)

    async def write_ring(self, value: bytes, *, replaces: int, audit: Sequence[AuditEntry] = ()) -> bool:
        """Keep a ring in place of the one with that generation, 0 for none, and write down that it was changed.

        Both in one transaction; False, and neither, if that is not the one there.
        """
        values = {"name": _NAME, "value": value, "now_s": int(self._epoch_s())}
        statement = _MAKE if replaces == 0 else _REPLACE
        if replaces:
            values["replaces"] = replaces
        note = noting(audit)

        def write(connection: sa.Connection) -> bool:
            if connection.execute(statement, values).rowcount != 1:
                return False
            note(connection)
            return True

        return await self._database.change(write)

    def __repr__(self) -> str:
        return f"<SqlRingStore in {self._database!r}>"
