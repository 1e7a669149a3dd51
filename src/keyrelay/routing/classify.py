"""From an error answer to a failure: kind, scope, until when.

The provider's own rows come first, then the generic table. Rows are compiled once per provider.
"""

import math
import re
from collections.abc import Iterable

import msgspec

from keyrelay.core.failures import Failure, FailureKind, FailureScope, ProviderError, Rest
from keyrelay.core.limits import Window, WindowKind
from keyrelay.core.providers import FailureRow
from keyrelay.quota.calendars import next_reset
from keyrelay.routing.failure_table import GENERIC_FAILURES

BACKOFF = "backoff"
LONGEST_BACKOFF_S = 60.0
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HIGHEST_STRIKES = 16
_UNCOUNTED_KINDS = frozenset(
    {FailureKind.AUTH, FailureKind.PERMISSION, FailureKind.MODEL, FailureKind.REQUEST, FailureKind.CONTEXT}
)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What time-bound consequences are computed from.

    `now_s` epoch seconds; `zone` the provider's calendar; `strikes` how often this scope was refused in a row;
    `random` a number in [0, 1) that spreads returns, so that not everyone comes back in the same instant.
    """

    now_s: float
    zone: str = "UTC"
    strikes: int = 0
    random: float = 0.0


class _CompiledRow:
    __slots__ = ("codes", "detail", "message", "row", "statuses")

    def __init__(self, row: FailureRow) -> None:
        self.row = row
        self.statuses = frozenset(row.status)
        self.codes = frozenset(row.code)
        self.message = re.compile(row.message, re.IGNORECASE) if row.message else None
        self.detail = re.compile(row.detail, re.IGNORECASE) if row.detail else None

    def matches(self, error: ProviderError) -> bool:
        if self.statuses and error.status not in self.statuses:
            return False
        if self.codes and self.codes.isdisjoint(error.codes):
            return False
        if self.message is not None and not self.message.search(error.message):
            return False
        return self.detail is None or bool(self.detail.search(error.detail))


class Classifier:
    """The failure table of one provider, in front of the generic one."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[FailureRow] = ()) -> None:
        self._rows = tuple(_CompiledRow(row) for row in (*rows, *GENERIC_FAILURES))

    def row_for(self, error: ProviderError) -> FailureRow:
        """The first row that matches; the last generic row matches everything."""
        return next(compiled.row for compiled in self._rows if compiled.matches(error))

    def classify(self, error: ProviderError, moment: Moment) -> Failure:
        """What an error answer means."""
        row = self.row_for(error)
        kind, scope = row.kind, row.scope
        if error.should_retry is False and kind is FailureKind.SERVICE and scope is FailureScope.REQUEST:
            kind = FailureKind.REQUEST
        return Failure(
            kind=kind,
            scope=scope,
            message=error.message or f"HTTP {error.status}",
            status=error.status,
            code=error.codes[0] if error.codes else "",
            until_s=rest_until(row, error.hint_s, moment),
            reached=kind not in _UNCOUNTED_KINDS,
        )

    def __repr__(self) -> str:
        return f"<Classifier of {len(self._rows)} rows>"


def rest_until(row: FailureRow, hint_s: float | None, moment: Moment) -> float | None:
    """When a row's scope may serve again (epoch seconds): None at once, infinity never by itself."""
    if row.rest == Rest.NONE:
        return None
    if row.rest == Rest.MANUAL:
        return math.inf
    if row.rest in (Rest.DAY, Rest.MONTH):
        window = Window(WindowKind.DAY if row.rest == Rest.DAY else WindowKind.MONTH, zone=moment.zone)
        return next_reset(moment.now_s, window) + moment.random
    if row.rest != Rest.HINT:
        return moment.now_s + duration_s(row.rest)
    if hint_s is None:
        return moment.now_s + _default_wait_s(row.rest_default, moment)
    return moment.now_s + hint_s + moment.random * min(1.0, hint_s / 10)


def _default_wait_s(rest_default: str, moment: Moment) -> float:
    if rest_default != BACKOFF:
        return duration_s(rest_default)
    longest = min(LONGEST_BACKOFF_S, 2.0 ** min(moment.strikes, _HIGHEST_STRIKES))
    return longest * (0.5 + moment.random / 2)


def duration_s(text: str) -> float:
    """Seconds of `30s`, `10m`, `6h` or `1d`. Raise ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"duration {text!r} is not one of 30s, 10m, 6h, 1d")
    return int(match[1]) * _SECONDS[match[2]]
