"""The SQL of the hot path, made of the tables once: what differs between the two databases stands side by side.

SQLite takes many rows as one flat list of values: each step of a statement hands Python's lock back and forth between
threads, so a statement per row would cost more in waiting than in work. PostgreSQL takes a list per column.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import sqlalchemy as sa

from keyrelay.storage.rollups import Row
from keyrelay.storage.schema import ATTEMPTS, REQUESTS

INSERTED = (REQUESTS, ATTEMPTS)

NOTHING = -1
"""What a statement for SQLite takes for NULL in a column that may be: the driver asks every `None` whether it would
rather be something else, which takes it longer than all the rest of a value."""

_LARGEST = "last_ms"
"""The one column of a roll-up that keeps the largest value instead of the sum."""

USUAL = {
    "status": "200",
    "category": "''",
    "cached": "''",
    "waited_ms": "0",
    "attempts": "1",
    "estimated": "false",
    "usd_micros": "NULL",
}
"""What most requests have in these columns, as SQL: said in the statement, it is not passed to it row by row."""


@cache
def sqlite_statement(table: sa.Table, rows: int, *, usual: bool = False) -> str:
    """The statement that writes this many rows, their values one after the other."""
    row = f"({', '.join([*map(_place, _given(table, usual=usual)), *_unsaid(usual=usual)])})"
    return f"{_into(table, usual=usual)} VALUES {', '.join([row] * rows)} {_on_conflict(table, 'max')}"


@cache
def postgres_statement(table: sa.Table, dialect: sa.Dialect, *, usual: bool = False) -> str:
    """The statement that writes rows given as one list per column. What is inserted returns its id."""
    types = [column.type.compile(dialect=dialect) for column in _given(table, usual=usual)]
    lists = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    values = ", ".join(("given.*", *_unsaid(usual=usual)))
    returning = " RETURNING id" if table is REQUESTS else ""
    rows = f"SELECT {values} FROM unnest({lists}) AS given"  # noqa: S608 - names and types of our own tables
    return f"{_into(table, usual=usual)} {rows} {_on_conflict(table, 'greatest')}{returning}"


def chunks(rows: Sequence[Row], sizes: Iterable[int]) -> Iterable[tuple[int, list[Any]]]:
    """Rows in portions of these sizes, largest first: how many, and their values one after the other.

    Few sizes keep few statements prepared. Rows that are fewer than the last size are left out.
    """
    place = 0
    for size in sizes:
        while len(rows) - place >= size:
            yield size, list(chain.from_iterable(rows[place : place + size]))
            place += size


def _place(column: sa.Column[Any]) -> str:
    return f"NULLIF(?, {NOTHING})" if column.nullable else "?"


def _given(table: sa.Table, *, usual: bool) -> list[sa.Column[Any]]:
    """The columns whose values rows hold, in that order."""
    if table is not REQUESTS:
        return list(table.columns)
    rest = [] if usual else [table.columns[name] for name in USUAL]
    return [*(column for column in table.columns if column.name not in USUAL), *rest]


def _unsaid(*, usual: bool) -> tuple[str, ...]:
    return tuple(USUAL.values()) if usual else ()


def _into(table: sa.Table, *, usual: bool) -> str:
    names = [column.name for column in _given(table, usual=usual)] + (list(USUAL) if usual else [])
    return f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))})"


def _on_conflict(table: sa.Table, largest: str) -> str:
    if table in INSERTED:
        return "ON CONFLICT DO NOTHING"
    key = ", ".join(_quoted(column.name) for column in table.primary_key.columns)
    others = [column.name for column in table.columns if not column.primary_key]
    sums = (f"{_quoted(name)} = " + _merged(table.name, _quoted(name), largest * (name == _LARGEST)) for name in others)
    return f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(sums)}"


def _merged(table: str, column: str, function: str) -> str:
    old, new = f"{table}.{column}", f"excluded.{column}"
    return f"{function}({old}, {new})" if function else f"{old} + {new}"


def _quoted(name: str) -> str:
    return f'"{name}"'
