"""Failures as people look at them: how often what failed, with whom, and whether the request was answered all the same.

Failed calls are rows of `attempts`, which has hardly any others; requests that were refused without a call are rows of
`requests` alone, found by the index of what has a category. The latest are looked at, so many that nobody waits. Those
of a client that has few are looked for where the sums say that there are any (`storage.stretches`).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from keyrelay.core.error_groups import FailureCount, FailureCounts, FailureFilter
from keyrelay.core.usage_views import CALLER_GONE
from keyrelay.storage.reading import PromptReader
from keyrelay.storage.schema import ATTEMPTS, REQUESTS, id_floor
from keyrelay.storage.stretches import padded, stretches

MAX_FAILURES = 10_000
"""Failed calls that are looked at."""

MAX_OF_ALL = 2 * MAX_FAILURES
"""Failed calls of everybody that are looked through for those of a client that has many."""

MAX_CALLS = 50_000
"""The latest calls with a row of their own that are looked at for how often each key failed."""

MAX_REFUSED = 2_000
"""Requests that are looked at of each category with which they can end."""

MAX_ROWS = 2_500
"""Different rows that are given back: the most frequent ones."""

MAX_LOOKS = 5
"""Portions of stretches of time that are looked up for a client; who has more is not rare."""

REFUSED = "Refused before any call."
"""What stands for the message of a request without a call: nobody but Keyrelay has said anything."""

_BAD = sa.text("category <> ''")  # the condition of the index, word for word, or it would not be used

_Range = tuple[str, str]
"""From one id up to, and without, another."""

_EMPTY: _Range = (id_floor(0), id_floor(0))


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much is looked at."""

    failures: int = MAX_FAILURES
    of_all: int = MAX_OF_ALL
    refused: int = MAX_REFUSED
    calls: int = MAX_CALLS


class ErrorQueries:
    """Reads failures. Raises StoreError when the store cannot answer now."""

    __slots__ = ("_bounds", "_reader")

    def __init__(self, reader: PromptReader, bounds: "Bounds | None" = None) -> None:
        self._reader = reader
        self._bounds = bounds or Bounds()

    async def failed_calls(self, from_s: float) -> dict[tuple[str, str], int]:
        """How often calls failed in requests since a time (epoch seconds), by provider and key, answered or not."""
        statement = _failed_calls(id_floor(math.floor(from_s * 1000)), self._bounds.calls)
        rows = await self._reader.read(lambda connection: connection.execute(statement).all())
        return {(provider, key): count for provider, key, count in rows}

    async def failures(self, wanted: FailureFilter) -> FailureCounts:
        """The failures that are wanted."""
        return await self._reader.read(lambda connection: _Search(connection, wanted, self._bounds).found())

    def __repr__(self) -> str:
        return f"<ErrorQueries of {self._reader!r}>"


