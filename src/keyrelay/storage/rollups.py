"""Sums over requests and over what attempts used, made of the rows of one batch.

Minutes are summed row by row; hours and days are sums over the few minutes that came of it. Rows come out in the order
of their keys: writers that add to the same sums at the same time then wait for each other, and never in a circle.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS
from keyrelay.quota.rolling import TRANSIT_SKEW_S
from keyrelay.storage.schema import (
    FIRST_TOKEN_COLUMNS,
    LATENCY_COLUMNS,
    USAGE_DAYS,
    USAGE_HOURS,
    USAGE_MINUTES,
    USAGE_SUMS,
    USED_MINUTES,
    USED_QUARTERS,
    USED_SECONDS,
    USED_TOTALS,
)

MINUTE_S = 60
QUARTER_S = 900
HOUR_S = 3_600
DAY_S = 86_400

Row = tuple[Any, ...]
"""The values of a table's columns, in their order."""

UsageKey = tuple[int, str, str, str, str, str]
"""`schema.USAGE_KEY`."""

UsedKey = tuple[int, str, str, str]
"""Start, provider, key, model."""

_UNSEEN_MS = int(TRANSIT_SKEW_S * 1000)
"""How long an attempt whose end nobody saw is taken to have been under way."""

_SUMS = len(USAGE_SUMS)
_FIRST_TOKEN = _SUMS + len(LATENCY_COLUMNS)
_WIDTH = _FIRST_TOKEN + len(FIRST_TOKEN_COLUMNS)

_Key = TypeVar("_Key", bound=Hashable)


def usage_by_minute(requests: Iterable[Row]) -> dict[UsageKey, list[int]]:  # noqa: C901 - a call per row would cost more
    """The sums of rows of `requests` per minute; columns as in the roll-ups behind their key."""
    sums: dict[UsageKey, list[int]] = {}
    for (
        _,
        started_ms,
        _,
        client,
        _,
        _,
        provider,
        label,
        model,
        _,
        category,
        stream,
        cached,
        ms,
        _,
        _,
        first_token_ms,
        attempts,
        input_tokens,
        output_tokens,
        estimated,
        cost_nanos,
        _,
    ) in requests:
        key = (started_ms // 60_000 * MINUTE_S, provider, model, label, client, category)
        row = sums.get(key)
        if row is None:
            row = sums[key] = [0] * _WIDTH
        row[0] += 1
        if category:
            row[1] += 1
        if cached:
            row[2] += 1
        if estimated:
            row[3] += 1
        if cost_nanos is not None:
            row[10] += cost_nanos
        elif (input_tokens or output_tokens) and not cached:
            row[4] += 1
        if stream:
            row[5] += 1
        row[6] += attempts
        if attempts > 1:
            row[7] += 1
        row[8] += input_tokens
        row[9] += output_tokens
        row[11] += int(ms)
        row[_SUMS + bisect_left(LATENCY_MS, ms)] += 1
        if first_token_ms is not None:
            row[12] += int(first_token_ms)
            row[13] += 1
            row[_FIRST_TOKEN + bisect_left(FIRST_TOKEN_MS, first_token_ms)] += 1
    return sums


def usage_by(length_s: int, minutes: dict[UsageKey, list[int]]) -> dict[UsageKey, list[int]]:
    """Sums per hour or day of sums per minute, or of shorter ones of any length that divides theirs."""
    sums: dict[UsageKey, list[int]] = {}
    for (start_s, *rest), row in minutes.items():
        key: UsageKey = (start_s // length_s * length_s, *rest)  # type: ignore[assignment]  # as many as there were
        found = sums.get(key)
        sums[key] = row if found is None else [mine + more for mine, more in zip(found, row, strict=True)]
    return sums


def used_by_second(attempts: Iterable[Row]) -> dict[UsedKey, list[int]]:
    """What rows of `attempts` used, by the second in which they ended: the latest end, then `schema.USED_SUMS`."""
    sums: dict[UsedKey, list[int]] = {}
    for _, _, sent_ms, ms, provider, label, model, _, _, _, _, *used in attempts:
        if not any(used):
            continue
        ended_ms = sent_ms + (int(ms) + 1 if ms else _UNSEEN_MS)
        key = (ended_ms // 1000, provider, label, model)
        _add(sums, key, [ended_ms, *used])
    return sums


def used_by(length_s: int, sums: dict[UsedKey, list[int]]) -> dict[UsedKey, list[int]]:
    """The same by a longer time."""
    longer: dict[UsedKey, list[int]] = {}
    for (start_s, provider, label, model), row in sums.items():
        _add(longer, (start_s // length_s * length_s, provider, label, model), row)
    return longer


def used_by_place(seconds: dict[UsedKey, list[int]]) -> dict[tuple[str, str, str], list[int]]:
    """The same for all time."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for (_, provider, label, model), row in seconds.items():
        _add(sums, (provider, label, model), row)
    return sums


def _add(sums: dict[_Key, list[int]], key: _Key, row: Sequence[int]) -> None:
    found = sums.get(key)
    if found is None:
        sums[key] = list(row)
        return
    found[0] = max(found[0], row[0])
    for place in range(1, len(row)):
        found[place] += row[place]


def sums_of(requests: list[Row], attempts: list[Row]) -> Iterator[tuple[sa.Table, list[Row]]]:
    """What rows of both tables add to each roll-up, in the order in which every writer has to add them."""
    usage = usage_by_minute(requests)
    yield USAGE_MINUTES, _in_order(usage)
    usage = usage_by(HOUR_S, usage)
    yield USAGE_HOURS, _in_order(usage)
    yield USAGE_DAYS, _in_order(usage_by(DAY_S, usage))
    used = used_by_second(attempts)
    yield USED_SECONDS, _in_order(used)
    used = used_by(MINUTE_S, used)
    yield USED_MINUTES, _in_order(used)
    used = used_by(QUARTER_S, used)
    yield USED_QUARTERS, _in_order(used)
    yield USED_TOTALS, _in_order(used_by_place(used))


def _in_order(sums: Mapping[Any, list[int]]) -> list[Row]:
    return [(*key, *sums[key]) for key in sorted(sums)]
