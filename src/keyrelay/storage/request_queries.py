"""Single requests as screens and exports want them: newest first, a page at a time, in plain SQL.

Ids are ordered in time, so that a page without filters is a walk down the primary key. What is rare has a partial
index, which is walked for each value of its column. For everything else the sums say in which stretches of time there
is anything to be found (`storage.stretches`), and only those are looked through.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec
import sqlalchemy as sa

from keyrelay.core.histograms import LATENCY_MS, bucket
from keyrelay.core.stored_requests import RequestFilter, StoredAttempt, StoredRequest, came_ms, moment_text
from keyrelay.core.usage_views import CALLER_GONE, Dimension, UsageFilter
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.schema import ATTEMPTS, LATENCY_COLUMNS, REQUESTS, id_floor
from keyrelay.storage.stretches import padded, stretches

_OK = 200
_NANOS = 1_000_000_000
_LAST_MS = 2**48 - 1
"""What an id's time can be at most."""


class RequestQueries:
    """Reads rows. Every method raises StoreError when the store cannot answer now."""

    __slots__ = ("_reader",)

    def __init__(self, reader: PromptReader) -> None:
        self._reader = reader

    async def page(
        self, wanted: RequestFilter, below: str | None, most: int, *, attempts: bool
    ) -> tuple[StoredRequest, ...]:
        """The newest requests that are wanted, of those with an id below the one given; `attempts` says with calls."""
        low_ms, high_ms = _ms(wanted.from_s or 0.0), _LAST_MS if wanted.to_s is None else _ms(wanted.to_s)
        below = id_floor(high_ms) if below is None else min(id_floor(high_ms), below)
        search = _Search(wanted=wanted, low_ms=low_ms, high_ms=high_ms, below=below, most=most)
        return await self._reader.read(lambda connection: _rows(connection, search.ids(connection), calls=attempts))

    async def find(self, request_id: str) -> StoredRequest | None:
        """One request with its calls."""
        found = await self._reader.read(lambda connection: _rows(connection, [request_id], calls=True))
        return found[0] if found else None

    def __repr__(self) -> str:
        return f"<RequestQueries of {self._reader!r}>"


def _ms(epoch_s: float) -> int:
    """The first millisecond that does not lie before a time."""
    return min(math.ceil(epoch_s * 1000), _LAST_MS)


