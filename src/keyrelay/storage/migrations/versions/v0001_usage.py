"""Requests and attempts, sums of them, what was used, keys, states."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_LATENCIES = 27
_FIRST_TOKENS = 22


def upgrade() -> None:
    """Make the first tables."""
    _requests()
    _attempts()
    for name in ("usage_minutes", "usage_hours", "usage_days"):
        _usage(name)
    for name in ("used_seconds", "used_minutes", "used_quarters"):
        _used(name, "start_s")
    _used("used_totals")
    _table(
        "keys_seen",
        *_texts("provider", "label", "fingerprint"),
        *_counts("first_seen_s", "last_seen_s"),
        key=("provider", "label", "fingerprint"),
    )
    _table("states", *_texts("name"), _column("value", sa.LargeBinary()), *_counts("updated_s"), key=("name",))


def _requests() -> None:
    _table(
        "requests",
        _column("id", _identity()),
        *_counts("started_ms", "ended_ms"),
        *_texts("client", "operation", "model_asked", "provider", "key", "model"),
        _column("status", sa.Integer()),
        *_texts("category"),
        _column("stream", sa.Boolean()),
        *_texts("cached"),
        *_durations("ms", "upstream_ms", "waited_ms"),
        sa.Column("first_token_ms", sa.Double(), nullable=True),
        _column("attempts", sa.Integer()),
        *_counts("input_tokens", "output_tokens"),
        _column("estimated", sa.Boolean()),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=True),
        *_texts("price_version"),
        key=("id",),
    )
    _partial_index("requests_by_category", "category", "category <> ''")
    _partial_index("requests_by_status", "status", "status <> 200")


def _attempts() -> None:
    _table(
        "attempts",
        _column("request_id", _identity()),
        _column("ordinal", sa.Integer()),
        *_counts("sent_ms"),
        *_durations("ms"),
        *_texts("provider", "key", "model", "kind", "scope"),
        _column("http_status", sa.Integer()),
        *_texts("message"),
        *_counts("requests", "input_tokens", "output_tokens", "usd_micros", "units"),
        key=("request_id", "ordinal"),
    )


def _usage(name: str) -> None:
    place = ("provider", "model", "key", "client", "category")
    counts = ("requests", "failed", "cached", "estimated", "unpriced", "streams", "attempts", "retried")
    sums = ("input_tokens", "output_tokens", "cost_nanos", "ms_sum", "first_token_ms_sum", "first_tokens")
    buckets = [f"latency_{place:02}" for place in range(_LATENCIES)]
    buckets += [f"first_token_{place:02}" for place in range(_FIRST_TOKENS)]
    histograms = (sa.Column(each, sa.Integer(), nullable=False, server_default=sa.text("0")) for each in buckets)
    columns = [*_counts("start_s"), *_texts(*place), *_counts(*counts, *sums), *histograms]
    _table(name, *columns, key=("start_s", *place))


def _used(name: str, *start: str) -> None:
    place = ("provider", "key", "model")
    sums = ("last_ms", "requests", "input_tokens", "output_tokens", "usd_micros", "units")
    _table(name, *_counts(*start), *_texts(*place), *_counts(*sums), key=(*start, *place))


def _table(name: str, *columns: sa.Column[Any], key: tuple[str, ...]) -> None:
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key), sqlite_with_rowid=False)


def _partial_index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "requests", [column, "id"], sqlite_where=where, postgresql_where=where)


def _identity() -> sa.types.TypeEngine[Any]:
    return sa.Uuid() if op.get_bind().dialect.name == "postgresql" else sa.LargeBinary(16)


def _column(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, sa.Text()) for name in names]


def _counts(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, sa.BigInteger()) for name in names]


def _durations(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, sa.Double()) for name in names]
