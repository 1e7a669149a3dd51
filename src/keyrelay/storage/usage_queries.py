"""Usage as screens and exports want it: sums over the roll-ups, in plain SQL that goes around the model.

A range is covered by a few pieces, each of one roll-up table (`core.usage_views.cover`). Each piece is summed for
itself, and the sums of the pieces are summed: all of it in one statement, or in one snapshot, so that an answer is of
one moment.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from keyrelay.core.usage_sums import Sums, SumsRow, UsageSums, report_of
from keyrelay.core.usage_views import CALLER_GONE, Dimension, Group, Interval, Oldest, Piece, UsageFilter, UsageQuery
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.schema import (
    FIRST_TOKEN_COLUMNS,
    LATENCY_COLUMNS,
    USAGE_DAYS,
    USAGE_HOURS,
    USAGE_MINUTES,
)

_TABLES = {Interval.MINUTE: USAGE_MINUTES, Interval.HOUR: USAGE_HOURS, Interval.DAY: USAGE_DAYS}
_SUMS = tuple(name for name in Sums.__struct_fields__ if name not in {"latency", "first_token"})
_COLUMNS = (*_SUMS, *LATENCY_COLUMNS, *FIRST_TOKEN_COLUMNS)
_LATENCY_AT = len(_SUMS)
_FIRST_TOKEN_AT = _LATENCY_AT + len(LATENCY_COLUMNS)
_PLACE = ("start_s", "name", "provider")
_SUMS_AT = len(_PLACE)
_IN_ORDER: tuple[sa.UnaryExpression[Any], ...] = tuple(map(sa.asc, _PLACE))
_MAX_CELLS = 4_000
"""Most sums of a group and interval that a report is made of; where there are more, the database makes it."""

_ORDERED_BY = (Dimension.PROVIDER, Dimension.MODEL, Dimension.KEY)
"""What roll-ups are ordered by behind their start: grouped by as much of that as is needed, nothing is sorted."""

_Where = list[sa.ColumnElement[bool]]


class UsageQueries:
    """Reads sums. Every method raises StoreError when the store cannot answer now."""

    __slots__ = ("_reader",)

    def __init__(self, reader: PromptReader) -> None:
        self._reader = reader

    async def oldest(self) -> Oldest:
        """What the oldest sums of each length are."""
        return await self._reader.read(_oldest)

    async def report(self, query: UsageQuery, most_groups: int) -> UsageSums:
        """Everything that a screen wants, of one moment; no more than the largest groups."""
        found = await self._reader.read(lambda connection: _report(connection, query, most_groups))
        if isinstance(found, UsageSums):
            return found
        return await asyncio.to_thread(report_of, found, query, most_groups)  # long enough to be felt by others

    async def page(self, query: UsageQuery, after: SumsRow | None, most: int) -> tuple[SumsRow, ...]:
        """Sums in the order of their intervals and groups: at most so many of those that follow the one given."""
        statement = _summed(query, after=after).order_by(*_IN_ORDER).limit(most)
        return await self._reader.read(lambda connection: _rows(connection.execute(statement).all(), query))

    def __repr__(self) -> str:
        return f"<UsageQueries of {self._reader!r}>"


def _oldest(connection: sa.Connection) -> Oldest:
    lowest = [sa.select(sa.func.min(_TABLES[each].c.start_s)).scalar_subquery() for each in Interval]
    minute_s, hour_s, day_s = connection.execute(sa.select(*lowest)).one()
    return Oldest(minute_s=minute_s, hour_s=hour_s, day_s=day_s)


def _report(connection: sa.Connection, query: UsageQuery, most_groups: int) -> UsageSums | tuple[SumsRow, ...]:
    """The report, or the rows that it can be made of: reading those takes one pass instead of four."""
    cells = _asked(connection, query, _summed(query).order_by(*_IN_ORDER).limit(_MAX_CELLS + 1))
    if len(cells) <= _MAX_CELLS:
        return cells
    whole = replace(query, group_by=None, interval=None)
    totals = _asked(connection, whole, _summed(whole))
    series: tuple[SumsRow, ...] = ()
    if query.interval is not None:
        every = replace(query, group_by=None)
        series = _asked(connection, every, _summed(every).order_by(*_IN_ORDER))
    groups, count, group_series = _groups(connection, query, most_groups)
    return UsageSums(totals=totals[0].sums, groups=groups, groups_total=count, series=series, group_series=group_series)


def _groups(
    connection: sa.Connection, query: UsageQuery, most: int
) -> tuple[tuple[SumsRow, ...], int, tuple[SumsRow, ...]]:
    """The largest groups, how many there are, and the series of the largest."""
    if query.group_by is None:
        return (), 0, ()
    grouped = replace(query, interval=None)
    ranked = _summed(grouped, extra=(sa.func.count().over(),)).order_by(sa.desc("requests"), *_IN_ORDER)
    found = connection.execute(ranked.limit(most)).all()
    groups = _rows(found, grouped)
    if query.interval is None:
        return groups, found[0][-1], ()
    chosen = replace(query, among=tuple(row.group for row in groups))
    return groups, found[0][-1], _asked(connection, chosen, _summed(chosen).order_by(*_IN_ORDER))


def _asked(connection: sa.Connection, query: UsageQuery, statement: sa.Select[Any]) -> tuple[SumsRow, ...]:
    return _rows(connection.execute(statement).all(), query)


def matching(table: sa.FromClause, fields: UsageFilter) -> _Where:
    """The conditions of a filter on a table that has the columns of the dimensions."""
    return [table.c[dimension] == value for dimension, value in fields.wanted()]


def _summed(
    query: UsageQuery, *, after: SumsRow | None = None, extra: tuple[sa.ColumnElement[Any], ...] = ()
) -> sa.Select[Any]:
    """The sums of the pieces, summed: start, name and provider of the group, then `_COLUMNS`, then what is extra."""
    pieces = sa.union_all(*(_of_piece(piece, query) for piece in query.pieces)).subquery("pieces")
    place = [pieces.c[name] for name in _PLACE]
    statement = sa.select(*place, *_sums(pieces), *extra).group_by(*place)
    if after is None:
        return statement
    last = (after.start_s, after.group.name or "", after.group.provider)
    return statement.where(sa.tuple_(*place) > sa.tuple_(*map(sa.literal, last)))


def _of_piece(piece: Piece, query: UsageQuery) -> sa.Select[Any]:
    table = _TABLES[piece.interval]
    place = _place(table, query)
    conditions = [table.c.start_s >= piece.span.from_s, table.c.start_s < piece.span.to_s]
    conditions += matching(table, query.fields)
    if query.among is not None:
        names = [(group.name, group.provider) for group in query.among]
        conditions.append(sa.tuple_(*place[1:]).in_(names))
    labelled = [column.label(name) for name, column in zip(_PLACE, place, strict=True)]
    selected = sa.select(*labelled, *_sums_of_table(table)).where(*conditions)
    return selected.group_by(*_grouped_by(table, query)).having(sa.func.count() > 0)


def _grouped_by(table: sa.Table, query: UsageQuery) -> list[sa.ColumnElement[Any]]:
    """Columns that tell a piece's groups apart: more than need be where that spares the sorting of wide rows."""
    if query.group_by in _ORDERED_BY:
        ordered = _ORDERED_BY[: _ORDERED_BY.index(query.group_by) + 1]
        return [table.c.start_s, *(table.c[each] for each in ordered)]
    columns: list[sa.ColumnElement[Any]] = [] if query.interval is None else [table.c.start_s]
    return columns if query.group_by is None else [*columns, table.c[query.group_by]]