class _Search:
    """One search; `_since_ms` is from when on everything has been looked at."""

    __slots__ = ("_bounds", "_connection", "_high", "_low", "_rows", "_since_ms", "_wanted")

    def __init__(self, connection: sa.Connection, wanted: FailureFilter, bounds: Bounds) -> None:
        self._connection = connection
        self._wanted = wanted
        self._bounds = bounds
        self._low, self._high = id_floor(math.ceil(wanted.from_s * 1000)), id_floor(math.ceil(wanted.to_s * 1000))
        self._rows: list[FailureCount] = []
        self._since_ms: int | None = None

    def found(self) -> FailureCounts:
        """What is found."""
        wanted = self._wanted
        with_refused = not any((wanted.provider, wanted.key, wanted.model))
        portions = None if wanted.client is None else self._where_few()
        if portions is None:
            self._look_at_latest()
            for category in self._categories() if with_refused else ():
                self._look_at_refused(category)
        else:
            for ranges in portions:
                self._take_calls(self._calls(ranges))
                if with_refused:
                    self._take_refused(self._refused_in(ranges))
        rows = sorted(self._rows, key=lambda each: -each.count)
        left_out = sum(each.count for each in rows[MAX_ROWS:])
        return FailureCounts(counts=tuple(rows[:MAX_ROWS]), since_ms=self._since_ms, left_out=left_out)

    def _where_few(self) -> list[list[_Range]] | None:
        """Where a client has any failures, some ranges at a time; None when that is in more places than few."""
        wanted = self._wanted

        def of_client(table: sa.Table) -> sa.ColumnElement[bool]:
            columns = table.c
            return sa.and_(columns.client == wanted.client, sa.or_(columns.category != "", columns.retried > 0))

        found = stretches(self._connection, of_client, (math.floor(wanted.from_s), math.ceil(wanted.to_s)))
        portions = list(islice((each for each in found if each), MAX_LOOKS))
        if len(portions) == MAX_LOOKS:
            return None
        return [
            [(max(self._low, id_floor(from_s * 1000)), min(self._high, id_floor(to_s * 1000))) for from_s, to_s in some]
            for some in portions
        ]

    def _look_at_latest(self) -> None:
        """The latest failed calls of all, or of a client those that are among them."""
        most = self._bounds.failures if self._wanted.client is None else self._bounds.of_all
        calls = self._calls([(self._low, self._high)]).order_by(sa.desc("request_id")).limit(most)
        self._take_calls(calls)
        last = self._connection.execute(calls.with_only_columns(ATTEMPTS.c.sent_ms).limit(1).offset(most - 1)).scalar()
        self._cut(last)

    def _calls(self, ranges: Sequence[_Range]) -> Any:
        """The failed calls that are wanted, whoever's requests they were for."""
        calls, wanted = ATTEMPTS.c, self._wanted
        conditions = [calls.kind != "" if wanted.kind is None else calls.kind == wanted.kind]
        for column, value in ((calls.provider, wanted.provider), (calls.key, wanted.key), (calls.model, wanted.model)):
            if value is not None:
                conditions.append(column == value)
        parts = [
            sa.select(calls.request_id, calls.sent_ms, *_same(calls)).where(
                calls.request_id >= low, calls.request_id < high, *conditions
            )
            for low, high in (padded(ranges, _EMPTY) if len(ranges) > 1 else ranges)
        ]
        return parts[0] if len(parts) == 1 else sa.union_all(*parts)

    def _take_calls(self, calls: Any) -> None:
        """Count failed calls by what they have in common."""
        requests, latest = REQUESTS.c, calls.subquery()
        same = _same(latest.c)
        counted = (
            sa.select(
                *same,
                requests.client,
                sa.func.count(),
                sa.func.sum(sa.case((requests.category == "", 1), else_=0)),
                sa.func.min(latest.c.sent_ms),
                sa.func.max(latest.c.sent_ms),
            )
            .select_from(latest.join(REQUESTS, requests.id == latest.c.request_id))
            .group_by(*same, requests.client)
        )
        if self._wanted.client is not None:
            counted = counted.where(requests.client == self._wanted.client)
        for row in self._connection.execute(counted):
            provider, key, model, kind, status, message, client, count, recovered, first_ms, last_ms = row
            self._rows.append(
                FailureCount(
                    kind=kind,
                    message=message,
                    provider=provider,
                    key=key,
                    model=model,
                    client=client,
                    status=status,
                    count=count,
                    recovered=int(recovered),
                    first_ms=first_ms,
                    last_ms=last_ms,
                )
            )

    def _categories(self) -> Iterator[str]:
        """The categories with which requests have ended, leaping from one to the next; a caller who left is none."""
        if self._wanted.kind is not None:
            yield self._wanted.kind
            return
        lowest = sa.select(sa.func.min(REQUESTS.c.category)).where(_BAD)
        category = self._connection.execute(lowest).scalar()
        while category is not None:
            if category != CALLER_GONE:
                yield category
            category = self._connection.execute(lowest.where(REQUESTS.c.category > category)).scalar()

    def _look_at_refused(self, category: str) -> None:
        """The latest requests that ended like this, those that no call was made for."""
        columns, most = REQUESTS.c, self._bounds.refused
        latest = (
            sa.select(*_of_refused(columns), columns.attempts, columns.started_ms)
            .where(columns.category == category, _BAD, columns.id >= self._low, columns.id < self._high)
            .order_by(columns.id.desc())
            .limit(most)
        )
        self._take_refused(latest)
        last = self._connection.execute(latest.with_only_columns(columns.started_ms).limit(1).offset(most - 1)).scalar()
        self._cut(last)

    def _refused_in(self, ranges: Sequence[_Range]) -> Any:
        """The requests of a client in these ranges that ended badly."""
        columns, wanted = REQUESTS.c, self._wanted
        conditions = [columns.client == wanted.client, columns.category.not_in(("", CALLER_GONE))]
        if wanted.kind is not None:
            conditions.append(columns.category == wanted.kind)
        parts = [
            sa.select(*_of_refused(columns), columns.attempts, columns.started_ms).where(
                columns.id >= low, columns.id < high, *conditions
            )
            for low, high in (padded(ranges, _EMPTY) if len(ranges) > 1 else ranges)
        ]
        return parts[0] if len(parts) == 1 else sa.union_all(*parts)

    def _take_refused(self, requests: Any) -> None:
        """Count requests without a call by what they have in common."""
        found = requests.subquery()
        same, started = _of_refused(found.c), found.c.started_ms
        counted: sa.Select[Any] = sa.select(*same, sa.func.count(), sa.func.min(started), sa.func.max(started))
        counted = counted.where(found.c.attempts == 0).group_by(*same)
        if self._wanted.client is not None:
            counted = counted.where(found.c.client == self._wanted.client)
        for client, model, status, category, count, first_ms, last_ms in self._connection.execute(counted):
            self._rows.append(
                FailureCount(
                    kind=category,
                    message=REFUSED,
                    provider="",
                    key="",
                    model=model,
                    client=client,
                    status=status,
                    count=count,
                    recovered=0,
                    first_ms=first_ms,
                    last_ms=last_ms,
                )
            )

    def _cut(self, since_ms: int | None) -> None:
        """Note that there may be more before this time."""
        if since_ms is not None:
            self._since_ms = max(since_ms, self._since_ms or 0)


def _failed_calls(low: str, most: int) -> sa.Select[Any]:
    """Failed calls by key among the latest, of which no more are read however few of them failed."""
    calls = ATTEMPTS.c
    latest = (
        sa.select(calls.provider, calls.key, calls.kind)
        .where(calls.request_id >= low)
        .order_by(calls.request_id.desc())
        .limit(most)
        .subquery()
    )
    key = latest.c.provider, latest.c.key
    return sa.select(*key, sa.func.count()).where(latest.c.kind != "").group_by(*key)


def _same(columns: Any) -> tuple[sa.ColumnElement[Any], ...]:
    """What failed calls that are counted together have in common, besides the client."""
    return columns.provider, columns.key, columns.model, columns.kind, columns.http_status, columns.message


def _of_refused(columns: Any) -> tuple[sa.ColumnElement[Any], ...]:
    """What refused requests that are counted together have in common."""
    return columns.client, columns.model_asked, columns.status, columns.category
