"""Where in time to look for requests that are rare: what the sums say, from days by way of hours to minutes.

An index on each column that a list may be filtered by would cost every request that is written. The sums are there
anyway: a day that has none of what is wanted need not be looked through, nor an hour, nor a minute. Whatever the sums
do not say any more, because those of minutes and hours are not kept for ever, is looked through as a whole.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import TypeVar

import sqlalchemy as sa

from keyrelay.storage.schema import USAGE_DAYS, USAGE_HOURS, USAGE_MINUTES

Stretch = tuple[int, int]
"""From one epoch second up to, and without, another."""

_Pair = TypeVar("_Pair", bound=tuple[object, object])

Condition = Callable[[sa.Table], sa.ColumnElement[bool]]
"""What the sums have to be where something wanted may be, for the table that they are in."""

_DAYS, _HOURS, _MINUTES = (USAGE_DAYS, 86_400), (USAGE_HOURS, 3600), (USAGE_MINUTES, 60)
"""Each table with the seconds that its sums are over."""

_AT_FIRST, _AT_MOST, _GROWTH = 4, 64, 4
"""How many intervals are looked up at a time: few at first, since the first ones often hold enough."""


def stretches(connection: sa.Connection, condition: Condition, within: Stretch) -> Iterator[list[Stretch]]:
    """Stretches of time outside of which no request is that the condition is about: the latest first, some at a time.

    Looks up no more than is taken of it.
    """
    hours_known_s, minutes_known_s = (_known_from(connection, table) for table in (USAGE_HOURS, USAGE_MINUTES))
    for days in _found(connection, _DAYS, condition, [within]):
        told, untold = _told(days, hours_known_s)
        for hours in _found(connection, _HOURS, condition, told):
            told_hours, untold_hours = _told(hours, minutes_known_s)
            yield from map(joined, _found(connection, _MINUTES, condition, told_hours))
            yield joined(untold_hours)
        yield joined(untold)


def joined(found: Iterable[Stretch]) -> list[Stretch]:
    """The same time in as few stretches as can be; the latest first, as they were."""
    result: list[Stretch] = []
    for from_s, to_s in found:
        if result and result[-1][0] == to_s:
            result[-1] = from_s, result[-1][1]
        else:
            result.append((from_s, to_s))
    return result


def padded(pairs: Sequence[_Pair], empty: _Pair) -> Iterator[_Pair]:
    """The pairs and as many empty ones as make them one of a few numbers: each number is a statement to be kept."""
    yield from pairs
    size = _AT_FIRST
    while size < len(pairs):
        size *= _GROWTH
    yield from repeat(empty, size - len(pairs))


def _known_from(connection: sa.Connection, table: sa.Table) -> float:
    """Since when a table has everything: rows are deleted oldest first, so after the oldest there is no gap."""
    lowest = connection.execute(sa.select(sa.func.min(table.c.start_s))).scalar()
    return math.inf if lowest is None else lowest + 1


def _told(found: list[Stretch], known_from_s: float) -> tuple[list[Stretch], list[Stretch]]:
    """Those about which finer sums tell everything, and the others."""
    told = [each for each in found if each[0] >= known_from_s]
    return told, found[len(told) :]


def _found(
    connection: sa.Connection, sums: tuple[sa.Table, int], condition: Condition, within: list[Stretch]
) -> Iterator[list[Stretch]]:
    """The intervals that hold something and touch these stretches, cut to them; the latest first, some at a time."""
    most = _AT_FIRST
    while within:
        found = _some(connection, sums, condition, joined(within), most)
        if found:
            yield found
        if len(found) < most:
            return
        within = [(from_s, min(to_s, found[-1][0])) for from_s, to_s in within if from_s < found[-1][0]]
        most = min(most * _GROWTH, _AT_MOST)


def _some(
    connection: sa.Connection, sums: tuple[sa.Table, int], condition: Condition, within: list[Stretch], most: int
) -> list[Stretch]:
    table, length_s = sums
    start, holds = table.c.start_s, condition(table)
    parts = (
        sa.select(start).distinct().where(start > from_s - length_s, start < to_s, holds)
        for from_s, to_s in padded(within, (0, -length_s))
    )
    statement = sa.union_all(*parts).order_by(sa.desc("start_s")).limit(most)  # with OR, SQLite reads everything
    highest_s, lowest_s = within[0][1], within[-1][0]
    starts_s = connection.execute(statement).scalars()
    return [(max(start_s, lowest_s), min(start_s + length_s, highest_s)) for start_s in starts_s]
