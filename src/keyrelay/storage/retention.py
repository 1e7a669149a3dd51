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
    AUDIT,
    GUESSES,
    REQUESTS,
    SESSIONS,
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

GUESSES_KEPT_S = DAY_S
"""Wrong guesses count for so long, and no pause is longer than a quarter of an hour."""

_LOCK = 0x6B65_7972_7075_7267


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """After how many days rows of requests, and sums per minute and per hour, are deleted.

    Texts of requests are deleted after `texts_days`, and never later than their requests; lines of the log of changes
    after `audit_days`.
    """

    requests_days: float
    minutes_days: float
    hours_days: float
    texts_days: float = math.inf
    audit_days: float = math.inf


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were deleted: requests, sums per minute and hour, texts of requests, lines of the log of changes.

    `guesses` at passwords were of no account any more, nor were `sessions`.
    """

    requests: int = 0
    minutes: int = 0
    hours: int = 0
    texts: int = 0
    audit: int = 0
    guesses: int = 0
    sessions: int = 0


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
    audit = 0
    if math.isfinite(retention.audit_days):
        audit_before = _id_at(now_s - retention.audit_days * DAY_S)
        audit = await _repeat(database, partial(_delete_audit, before=audit_before))
    return Purged(
        requests=requests,
        minutes=minutes,
        hours=hours,
        texts=texts,
        audit=audit,
        guesses=await _sweep(database, GUESSES, GUESSES.c.last_s <= now_s - GUESSES_KEPT_S),
        sessions=await _sweep(database, SESSIONS, SESSIONS.c.expires_s <= now_s),
    )


async def _repeat(database: Database, delete: Callable[[sa.Connection], int]) -> int:
    """Delete until there is nothing left to delete, in a transaction each time; how many rows in all."""
    total = 0
    while deleted := await database.change(lambda connection: delete(connection) if _alone(connection) else 0):
        total += deleted
        await asyncio.sleep(PAUSE_S)
    return total


async def _sweep(database: Database, table: sa.Table, over: sa.ColumnElement[bool]) -> int:
    """Go through a table in the order of its key, and delete what is over, some rows in a transaction each time."""
    (key,) = table.primary_key.columns
    total, last = 0, None
    while True:
        deleted, last = await database.change(partial(_sweep_some, key=key, over=over, after=last))
        total += deleted
        if last is None:
            return total
        await asyncio.sleep(PAUSE_S)


def _sweep_some(
    connection: sa.Connection, key: sa.Column[Any], over: sa.ColumnElement[bool], after: Any
) -> tuple[int, Any]:
    """How many of the rows behind that key were deleted, and the key of the last one looked at; None at the end."""
    behind = sa.true() if after is None else key > after
    keys = connection.execute(sa.select(key).where(behind).order_by(key).limit(ROWS_AT_A_TIME)).scalars().all()
    if not keys or not _alone(connection):
        return 0, None
    deleted = connection.execute(sa.delete(key.table).where(behind, key <= keys[-1], over)).rowcount
    return deleted, keys[-1] if len(keys) == ROWS_AT_A_TIME else None


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


def _delete_audit(connection: sa.Connection, before: str) -> int:
    last = _last_of(connection, AUDIT.c.id, before)
    return 0 if last is None else connection.execute(sa.delete(AUDIT).where(AUDIT.c.id <= last)).rowcount


def _delete_sums(connection: sa.Connection, table: sa.Table, before_s: int) -> int:
    last_s = _last_of(connection, table.c.start_s, before_s)
    return 0 if last_s is None else connection.execute(sa.delete(table).where(table.c.start_s <= last_s)).rowcount


def _last_of(connection: sa.Connection, column: sa.Column[Any], before: int | str, most: int = ROWS_AT_A_TIME) -> Any:
    """The last of the first rows that are to be deleted, by the column that they are ordered by."""
    oldest = sa.select(column).where(column < before).order_by(column).limit(most).subquery()
    return connection.execute(sa.select(oldest.c[0]).order_by(sa.desc(oldest.c[0])).limit(1)).scalar()
