"""Deleting what has been kept long enough, oldest first, a little at a time so that nobody waits for it.

The space is filled again by the rows that follow. To give it back to the system, all that is behind it would have to be
moved.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from keyrelay.storage.database import Database
from keyrelay.storage.schema import (
    ATTEMPTS,
    REQUESTS,
    TEXTS,
    USAGE_HOURS,
    USAGE_MINUTES,
    USED_MINUTES,
    USED_QUARTERS,
    USED_SECONDS,
    id_floor,
)

ROWS_AT_A_TIME = 2_000
TEXTS_AT_A_TIME = 200
"""A row of texts is a hundred times as long as others."""

PAUSE_S = 0.02
DAY_S = 86_400

USED_SECONDS_KEPT_S = 3 * 3_600
"""The ledger is rebuilt to the second for the last two hours."""

USED_MINUTES_KEPT_S = 27 * 3_600
"""To the minute for the last 26."""

USED_QUARTERS_KEPT_S = 62 * DAY_S
"""No quota that comes back is about longer than a month."""

_LOCK = 0x6B65_7972_7075_7267


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """After how many days rows of requests, and sums per minute and per hour, are deleted.

    Texts of requests are deleted after `texts_days`, and never later than their requests.
    """

    requests_days: float
    minutes_days: float
    hours_days: float
    texts_days: float = math.inf


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were deleted: requests, sums per minute and hour, texts of requests."""

    requests: int = 0
    minutes: int = 0
    hours: int = 0
    texts: int = 0


async def purge(database: Database, retention: Retention, now_s: float) -> Purged:
    """Delete what has been kept long enough. Raise StoreError; what is done stays done."""
    requests_before = _id_at(now_s - retention.requests_days * DAY_S)
    texts_before = _id_at(now_s - min(retention.texts_days, retention.requests_days) * DAY_S)
    texts = await _repeat(database, partial(_delete_texts, before=texts_before))
    requests = await _repeat(database, partial(_delete_requests, before=requests_before))
    minutes, hours, *_ = [
        await _repeat(database, partial(_delete_sums, table=table, before_s=int(now_s - kept_s)))
        for table, kept_s in (
            (USAGE_MINUTES, retention.minutes_days * DAY_S),
            (USAGE_HOURS, retention.hours_days * DAY_S),
            (USED_SECONDS, USED_SECONDS_KEPT_S),
            (USED_MINUTES, USED_MINUTES_KEPT_S),
            (USED_QUARTERS, USED_QUARTERS_KEPT_S),
        )
    ]
    return Purged(requests=requests, minutes=minutes, hours=hours, texts=texts)


async def _repeat(database: Database, delete: Callable[[sa.Connection], int]) -> int:
    """Delete until there is nothing left to delete, in a transaction each time; how many rows in all."""
    total = 0
    while deleted := await database.change(lambda connection: delete(connection) if _alone(connection) else 0):
        total += deleted
        await asyncio.sleep(PAUSE_S)
    return total


def _alone(connection: sa.Connection) -> bool:
    """Whether nobody else deletes at the moment; until the transaction ends nobody else will."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar())


def _id_at(moment_s: float) -> str:
    return id_floor(int(moment_s * 1000))


def _delete_texts(connection: sa.Connection, before: str) -> int:
    last = _last_of(connection, TEXTS.c.id, before, TEXTS_AT_A_TIME)
    return 0 if last is None else connection.execute(sa.delete(TEXTS).where(TEXTS.c.id <= last)).rowcount


def _delete_requests(connection: sa.Connection, before: str) -> int:
    last = _last_of(connection, REQUESTS.c.id, before)
    if last is None:
        return 0
    connection.execute(sa.delete(ATTEMPTS).where(ATTEMPTS.c.request_id <= last))
    return connection.execute(sa.delete(REQUESTS).where(REQUESTS.c.id <= last)).rowcount


def _delete_sums(connection: sa.Connection, table: sa.Table, before_s: int) -> int:
    last_s = _last_of(connection, table.c.start_s, before_s)
    return 0 if last_s is None else connection.execute(sa.delete(table).where(table.c.start_s <= last_s)).rowcount


def _last_of(connection: sa.Connection, column: sa.Column[Any], before: int | str, most: int = ROWS_AT_A_TIME) -> Any:
    """The last of the first rows that are to be deleted, by the column that they are ordered by."""
    oldest = sa.select(column).where(column < before).order_by(column).limit(most).subquery()
    return connection.execute(sa.select(oldest.c[0]).order_by(sa.desc(oldest.c[0])).limit(1)).scalar()
