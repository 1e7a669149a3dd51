"""Usage as screens and exports want it: sums over the roll-ups, in plain SQL that goes around the model.

What belongs to one answer comes from one statement, or at least from one snapshot.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from keyrelay.core.usage_sums import Sums, SumsRow, UsageSums, report_of
from keyrelay.core.usage_views import Group, Interval, Oldest, UsageQuery
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.schema import FIRST_TOKEN_COLUMNS, LATENCY_COLUMNS
from keyrelay.storage.usage_statements import COUNTS, PLACE, TABLES, sums_statement

_COUNTS_AT = len(PLACE)
_LATENCY_AT = _COUNTS_AT + len(COUNTS)
_FIRST_TOKEN_AT = _LATENCY_AT + len(LATENCY_COLUMNS)
_END = _FIRST_TOKEN_AT + len(FIRST_TOKEN_COLUMNS)

MOST_CELLS = 4_000
"""Most sums of a group and interval that a report is made of; where there are more, the database makes it."""

_ALL = 2**31
"""More than there can be."""


class UsageQueries:
    """Reads sums. Every method raises StoreError when the store cannot answer now."""

    __slots__ = ("_most_cells", "_reader")

    def __init__(self, reader: PromptReader, *, most_cells: int = MOST_CELLS) -> None:
        self._reader = reader
        self._most_cells = most_cells

    async def oldest(self) -> Oldest:
        """What the oldest sums of each length are."""
        return await self._reader.read(_oldest)

    async def report(self, query: UsageQuery, most_groups: int) -> UsageSums:
        """Everything that a screen wants, of one moment; no more than the largest groups."""
        found = await self._reader.read(lambda connection: self._report(connection, query, most_groups))
        if isinstance(found, UsageSums):
            return found
        # Thousands of rows are long enough to be felt by whoever else is served meanwhile.
        return await asyncio.to_thread(lambda: report_of(_rows(found, query), query, most_groups))

    async def page(self, query: UsageQuery, after: SumsRow | None, most: int) -> tuple[SumsRow, ...]:
        """Sums in the order of their intervals and groups: at most so many of those that follow the one given."""
        statement = sums_statement(query, most, after=after)
        return await self._reader.read(lambda connection: _rows(connection.execute(statement).all(), query))

    def _report(
        self, connection: sa.Connection, query: UsageQuery, most_groups: int
    ) -> UsageSums | Sequence[sa.Row[Any]]:
        """The report, or the rows that it can be made of: reading those takes one pass instead of four."""
        cells = connection.execute(sums_statement(query, self._most_cells + 1)).all()
        if len(cells) <= self._most_cells:
            return cells
        totals = _asked(connection, replace(query, group_by=None, interval=None))
        series: tuple[SumsRow, ...] = ()
        if query.interval is not None:
            series = _asked(connection, replace(query, group_by=None))
        groups, count, group_series = _groups(connection, query, most_groups)
        return UsageSums(
            totals=totals[0].sums, groups=groups, groups_total=count, series=series, group_series=group_series
        )

    def __repr__(self) -> str:
        return f"<UsageQueries of {self._reader!r}>"


def _oldest(connection: sa.Connection) -> Oldest:
    lowest = [sa.select(sa.func.min(TABLES[each].c.start_s)).scalar_subquery() for each in Interval]
    minute_s, hour_s, day_s = connection.execute(sa.select(*lowest)).one()
    return Oldest(minute_s=minute_s, hour_s=hour_s, day_s=day_s)


def _groups(
    connection: sa.Connection, query: UsageQuery, most: int
) -> tuple[tuple[SumsRow, ...], int, tuple[SumsRow, ...]]:
    """The largest groups, how many there are, and the series of the largest."""
    if query.group_by is None:
        return (), 0, ()
    grouped = replace(query, interval=None)
    found = connection.execute(sums_statement(grouped, most, ranked=True)).all()
    groups = _rows(found, grouped)
    if query.interval is None:
        return groups, found[0][-1], ()
    return groups, found[0][-1], _asked(connection, replace(query, among=tuple(row.group for row in groups)))


def _asked(connection: sa.Connection, query: UsageQuery, most: int = _ALL) -> tuple[SumsRow, ...]:
    return _rows(connection.execute(sums_statement(query, most)).all(), query)


def _rows(found: Sequence[sa.Row[Any]], query: UsageQuery) -> tuple[SumsRow, ...]:
    grouped = query.group_by is not None
    return tuple(_row(row, grouped=grouped) for row in found)


def _row(row: sa.Row[Any], *, grouped: bool) -> SumsRow:
    start_s, name, provider = row[:_COUNTS_AT]
    sums = Sums(
        **dict(zip(COUNTS, row[_COUNTS_AT:_LATENCY_AT], strict=True)),
        latency=tuple(row[_LATENCY_AT:_FIRST_TOKEN_AT]),
        first_token=tuple(row[_FIRST_TOKEN_AT:_END]),
    )
    return SumsRow(start_s, Group(name, provider) if grouped else Group(), sums)
