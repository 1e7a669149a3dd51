"""What kept usage adds up to: sums as the store has them, reports made of sums, and totals as people read them."""

from collections.abc import Sequence

import msgspec

from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS, percentile
from keyrelay.core.usage_views import Group, UsageQuery

_NANOS = 1_000_000_000


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What the sums of a group of requests add up to; `Totals` says what each one means."""

    requests: int = 0
    failed: int = 0
    cancelled: int = 0
    cached: int = 0
    streams: int = 0
    attempts: int = 0
    retried: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0
    cost_nanos: int = 0
    unpriced: int = 0
    latency: tuple[int, ...] = ()
    first_token: tuple[int, ...] = ()


_COUNTS = tuple(name for name in Sums.__struct_fields__ if name not in {"latency", "first_token"})


class SumsRow(msgspec.Struct, frozen=True):
    """The sums of a group in the interval that begins at `start_s` (epoch); 0 where no interval was asked for."""

    start_s: int
    group: Group
    sums: Sums


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is made of: `groups` are the largest of `groups_total`, `group_series` the intervals of those."""

    totals: Sums
    groups: tuple[SumsRow, ...] = ()
    groups_total: int = 0
    series: tuple[SumsRow, ...] = ()
    group_series: tuple[SumsRow, ...] = ()


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds, each right to within its bucket; null where nothing was measured."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What requests add up to.

    `failed` ended without a whole answer; of `cancelled` the caller left before the end. `cached` were answered from
    the cache or by a call made for another request, `retried` took more than one call, `attempts` counts the calls of
    all. `estimated_share` is the share of the requests whose tokens nobody reported. `cost_usd` is what is known of
    the cost, at list prices; `unpriced` counts the requests whose cost is not known, and which are not in it.
    `failure_rate` and `cache_hit_rate` are shares of `requests`; shares of nothing are null. `latency_ms` is from
    acceptance to the last byte, `first_token_ms` that to the first content of a stream.
    """

    requests: int
    failed: int
    cancelled: int
    cached: int
    streams: int
    attempts: int
    retried: int
    input_tokens: int
    output_tokens: int
    estimated_share: float | None
    cost_usd: float
    unpriced: int
    failure_rate: float | None
    cache_hit_rate: float | None
    latency_ms: Percentiles
    first_token_ms: Percentiles


def totals_of(sums: Sums) -> Totals:
    """Sums with what follows from them."""
    measured = sums.requests
    return Totals(
        requests=measured,
        failed=sums.failed,
        cancelled=sums.cancelled,
        cached=sums.cached,
        streams=sums.streams,
        attempts=sums.attempts,
        retried=sums.retried,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        estimated_share=_share(sums.estimated, measured),
        cost_usd=sums.cost_nanos / _NANOS,
        unpriced=sums.unpriced,
        failure_rate=_share(sums.failed, measured),
        cache_hit_rate=_share(sums.cached, measured),
        latency_ms=_percentiles(LATENCY_MS, sums.latency),
        first_token_ms=_percentiles(FIRST_TOKEN_MS, sums.first_token),
    )


def added(several: Sequence[Sums]) -> Sums:
    """Several sums in one."""
    if len(several) == 1:
        return several[0]
    counts = {name: sum([getattr(sums, name) for sums in several]) for name in _COUNTS}
    latency = tuple(map(sum, zip(*(sums.latency for sums in several), strict=True)))
    first_token = tuple(map(sum, zip(*(sums.first_token for sums in several), strict=True)))
    return Sums(**counts, latency=latency, first_token=first_token)


def report_of(cells: Sequence[SumsRow], query: UsageQuery, most_groups: int) -> UsageSums:
    """The report that follows from the sums of each group and interval, which are in order of time."""
    by_group: dict[Group, list[SumsRow]] = {}
    by_start: dict[int, list[SumsRow]] = {}
    for cell in cells:
        by_group.setdefault(cell.group, []).append(cell)
        by_start.setdefault(cell.start_s, []).append(cell)
    groups: list[SumsRow] = []
    if query.group_by is not None:
        groups = [SumsRow(0, group, _added(rows)) for group, rows in by_group.items()]
        groups.sort(key=_most_first)
    largest = tuple(groups[:most_groups])
    series: list[SumsRow] = []
    group_series: list[SumsRow] = []
    if query.interval is not None:
        series = [SumsRow(start_s, Group(), _added(rows)) for start_s, rows in by_start.items()]
        group_series = [cell for group in largest for cell in by_group[group.group]]
    return UsageSums(
        totals=_added(cells) if cells else Sums(),
        groups=largest,
        groups_total=len(groups),
        series=tuple(series),
        group_series=tuple(group_series),
    )


def _added(rows: Sequence[SumsRow]) -> Sums:
    return added([row.sums for row in rows])


def _most_first(row: SumsRow) -> tuple[int, str, str]:
    return -row.sums.requests, row.group.name or "", row.group.provider


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percentiles(bounds: Sequence[float], counts: Sequence[int]) -> Percentiles:
    p50, p90, p95, p99 = (percentile(bounds, counts, percent) for percent in (50, 90, 95, 99))
    return Percentiles(p50=_rounded(p50), p90=_rounded(p90), p95=_rounded(p95), p99=_rounded(p99))


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
