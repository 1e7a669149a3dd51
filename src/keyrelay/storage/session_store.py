"""Sessions of those who have signed in, and wrong guesses at passwords, in SQLite or PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from keyrelay.ports import Session
from keyrelay.storage.database import Database
from keyrelay.storage.schema import GUESSES, SESSIONS

FORGOTTEN_S = 86_400.0
"""A count that nobody has raised for so long begins anew."""

_HOLD = sa.text(
    "INSERT INTO guesses (name, wrong, last_s) VALUES (:name, 0, 0)"
    " ON CONFLICT (name) DO UPDATE SET wrong = guesses.wrong RETURNING wrong, last_s"
)
"""Reads a count, and keeps it for this transaction: of guesses at the same time each one sees those before it."""

_RAISE = sa.text("UPDATE guesses SET wrong = wrong + 1, last_s = :now_s WHERE name = :name")


class SqlSessionStore:
    """Implements `ports.SessionStore`."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, session: Session) -> None:
        """Keep a session, and forget those that have expired by when it was created, and old guesses."""

        def add(connection: sa.Connection) -> None:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.expires_s <= session.created_s))
            connection.execute(GUESSES.delete().where(GUESSES.c.last_s <= session.created_s - FORGOTTEN_S))
            connection.execute(SESSIONS.insert().values(msgspec.structs.asdict(session)))

        await self._database.change(add)

    async def find(self, digest: bytes) -> Session | None:
        """The session of a cookie; None when there is none."""
        found = await self._select(SESSIONS.c.digest == digest)
        return found[0] if found else None

    async def seen(self, digest: bytes, now_s: float) -> None:
        """Note that a session was used."""
        await self._execute(SESSIONS.update().where(SESSIONS.c.digest == digest).values(seen_s=now_s))

    async def of_user(self, user: str) -> tuple[Session, ...]:
        """All sessions of a person."""
        return await self._select(SESSIONS.c.user == user)

    async def remove(self, *, digest: bytes = b"", user: str = "") -> int:
        """Forget a session, or all of a person; how many those were."""
        which = SESSIONS.c.user == user if user else SESSIONS.c.digest == digest
        return await self._execute(SESSIONS.delete().where(which))

    async def guess(self, counts: Mapping[str, Callable[[int, float], float]], now_s: float) -> float:
        """Count a guess under these names; 0, or the moment (epoch seconds) from which on one may be tried."""

        def guess(connection: sa.Connection) -> float:
            known = connection.execute(sa.select(GUESSES).where(GUESSES.c.name.in_(list(counts)))).all()
            free_s = max((counts[name](wrong, last_s) for name, wrong, last_s in known if wrong), default=0.0)
            if free_s > now_s:  # who has to wait anyway fills no table by new names
                return free_s
            for name in sorted(counts):  # in one order, so that no two wait for each other
                wrong, last_s = connection.execute(_HOLD, {"name": name}).one()
                if wrong:
                    free_s = max(free_s, counts[name](wrong, last_s))
            if free_s > now_s:
                return free_s
            connection.execute(_RAISE, [{"name": name, "now_s": now_s} for name in counts])
            return 0.0

        return await self._database.change(guess)

    async def forgive(self, names: Sequence[str]) -> None:
        """Begin these counts anew."""
        await self._execute(GUESSES.delete().where(GUESSES.c.name.in_(list(names))))

    async def _select(self, which: sa.ColumnElement[bool]) -> tuple[Session, ...]:
        statement = sa.select(SESSIONS).where(which).order_by(SESSIONS.c.created_s)

        def select(connection: sa.Connection) -> tuple[Session, ...]:
            rows = connection.execute(statement).mappings()
            return tuple(Session(**{**row, "digest": bytes(row["digest"])}) for row in rows)

        return await self._database.read(select)

    async def _execute(self, statement: sa.Update | sa.Delete) -> int:
        return await self._database.change(lambda connection: connection.execute(statement).rowcount)

    def __repr__(self) -> str:
        return f"<SqlSessionStore in {self._database!r}>"