class _Rare(msgspec.Struct, frozen=True):
    """A column with a partial index: `condition` is the index's own, word for word, or it would not be used."""

    column: sa.Column[Any]
    condition: sa.TextClause

    def values(self, connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[Any]:
        """The column's values that occur, leaping from one to the next."""
        lowest = sa.select(sa.func.min(self.column)).where(self.condition, *conditions)
        value = connection.execute(lowest).scalar()
        while value is not None:
            yield value
            value = connection.execute(lowest.where(self.column > value)).scalar()


_STATUS = _Rare(REQUESTS.c.status, sa.text("status <> 200"))
_CATEGORY = _Rare(REQUESTS.c.category, sa.text("category <> ''"))


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    """The highest ids of what is wanted, at most so many, of those below `below`; the times are those of the filter."""

    wanted: RequestFilter
    low_ms: int
    high_ms: int
    below: str
    most: int

    def ids(self, connection: sa.Connection) -> list[str]:
        """The ids, from the highest on."""
        wanted, low = self.wanted, id_floor(self.low_ms)
        if low >= self.below:
            return []
        if wanted.statuses is not None and not wanted.statuses[0] <= _OK <= wanted.statuses[1]:
            return self._walked(connection, _STATUS, _STATUS.column.between(*wanted.statuses))
        fields = dict(wanted.fields.wanted())
        category = fields.pop(Dimension.CATEGORY, None)
        if fields or wanted.min_ms is not None:
            return self._searched(connection)
        if category:
            return self._walked(connection, _CATEGORY, _CATEGORY.column == category)
        if wanted.failed:
            return self._walked(connection, _CATEGORY, _CATEGORY.column != CALLER_GONE)
        return self._within(connection, [(low, self.below)], self.most)

    def _walked(self, connection: sa.Connection, rare: _Rare, values: sa.ColumnElement[bool]) -> list[str]:
        """By a partial index, in which each value of its column has an order of ids of its own."""
        found: list[str] = []
        for value in rare.values(connection, values):
            one = rare.column == value, rare.condition
            found += self._within(connection, [(id_floor(self.low_ms), self.below)], self.most, one)
        return sorted(found, reverse=True)[: self.most]

    def _searched(self, connection: sa.Connection) -> list[str]:
        """In the stretches of time in which the sums say that there is something."""
        found: list[str] = []
        within = self.low_ms // 1000, came_ms(self.below) // 1000 + 1
        for some in stretches(connection, self._in_sums, within):
            touched = [(id_floor(from_s * 1000), id_floor(to_s * 1000)) for from_s, to_s in some]
            low, high = id_floor(self.low_ms), self.below
            ranges = [(max(low, lowest), min(high, highest)) for lowest, highest in touched]
            found += self._within(connection, ranges, self.most - len(found))
            if len(found) >= self.most:
                break
        return found

    def _within(
        self, connection: sa.Connection, ranges: Sequence[tuple[str, str]], most: int, more: Sequence[Any] = ()
    ) -> list[str]:
        """The highest ids of what is wanted in these ranges."""
        ids = REQUESTS.c.id
        if not ranges:
            return []
        ids, conditions = REQUESTS.c.id, (*self._in_rows(), *more)
        parts = (
            sa.select(ids).where(ids >= low, ids < high, *conditions)
            for low, high in (padded(ranges, (self.below, self.below)) if len(ranges) > 1 else ranges)
        )
        statement = sa.union_all(*parts).order_by(sa.desc("id")).limit(most)  # with OR, SQLite reads everything
        return list(connection.execute(statement).scalars())

    def _in_rows(self) -> Iterator[sa.ColumnElement[bool]]:
        wanted = self.wanted
        yield from _matching(REQUESTS, wanted.fields)
        if wanted.statuses is not None:
            yield REQUESTS.c.status.between(*wanted.statuses)
        if wanted.failed:
            yield REQUESTS.c.category.not_in(("", CALLER_GONE))
        if wanted.min_ms is not None:
            yield REQUESTS.c.ms >= wanted.min_ms

    def _in_sums(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """What the sums of a time are in which there may be something."""
        conditions = _matching(table, self.wanted.fields)
        if self.wanted.failed:
            conditions.append(table.c.category.not_in(("", CALLER_GONE)))
        if self.wanted.min_ms is not None:
            slow = LATENCY_COLUMNS[bucket(LATENCY_MS, self.wanted.min_ms) :]
            conditions.append(sa.or_(*(table.c[column] > 0 for column in slow)))
        return sa.and_(sa.true(), *conditions)


def _matching(table: sa.Table, fields: UsageFilter) -> list[sa.ColumnElement[bool]]:
    """The conditions of a filter on a table that has its columns."""
    return [table.c[dimension] == value for dimension, value in fields.wanted()]


def _rows(connection: sa.Connection, ids: list[str], *, calls: bool) -> tuple[StoredRequest, ...]:
    """The rows with these ids, the highest first; with their calls, if wanted."""
    if not ids:
        return ()
    wanted = sa.select(REQUESTS).where(REQUESTS.c.id.in_(ids)).order_by(REQUESTS.c.id.desc())
    found = connection.execute(wanted).all()
    if not calls:
        return tuple(_request(row) for row in found)
    statement = sa.select(ATTEMPTS).where(ATTEMPTS.c.request_id.in_(ids))
    attempts = connection.execute(statement.order_by(ATTEMPTS.c.request_id, ATTEMPTS.c.ordinal)).all()
    by_id = {name: tuple(map(_attempt, rows)) for name, rows in groupby(attempts, key=lambda row: row.request_id)}
    return tuple(msgspec.structs.replace(_request(row), calls=_calls(row) or by_id.get(row.id, ())) for row in found)


def _request(row: sa.Row[Any]) -> StoredRequest:
    return StoredRequest(
        request_id=row.id,
        time=moment_text(row.started_ms),
        ended=moment_text(row.ended_ms),
        client=row.client,
        operation=row.operation,
        model_asked=row.model_asked,
        provider=row.provider,
        key=row.key,
        model=row.model,
        status=row.status,
        category=row.category,
        stream=row.stream,
        cached=row.cached,
        ms=round(row.ms, 2),
        upstream_ms=round(row.upstream_ms, 2),
        waited_ms=round(row.waited_ms, 2),
        first_token_ms=None if row.first_token_ms is None else round(row.first_token_ms, 2),
        attempts=row.attempts,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        estimated=row.estimated,
        cost_usd=None if row.cost_nanos is None else row.cost_nanos / _NANOS,
        price_version=row.price_version,
    )


def _calls(row: sa.Row[Any]) -> tuple[StoredAttempt, ...]:
    """The only call of a request whose row says everything about it (`schema.REQUESTS`); else none."""
    if row.sent_ms is None:
        return ()
    return (
        StoredAttempt(
            provider=row.provider,
            key=row.key,
            model=row.model,
            sent=moment_text(row.sent_ms),
            ms=round(row.upstream_ms, 2),
            kind="",
            scope="",
            status=0,
            message="",
            requests=1,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            usd_micros=row.usd_micros or 0,
            units=0,
        ),
    )


def _attempt(row: sa.Row[Any]) -> StoredAttempt:
    return StoredAttempt(
        provider=row.provider,
        key=row.key,
        model=row.model,
        sent=moment_text(row.sent_ms),
        ms=round(row.ms, 2),
        kind=row.kind,
        scope=row.scope,
        status=row.http_status,
        message=row.message,
        requests=row.requests,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        usd_micros=row.usd_micros,
        units=row.units,
    )
