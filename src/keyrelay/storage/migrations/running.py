"""Applying the steps. This is the one module that loads alembic, so it is imported only to do that."""

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from keyrelay.core.errors import StoreError
from keyrelay.storage.database import Database
from keyrelay.storage.schema import VERSION_TABLE
from keyrelay.storage.versions import SchemaState, state_of, version_of

_LOCK = 0x6B65_7972_656C_6179
"""`keyrelay` in ASCII: the number of the lock that only one who migrates a PostgreSQL can have."""


async def migrate(database: Database) -> tuple[str, str]:
    """Bring the tables to the present version; the version before and after. Raise StoreError; nothing is half done."""
    return await database.change(upgrade)


def upgrade(connection: sa.Connection) -> tuple[str, str]:
    """The same in a transaction that has been begun and will be committed."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    before = version_of(connection)
    if state_of(before) is SchemaState.NEWER:
        raise StoreError(f"its tables are of a newer Keyrelay (version {before}): install that one", lasting=True)
    if state_of(before) is not SchemaState.CURRENT:
        _run(connection)
    return before, version_of(connection)


def _run(connection: sa.Connection) -> None:
    script = ScriptDirectory(str(Path(__file__).parent))
    with EnvironmentContext(Config(), script, fn=lambda heads, _: script._upgrade_revs("head", heads)) as environment:  # noqa: SLF001 - as alembic's own commands do it
        environment.configure(connection=connection, version_table=VERSION_TABLE, transactional_ddl=True)
        environment.run_migrations()
