"""`GET /api/v1/usage`: what was used, in numbers: together, by group, over time.

All of it comes from sums, never from single requests, so that a year costs no more than a day.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, FastAPI, Query, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.stored import (
    Range,
    Tagged,
    UsageReader,
    fields_seen_by_tag,
    from_store,
    unavailable,
    wanted_range,
    wrong,
)
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS
from keyrelay.core.moments import rfc3339
from keyrelay.core.usage_sums import Percentiles, SumsRow, Totals, UsageSums, totals_of
from keyrelay.core.usage_views import (
    DAY_S,
    MAX_POINTS,
    Dimension,
    Group,
    Interval,
    Kept,
    Span,
    UsageFilter,
    UsageQuery,
    cover,
    fitting_interval,
    kept_of,
    points,
    widened,
)
from keyrelay.settings import Settings

MAX_GROUPS = 1_000
MAX_CELLS = 40_000
"""Most intervals of all groups together."""

_GROUPS = 20
_DEFAULT_RANGE_S = DAY_S

GroupBy = Literal["none", "provider", "model", "key", "client", "category"]
IntervalName = Literal["none", "auto", "minute", "hour", "day"]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one interval, which begins at `start` (RFC 3339)."""

    start: str
    totals: Totals


class UsageGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one group.

    `name` is the value that they share: null for requests that have none, such as those that were answered whole and
    so have no category. `provider` is that of a key, else null. `series` has its intervals, if one was asked for.
    """

    name: str | None
    provider: str | None
    totals: Totals
    series: tuple[Point, ...]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The upper bounds, in milliseconds, of the buckets that durations were counted in: percentiles lie in between."""

    latency_ms: tuple[float, ...]
    first_token_ms: tuple[float, ...]


