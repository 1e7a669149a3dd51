"""Tasks as they are kept beside the memory of the process that runs them, in SQLite or PostgreSQL, among the states.

How old a row is is reckoned by the database's clock, so that hosts need not agree on the time. What a task has found is
apart from how far it is, so that a list of tasks reads little.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from keyrelay.core.kept_tasks import StoredTask, TaskToKeep
from keyrelay.storage.database import Database
from keyrelay.storage.schema import STATES

KEEP_S = 7 * 86_400
_TASK, _RESULTS, _END = "task:", "task-results:", "task-end:"
_NOW = {
    "sqlite": "CAST(strftime('%s', 'now') AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)",
}


class SqlTaskStore:
    """Implements `administration.kept_tasks.TaskStore`."""

    __slots__ = ("_database", "_now")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = _NOW[database.name]

    async def keep(self, tasks: Sequence[TaskToKeep]) -> frozenset[str]:
        """Keep tasks as they are now, and say which of them somebody wants to end."""
        put = sa.text(
            f"INSERT INTO states (name, value, updated_s) VALUES (:name, :value, {self._now})"  # noqa: S608 - a constant
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_s = excluded.updated_s"
        ).bindparams(sa.bindparam("value", type_=sa.LargeBinary))
        rows = [{"name": f"{_TASK}{task.id}", "value": task.line} for task in tasks]
        rows += [{"name": f"{_RESULTS}{task.id}", "value": task.results} for task in tasks]
        asked = [f"{_END}{task.id}" for task in tasks]

        def keep(connection: sa.Connection) -> frozenset[str]:
            connection.execute(put, rows)
            found = connection.execute(sa.select(STATES.c.name).where(STATES.c.name.in_(asked))).scalars()
            return frozenset(name.removeprefix(_END) for name in found)

        return await self._database.change(keep) if rows else frozenset()

    async def find(self, task_id: str) -> StoredTask | None:
        """One task with its results; None when it is not kept."""
        age = self._age()
        line = sa.select(STATES.c.value, age).where(STATES.c.name == f"{_TASK}{task_id}")
        results = sa.select(STATES.c.value).where(STATES.c.name == f"{_RESULTS}{task_id}")

        def find(connection: sa.Connection) -> StoredTask | None:
            row = connection.execute(line).one_or_none()
            if row is None:
                return None
            return StoredTask(bytes(row[0]), bytes(connection.execute(results).scalar() or b""), float(row[1]))

        return await self._database.read(find)

    async def newest(self, limit: int) -> tuple[StoredTask, ...]:
        """Those that were kept last, without results."""
        age = self._age()
        statement = (
            sa.select(STATES.c.value, age)
            .where(STATES.c.name.like(f"{_TASK}%"))
            .order_by(STATES.c.updated_s.desc())
            .limit(limit)
        )
        return await self._database.read(
            lambda connection: tuple(
                StoredTask(bytes(value), b"", float(age_s)) for value, age_s in connection.execute(statement)
            )
        )

    async def want_end(self, task_id: str) -> None:
        """Have whoever runs a task end it when it is kept next."""
        put = sa.text(
            f"INSERT INTO states (name, value, updated_s) VALUES (:name, :value, {self._now})"  # noqa: S608 - a constant
            " ON CONFLICT (name) DO NOTHING"
        ).bindparams(sa.bindparam("value", type_=sa.LargeBinary))
        values = {"name": f"{_END}{task_id}", "value": b""}
        await self._database.change(lambda connection: connection.execute(put, values).close())

    async def purge(self) -> None:
        """Forget those that were kept last a week ago."""
        old = sa.or_(*(STATES.c.name.like(f"{prefix}%") for prefix in (_TASK, _RESULTS, _END)))
        statement = sa.delete(STATES).where(old, STATES.c.updated_s < sa.literal_column(f"{self._now} - {KEEP_S}"))
        await self._database.change(lambda connection: connection.execute(statement).close())

    def _age(self) -> sa.ColumnClause[int]:
        return sa.literal_column(f"{self._now} - updated_s", sa.BigInteger)

    def __repr__(self) -> str:
        return f"<SqlTaskStore in {self._database!r}>"
