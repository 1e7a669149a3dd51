"""What people administer, the log of its changes, who has signed in, wrong guesses, messages on alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    binary = sa.LargeBinary()
    op.create_table(
        "entries",
        sa.Column("kind", sa.Text(), primary_key=True, nullable=False),
        sa.Column("id", sa.Text(), primary_key=True, nullable=False),
        sa.Column("document", binary, nullable=False),
        sa.Column("sealed", binary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text(), primary_key=True, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.LargeBinary(16).with_variant(sa.Uuid(), "postgresql"), primary_key=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("actor", "action", "kind", "entry")),
        sa.Column("before", binary, nullable=False),
        sa.Column("after", binary, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sessions",
        sa.Column("digest", binary, primary_key=True, nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("created_s", "seen_s", "expires_s")),
        sa.Column("address", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "guesses",
        sa.Column("name", sa.Text(), primary_key=True, nullable=False),
        sa.Column("wrong", sa.BigInteger(), nullable=False),
        sa.Column("last_s", sa.Double(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.LargeBinary(16).with_variant(sa.Uuid(), "postgresql"), primary_key=True, nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.Column("document", binary, nullable=False),
        sqlite_with_rowid=False,
    )
    waiting = sa.text("waiting")
    op.create_index("alerts_waiting", "alerts", ["id"], sqlite_where=waiting, postgresql_where=waiting)
