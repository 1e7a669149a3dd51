"""The SQL of sums over roll-ups, as text: as expressions, sixty columns of five pieces would be thousands of objects.

A range is covered by a few pieces, each of one roll-up table (`core.usage_views.cover`). Each piece is summed for
itself, and the sums of the pieces are summed. All names in the text are those of our own tables; values are bound.
"""

from typing import Any

import sqlalchemy as sa

from keyrelay.core.usage_sums import Sums, SumsRow
from keyrelay.core.usage_views import CALLER_GONE, Dimension, Interval, Piece, UsageQuery
from keyrelay.storage.schema import FIRST_TOKEN_COLUMNS, LATENCY_COLUMNS, USAGE_DAYS, USAGE_HOURS, USAGE_MINUTES

TABLES = {Interval.MINUTE: USAGE_MINUTES, Interval.HOUR: USAGE_HOURS, Interval.DAY: USAGE_DAYS}
"""The roll-up of each length."""

PLACE = ("start_s", "name", "provider")
"""What a row of sums begins with: the start of the interval, name and provider of the group."""

COUNTS = tuple(name for name in Sums.__struct_fields__ if name not in {"latency", "first_token"})
COLUMNS = (*COUNTS, *LATENCY_COLUMNS, *FIRST_TOKEN_COLUMNS)
"""What follows."""

_ORDERED_BY = (Dimension.PROVIDER, Dimension.MODEL, Dimension.KEY)
"""What roll-ups are ordered by behind their start: grouped by as much of that as is needed, nothing is sorted."""

_OF_FAILURES = {
    "failed": f"CASE WHEN category = '{CALLER_GONE}' THEN 0 ELSE failed END",
    "cancelled": f"CASE WHEN category = '{CALLER_GONE}' THEN requests ELSE 0 END",
}
"""A caller who left is no failure."""

# PostgreSQL makes sums of large numbers `numeric`: back to what they are.
_OF_TABLE = ", ".join(f"CAST(SUM({_OF_FAILURES.get(name, name)}) AS BIGINT) AS {name}" for name in COLUMNS)
_OF_PIECES = ", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in COLUMNS)
_PLACES = ", ".join(PLACE)


def sums_statement(
    query: UsageQuery, most: int, *, after: SumsRow | None = None, ranked: bool = False
) -> sa.TextClause:
    """At most so many sums in the order of intervals and groups, of those that follow the one given.

    With `ranked`, those with the most requests, and behind the other columns how many there are in all.
    """
    values: dict[str, Any] = {"most": most, **{f"is_{name.value}": value for name, value in query.fields.wanted()}}
    values |= {f"client_{number}": label for number, label in enumerate(query.fields.clients or ())}
    pieces = " UNION ALL ".join(_of_piece(number, piece, query, values) for number, piece in enumerate(query.pieces))
    text = f"SELECT {_PLACES}, {_OF_PIECES}{', COUNT(*) OVER ()' if ranked else ''} FROM ({pieces}) AS pieces"  # noqa: S608 - see above
    if after is not None:
        text += f" WHERE ({_PLACES}) > (:after_s, :after_name, :after_provider)"
        group = after.group
        values |= {"after_s": after.start_s, "after_name": group.name or "", "after_provider": group.provider}
    text += f" GROUP BY {_PLACES} ORDER BY {'requests DESC, ' if ranked else ''}{_PLACES} LIMIT :most"
    return sa.text(text).bindparams(**values)


def _of_piece(number: int, piece: Piece, query: UsageQuery, values: dict[str, Any]) -> str:
    values |= {f"from_{number}": piece.span.from_s, f"to_{number}": piece.span.to_s}
    conditions = [f"start_s >= :from_{number}", f"start_s < :to_{number}"]
    conditions += [f"{name} = :is_{name}" for name, _ in query.fields.wanted()]
    if query.fields.clients is not None:
        named = ", ".join(f":client_{number}" for number in range(len(query.fields.clients)))
        conditions.append(f"client IN ({named})" if named else "1 = 0")
    if query.among is not None:
        conditions.append(_among(query, values))
    grouped = _grouped_by(query)
    wanted = f"WHERE {' AND '.join(conditions)}{f' GROUP BY {grouped}' if grouped else ''} HAVING COUNT(*) > 0"
    table = TABLES[piece.interval].name
    return f"SELECT {_place(query)}, {_OF_TABLE} FROM {table} AS sums {wanted}"  # noqa: S608 - see above


def _place(query: UsageQuery) -> str:
    """The columns of `PLACE`; constant where nothing is grouped."""
    start = "CAST(0 AS BIGINT)" if query.interval is None else f"start_s - start_s % {query.interval.seconds}"
    name = query.group_by or "CAST('' AS TEXT)"
    provider = "provider" if query.group_by is Dimension.KEY else "CAST('' AS TEXT)"
    return f"{start} AS start_s, {name} AS name, {provider} AS provider"


def _among(query: UsageQuery, values: dict[str, Any]) -> str:
    """The condition that a row belongs to one of the groups."""
    groups = query.among or ()
    values |= {f"name_{number}": group.name or "" for number, group in enumerate(groups)}
    if query.group_by is not Dimension.KEY:
        return f"{query.group_by} IN ({', '.join(f':name_{number}' for number in range(len(groups)))})"
    values |= {f"provider_{number}": group.provider for number, group in enumerate(groups)}
    rows = ", ".join(f"(:name_{number}, :provider_{number})" for number in range(len(groups)))
    return f"(key, provider) IN (VALUES {rows})"


def _grouped_by(query: UsageQuery) -> str:
    """Columns that tell a piece's groups apart: more than need be where that spares the sorting of wide rows.

    They carry the table's name, because `start_s` and `provider` are names of what is selected too.
    """
    columns: tuple[str, ...]
    if query.group_by in _ORDERED_BY:
        columns = ("start_s", *_ORDERED_BY[: _ORDERED_BY.index(query.group_by) + 1])
    else:
        columns = tuple(name for name in (query.interval and "start_s", query.group_by) if name)
    return ", ".join(f"sums.{name}" for name in columns)
