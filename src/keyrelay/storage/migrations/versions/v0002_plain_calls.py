"""When the only call of a request was sent, and what it was counted for: then it needs no row of its own in `attempts`.

Calls that have a row already keep it. Adding columns that may be NULL touches no row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns."""
    for name in ("sent_ms", "usd_micros"):
        op.add_column("requests", sa.Column(name, sa.BigInteger(), nullable=True))
