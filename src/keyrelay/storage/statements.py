"""The SQL of the hot path, made of the tables once: what differs between the two databases stands side by side.

SQLite takes many rows as one flat list of values: each step of a statement hands Python's lock back and forth between
threads, so a statement per row would cost more in waiting than in work. PostgreSQL takes a list per column.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from keyrelay.storage.rollups import Row
from keyrelay.storage.schema import ATTEMPTS, REQUESTS

INSERTED = (REQUESTS, ATTEMPTS)

_LARGEST = "last_ms"
"""The one column of a roll-up that keeps the largest value instead of the sum."""


@cache
def sqlite_statement(table: sa.Table, rows: int) -> str:
    """The statement that writes this many rows, their values one after the other."""
    row = f"({', '.join('?' * len(table.columns))})"
    return f"{_into(table)} VALUES {', '.join([row] * rows)} {_on_conflict(table, 'max')}"


@cache
def postgres_statement(table: sa.Table, dialect: sa.Dialect) -> str:
    """The statement that writes rows given as one list per column. What is inserted returns its id."""
    types = [column.type.compile(dialect=dialect) for column in table.columns]
    lists = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    returning = " RETURNING id" if table is REQUESTS else ""
    rows = f"SELECT * FROM unnest({lists})"  # noqa: S608 - names and types of our own tables
    return f"{_into(table)} {rows} {_on_conflict(table, 'greatest')}{returning}"


def chunks(rows: Sequence[Row], sizes: Iterable[int]) -> Iterable[tuple[int, list[Any]]]:
    """Rows in portions of these sizes, largest first and ending with 1: how many, and their values one after the other.

    Few sizes keep few statements prepared.
    """
    place = 0
    for size in sizes:
        while len(rows) - place >= size:
            yield size, [value for row in rows[place : place + size] for value in row]
            place += size


def _into(table: sa.Table) -> str:
    return f"INSERT INTO {table.name} ({', '.join(_quoted(column) for column in table.columns)})"


def _on_conflict(table: sa.Table, largest: str) -> str:
    if table in INSERTED:
        return "ON CONFLICT DO NOTHING"
    key = ", ".join(_quoted(column) for column in table.primary_key.columns)
    sums = ", ".join(
        f"{_quoted(column)} = " + _merged(table.name, _quoted(column), largest if column.name == _LARGEST else "")
        for column in table.columns
        if not column.primary_key
    )
    return f"ON CONFLICT ({key}) DO UPDATE SET {sums}"


def _merged(table: str, column: str, function: str) -> str:
    old, new = f"{table}.{column}", f"excluded.{column}"
    return f"{function}({old}, {new})" if function else f"{old} + {new}"


def _quoted(column: sa.Column[Any]) -> str:
    return f'"{column.name}"'
