"""Usage in lines for other programs: all that `GET /api/v1/usage` says of a group and interval, side by side."""

from typing import Any

import msgspec

from keyrelay.api.usage import EXAMPLE_TOTALS, UsagePlan
from keyrelay.core.moments import rfc3339
from keyrelay.core.usage_sums import SumsRow, Totals, totals_of
from keyrelay.core.usage_views import Dimension, Group


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one group and interval, in one line.

    `start` is when the interval begins, or the range where no interval was asked for. Of `provider`, `model`, `key`,
    `client` and `category` those are empty that were not grouped by. The rest is what `Totals` says, durations in
    milliseconds.
    """

    start: str
    provider: str
    model: str
    key: str
    client: str
    category: str
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
    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    first_token_p50_ms: float | None
    first_token_p90_ms: float | None
    first_token_p95_ms: float | None
    first_token_p99_ms: float | None


_SHARED = tuple(name for name in UsageLine.__struct_fields__ if name in Totals.__struct_fields__)


def usage_line(row: SumsRow, plan: UsagePlan, group_by: Dimension | None) -> UsageLine:
    """The line of a row."""
    start_s = row.start_s if plan.interval else plan.span.from_s
    return _line(start_s, row.group, group_by, totals_of(row.sums))


def _line(start_s: int, group: Group, group_by: Dimension | None, totals: Totals) -> UsageLine:
    names: dict[str, Any] = {each.value: "" for each in Dimension} | {"provider": group.provider}
    if group_by is not None:
        names[group_by] = group.name or ""
    latency, first_token = totals.latency_ms, totals.first_token_ms
    return UsageLine(
        start=rfc3339(start_s),
        **names,
        **{name: getattr(totals, name) for name in _SHARED},
        latency_p50_ms=latency.p50,
        latency_p90_ms=latency.p90,
        latency_p95_ms=latency.p95,
        latency_p99_ms=latency.p99,
        first_token_p50_ms=first_token.p50,
        first_token_p90_ms=first_token.p90,
        first_token_p95_ms=first_token.p95,
        first_token_p99_ms=first_token.p99,
    )


USAGE_LINE_EXAMPLE = _line(1_795_262_400, Group("groq"), Dimension.PROVIDER, EXAMPLE_TOTALS)
