"""Sums over requests and over what attempts used, made of the requests of one batch.

They are summed by group and minute while they are read (`batches`); hours and days are sums over the few minutes that
come of it. Rows come out in the order of their keys: writers that add to the same sums at the same time then wait for
each other, and never in a circle.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

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
    USED_SUMS,
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

GroupKey = tuple[str, str, str, str, str]
"""Provider, model, key, client, category: what requests of a batch are summed by."""

_REQUESTS, _FAILED, CACHED, ESTIMATED, UNPRICED, STREAMS, MORE_ATTEMPTS, RETRIED = range(8)
INPUT_TOKENS, OUTPUT_TOKENS, COST_NANOS, MS_SUM, FIRST_TOKEN_MS_SUM, FIRST_TOKENS = range(8, len(USAGE_SUMS))
"""The places of `schema.USAGE_SUMS`. Of attempts a group counts those beyond a request's first."""

LATENCY_AT = len(USAGE_SUMS)
FIRST_TOKEN_AT = LATENCY_AT + len(LATENCY_COLUMNS)
_WIDTH = FIRST_TOKEN_AT + len(FIRST_TOKEN_COLUMNS)

_Key = TypeVar("_Key", bound=Hashable)


class Group(msgspec.Struct, frozen=True, eq=False):
    """What the requests of a batch sum up to that have these in common, as they are kept.

    By the minute in which they began, as in the roll-ups; but of `requests` and `failed`, which the buckets of latency
    tell, nothing, and of `attempts` only those beyond one. By the second in which calls ended: the latest end, then
    `schema.USED_SUMS`, of those that have no row of their own.
    """

    provider: str
    model: str
    key: str
    client: str
    category: str
    minutes: dict[int, list[int]] = msgspec.field(default_factory=dict)
    seconds: dict[int, list[int]] = msgspec.field(default_factory=dict)

    def new_minute(self, minute: int) -> list[int]:
        """The sums of a minute of which there is nothing yet."""
        sums = self.minutes[minute] = [0] * _WIDTH
        return sums

    def new_second(self, second: int) -> list[int]:
        """The same of a second."""
        sums = self.seconds[second] = [0] * (1 + len(USED_SUMS))
        return sums


def sums_of(groups: Iterable[Group], calls: Mapping[UsedKey, list[int]]) -> Iterator[tuple[sa.Table, list[Row]]]:
    """What groups, and calls by themselves, add to each roll-up, in the order in which every writer has to add it."""
    usage: dict[UsageKey, list[int]] = {}
    used = {key: row.copy() for key, row in calls.items()}
    for group in groups:
        _add_group(usage, used, group)
    yield USAGE_MINUTES, _in_order(usage)
    usage = usage_by(HOUR_S, usage)
    yield USAGE_HOURS, _in_order(usage)
    yield USAGE_DAYS, _in_order(usage_by(DAY_S, usage))
    yield USED_SECONDS, _in_order(used)
    used = used_by(MINUTE_S, used)
    yield USED_MINUTES, _in_order(used)
    used = used_by(QUARTER_S, used)
    yield USED_QUARTERS, _in_order(used)
    yield USED_TOTALS, _in_order(used_by_place(used))


def _add_group(usage: dict[UsageKey, list[int]], used: dict[UsedKey, list[int]], group: Group) -> None:
    for minute, counted in group.minutes.items():
        sums = counted.copy()
        sums[_REQUESTS] = requests = sum(sums[LATENCY_AT:FIRST_TOKEN_AT])
        sums[_FAILED] = requests if group.category else 0
        sums[MORE_ATTEMPTS] += requests
        key = minute * MINUTE_S, group.provider, group.model, group.key, group.client, group.category
        _add_usage(usage, key, sums)
    for second, amounts in group.seconds.items():
        add_used(used, (second, group.provider, group.key, group.model), amounts)


def usage_by(length_s: int, minutes: dict[UsageKey, list[int]]) -> dict[UsageKey, list[int]]:
    """Sums per hour or day of sums per minute, or of shorter ones of any length that divides theirs."""
    sums: dict[UsageKey, list[int]] = {}
    for (start_s, *rest), row in minutes.items():
        key: UsageKey = (start_s // length_s * length_s, *rest)  # type: ignore[assignment]  # as many as there were
        _add_usage(sums, key, row)
    return sums


def _add_usage(sums: dict[UsageKey, list[int]], key: UsageKey, row: list[int]) -> None:
    found = sums.get(key)
    sums[key] = row if found is None else [mine + more for mine, more in zip(found, row, strict=True)]


def used_by(length_s: int, sums: dict[UsedKey, list[int]]) -> dict[UsedKey, list[int]]:
    """What was used, by a longer time."""
    longer: dict[UsedKey, list[int]] = {}
    for (start_s, provider, label, model), row in sums.items():
        add_used(longer, (start_s // length_s * length_s, provider, label, model), row)
    return longer


def used_by_place(seconds: dict[UsedKey, list[int]]) -> dict[tuple[str, str, str], list[int]]:
    """The same for all time."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for (_, provider, label, model), row in seconds.items():
        add_used(sums, (provider, label, model), row)
    return sums


def add_used(sums: dict[_Key, list[int]], key: _Key, row: list[int]) -> None:
    """Add the latest end and what was used until then to what there is of the same."""
    found = sums.get(key)
    if found is None:
        sums[key] = row.copy()
        return
    found[0] = max(found[0], row[0])
    for place in range(1, len(row)):
        found[place] += row[place]


def _in_order(sums: Mapping[Any, list[int]]) -> list[Row]:
    return [(*key, *sums[key]) for key in sorted(sums)]