def _place(table: sa.Table, query: UsageQuery) -> tuple[sa.ColumnElement[Any], ...]:
    """Start, name and provider of the group that a row belongs to; texts that are constant where nothing is grouped."""
    start: sa.ColumnElement[int] = sa.literal(0, sa.BigInteger)
    if query.interval is not None:
        length_s = sa.literal_column(str(query.interval.seconds), sa.BigInteger)
        start = table.c.start_s - table.c.start_s % length_s
    name = sa.literal("", sa.Text) if query.group_by is None else table.c[query.group_by]
    provider = table.c.provider if query.group_by is Dimension.KEY else sa.literal("", sa.Text)
    return start, name, provider


def _sums(table: sa.FromClause) -> list[sa.Label[int]]:
    """PostgreSQL makes sums of large numbers `numeric`: back to what they are."""
    return [_sum(table.c[name]).label(name) for name in _COLUMNS]


def _sums_of_table(table: sa.Table) -> list[sa.Label[int]]:
    """Failures are told from callers who left by their category."""
    gone = table.c.category == CALLER_GONE
    counted = {
        "failed": sa.case((gone, 0), else_=table.c.failed),
        "cancelled": sa.case((gone, table.c.requests), else_=0),
    }
    return [_sum(counted[name] if name in counted else table.c[name]).label(name) for name in _COLUMNS]


def _sum(column: sa.ColumnElement[int]) -> sa.Cast[int]:
    return sa.cast(sa.func.sum(column), sa.BigInteger)


def _rows(found: Sequence[sa.Row[Any]], query: UsageQuery) -> tuple[SumsRow, ...]:
    grouped = query.group_by is not None
    return tuple(_row(row, grouped=grouped) for row in found)


def _row(row: sa.Row[Any], *, grouped: bool) -> SumsRow:
    start_s, name, provider = row[:_SUMS_AT]
    sums = row[_SUMS_AT:]
    latency = tuple(sums[_LATENCY_AT:_FIRST_TOKEN_AT])
    first_token = tuple(sums[_FIRST_TOKEN_AT : len(_COLUMNS)])
    counts = dict(zip(_SUMS, sums, strict=False))
    group = Group(name, provider) if grouped else Group()
    return SumsRow(start_s, group, Sums(**counts, latency=latency, first_token=first_token))