class UsageReport(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What the requests add up to that came from `from` up to, and without, `to`.

    The range is the one asked for, widened to whole minutes; where sums per minute are not kept any more to whole
    hours, and where those are not, to whole days (UTC). `groups` are the largest of `groups_total`. Intervals without
    a request are left out of `series`; the first and the last may lie partly outside of the range, and count what
    lies inside.
    """

    start: str
    end: str
    group_by: str | None
    interval: str | None
    totals: Totals
    groups: tuple[UsageGroup, ...]
    groups_total: int
    series: tuple[Point, ...]
    buckets: Bounds


class UsageOptions(msgspec.Struct, frozen=True):
    """How a query wants usage to be divided."""

    group_by: Dimension | None
    interval: IntervalName


def wanted_options(
    group_by: Annotated[
        GroupBy, Query(description="What to group by; `category` is the kind of failure, `key` a key's label.")
    ] = "none",
    interval: Annotated[
        IntervalName,
        Query(description="Length of a series' intervals, in UTC; `auto`: what makes a readable chart of the range."),
    ] = "none",
) -> UsageOptions:
    """The options that a query asks for."""
    return UsageOptions(None if group_by == "none" else Dimension(group_by), interval)


class UsagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The range that is covered, and the interval of its series."""

    span: Span
    interval: Interval | None

    def query(self, fields: UsageFilter, group_by: Dimension | None) -> UsageQuery:
        """What to ask the store for."""
        pieces = cover(self.span, self.interval or Interval.DAY)
        return UsageQuery(pieces=pieces, fields=fields, group_by=group_by, interval=self.interval)


class UsagePlanner:
    """Says which sums answer a query: as far as they are kept."""

    __slots__ = ("_epoch_s", "_reader", "_settings")

    def __init__(self, reader: UsageReader, settings: Settings, epoch_s: Callable[[], float]) -> None:
        self._reader = reader
        self._settings = settings
        self._epoch_s = epoch_s

    async def plan(self, asked: Range, options: UsageOptions, *, bounded: bool) -> UsagePlan:
        """The plan; `bounded` says with no more intervals than may be in one answer. Raise CallerError (400, 503)."""
        now_s = self._epoch_s()
        start_s, end_s = asked.moments(now_s)
        end_s = now_s if end_s is None else end_s
        start_s = max(end_s - _DEFAULT_RANGE_S, 0.0) if start_s is None else start_s
        kept = await self._kept(now_s)
        span = widened(start_s, end_s, kept)
        return UsagePlan(span=span, interval=_interval(options.interval, span, kept, bounded=bounded))

    async def _kept(self, now_s: float) -> Kept:
        settings = self._settings
        oldest = await from_store(self._reader.oldest())
        return kept_of(oldest, now_s - settings.keep_minutes_days * DAY_S, now_s - settings.keep_hours_days * DAY_S)

    def __repr__(self) -> str:
        return f"<UsagePlanner of {self._reader!r}>"


def _interval(name: IntervalName, span: Span, kept: Kept, *, bounded: bool) -> Interval | None:
    """The interval of this name. Raise CallerError (400) when its sums are gone, or when it makes too many points."""
    if name == "none":
        return None
    if name == "auto":
        return fitting_interval(span, kept)
    interval, finest = Interval(name), kept.finest(span.from_s)
    if interval.seconds < finest.seconds:
        problem = f"sums per {interval} are not kept for as long as that: ask for {finest}, or for a later `from`"
        raise wrong("interval", problem)
    count = points(span, interval)
    if bounded and count > MAX_POINTS:
        problem = (
            f"{count} intervals are more than the {MAX_POINTS} of one answer: ask for longer ones, for a shorter "
            "range, or for an export"
        )
        raise wrong("interval", problem)
    return interval


class UsageView:
    """The route of usage in numbers. `tagged` says which clients have a tag."""

    __slots__ = ("_access", "_planner", "_reader", "_tagged")

    def __init__(self, reader: UsageReader, planner: UsagePlanner, access: Access, tagged: Tagged) -> None:
        self._reader = reader
        self._planner = planner
        self._access = access
        self._tagged = tagged

    def install(self, app: FastAPI) -> None:
        """Add the route."""
        fields_of = Depends(fields_seen_by_tag(self._access.requires(Permission.CLIENT, "usage"), self._tagged))

        @app.get(
            "/api/v1/usage",
            tags=["usage"],
            summary="What was used: requests, tokens, cost, latency, failures.",
            description="A client sees its own usage, the operator everyone's. Without `from`: 24 hours.",
            response_class=Response,
            responses=described(UsageReport, _EXAMPLE, 400, 403) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def usage(
            asked: Annotated[Range, Depends(wanted_range)],
            options: Annotated[UsageOptions, Depends(wanted_options)],
            limit: Annotated[int, Query(ge=1, le=MAX_GROUPS, description="At most so many groups.")] = _GROUPS,
            fields: UsageFilter = fields_of,
        ) -> Response:
            return await self.report(asked, options, fields, limit)

    def schemas(self) -> dict[str, Any]:
        """The schemas of the documents."""
        return schemas_of(UsageReport)

    async def report(self, asked: Range, options: UsageOptions, fields: UsageFilter, limit: int) -> Response:
        """The report. Raise CallerError (400, 503)."""
        plan = await self._planner.plan(asked, options, bounded=True)
        if options.group_by and plan.interval and limit * points(plan.span, plan.interval) > MAX_CELLS:
            problem = f"with a series, groups times intervals may be {MAX_CELLS} at most: ask for fewer groups"
            raise wrong("limit", problem)
        sums = await from_store(self._reader.report(plan.query(fields, options.group_by), limit))
        return await asyncio.to_thread(lambda: answer(_report(sums, plan, options)))  # thousands of lines take a while

    def __repr__(self) -> str:
        return f"<UsageView of {self._reader!r}>"


def _report(sums: UsageSums, plan: UsagePlan, options: UsageOptions) -> UsageReport:
    series: defaultdict[Group, list[Point]] = defaultdict(list)
    for row in sums.group_series:
        series[row.group].append(_point(row))
    return UsageReport(
        start=rfc3339(plan.span.from_s),
        end=rfc3339(plan.span.to_s),
        group_by=options.group_by,
        interval=plan.interval,
        totals=totals_of(sums.totals),
        groups=tuple(_group(row, series[row.group]) for row in sums.groups),
        groups_total=sums.groups_total,
        series=tuple(map(_point, sums.series)),
        buckets=_BUCKETS,
    )


def _point(row: SumsRow) -> Point:
    return Point(start=rfc3339(row.start_s), totals=totals_of(row.sums))


def _group(row: SumsRow, series: list[Point]) -> UsageGroup:
    group = row.group
    return UsageGroup(
        name=group.name or None, provider=group.provider or None, totals=totals_of(row.sums), series=tuple(series)
    )


_BUCKETS = Bounds(latency_ms=LATENCY_MS, first_token_ms=FIRST_TOKEN_MS)

EXAMPLE_TOTALS = Totals(
    requests=1250,
    failed=12,
    cancelled=4,
    cached=240,
    streams=800,
    attempts=1031,
    retried=18,
    input_tokens=812_400,
    output_tokens=301_770,
    estimated_share=0.008,
    cost_usd=0.6412,
    unpriced=3,
    failure_rate=0.0096,
    cache_hit_rate=0.192,
    latency_ms=Percentiles(p50=412.5, p90=1830.0, p95=2610.0, p99=6120.0),
    first_token_ms=Percentiles(p50=181.0, p90=402.0, p95=640.0, p99=1500.0),
)

_EXAMPLE = UsageReport(
    start="2026-11-20T12:00:00Z",
    end="2026-11-21T12:00:00Z",
    group_by="provider",
    interval="hour",
    totals=EXAMPLE_TOTALS,
    groups=(
        UsageGroup(
            name="groq",
            provider=None,
            totals=EXAMPLE_TOTALS,
            series=(Point(start="2026-11-21T11:00:00Z", totals=EXAMPLE_TOTALS),),
        ),
    ),
    groups_total=1,
    series=(Point(start="2026-11-21T11:00:00Z", totals=EXAMPLE_TOTALS),),
    buckets=_BUCKETS,
)
