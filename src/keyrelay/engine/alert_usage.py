"""What alerts go by that the store alone can say: how many requests fail, how long they take, what was spent."""

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable

from keyrelay.alerting.levels import Fact
from keyrelay.alerting.telling import Facts
from keyrelay.core.alerts import RuleName
from keyrelay.core.errors import StoreError
from keyrelay.core.failures import FAULT_KINDS, FailureKind
from keyrelay.core.usage_sums import SumsRow, Totals, added, totals_of
from keyrelay.core.usage_views import (
    HOUR_S,
    MINUTE_S,
    Dimension,
    Interval,
    Piece,
    Span,
    UsageQuery,
    cover,
)

RECENT_S = 600
"""The time that failures and durations are looked at for."""

LEAST_REQUESTS = 20
"""Of fewer requests in that time a share says nothing."""

ASK_EVERY_S = 60.0

RULES = frozenset({RuleName.ERROR_RATE, RuleName.LATENCY_P95, RuleName.SPEND_DAY, RuleName.SPEND_MONTH})

MOST_CATEGORIES = 1_000

# What callers have to mend themselves, and the limits of clients, are no failures of the gateway.
_FAILURES = frozenset(
    {
        *FAULT_KINDS,
        FailureKind.AUTH,
        FailureKind.PERMISSION,
        FailureKind.BILLING,
        FailureKind.QUOTA,
        FailureKind.RATE,
        FailureKind.ADDRESS,
        "deadline_exceeded",
        "internal",
        "internal_error",
        "journal_full",
        "no_candidate_available",
        "no_candidates",
        "rate_limit_exceeded",
        "too_busy",
        "upload_not_kept",
        "upstream_failed",
        "waiting_room_full",
    }
)

_WHOLE = "all requests"
_MS = 1000.0

Ask = Callable[[UsageQuery], Awaitable[Iterable[SumsRow]]]
"""The sums of a query, by group; raises StoreError."""


class UsageFacts:
    """Asks the store for sums, not more often than every `ASK_EVERY_S`, and remembers what it said."""

    __slots__ = ("_ask", "_asked_s", "_facts")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asked_s = 0.0
        self._facts = Facts((), RULES)

    async def facts(self, now_s: float) -> Facts:
        """What it said last; nothing is known while it does not answer."""
        if not self._asked_s <= now_s < self._asked_s + ASK_EVERY_S:
            self._asked_s = now_s
            try:
                self._facts = Facts((*await self._recent(now_s), *await self._spent(now_s)))
            except StoreError:
                self._facts = Facts((), RULES)
        return self._facts

    async def _recent(self, now_s: float) -> list[Fact]:
        end_s = int(now_s // MINUTE_S + 1) * MINUTE_S
        span = Span(end_s - RECENT_S, end_s)
        query = UsageQuery(pieces=(Piece(Interval.MINUTE, span),), group_by=Dimension.CATEGORY)
        rows = tuple(await self._ask(query))
        if not rows:
            return []
        totals = totals_of(added([row.sums for row in rows]))
        failed = sum(row.sums.requests for row in rows if row.group.name in _FAILURES)
        return recent_facts(totals, failed)

    async def _spent(self, now_s: float) -> list[Fact]:
        today = dt.datetime.fromtimestamp(now_s, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        end_s = int(now_s // HOUR_S + 1) * HOUR_S
        facts = list[Fact]()
        for rule, start, since in (
            (RuleName.SPEND_DAY, today, "today (UTC)"),
            (RuleName.SPEND_MONTH, today.replace(day=1), "since the first of the month (UTC)"),
        ):
            pieces = cover(Span(int(start.timestamp()), end_s), Interval.DAY)
            rows = tuple(await self._ask(UsageQuery(pieces=pieces)))
            cost_usd = totals_of(added([row.sums for row in rows])).cost_usd if rows else 0.0
            detail = f"${cost_usd:,.2f} were spent {since}, at list prices."
            facts.append(Fact(rule=rule, subject=_WHOLE, value=cost_usd, detail=detail))
        return facts

    def __repr__(self) -> str:
        return f"<UsageFacts of {len(self._facts.facts)} facts>"


def recent_facts(totals: Totals, failed: int) -> list[Fact]:
    """What the last minutes say, if there was enough to say anything."""
    if totals.requests < LEAST_REQUESTS:
        return []
    share, p95_ms = failed / totals.requests, totals.latency_ms.p95
    minutes = RECENT_S // MINUTE_S
    facts = [
        Fact(
            rule=RuleName.ERROR_RATE,
            subject=_WHOLE,
            value=share,
            detail=f"{failed} of {totals.requests} requests ({share:.0%}) failed in the last {minutes} minutes.",
        )
    ]
    if p95_ms is not None:
        detail = f"one in twenty took longer than {p95_ms / _MS:.1f} s in the last {minutes} minutes."
        facts.append(Fact(rule=RuleName.LATENCY_P95, subject=_WHOLE, value=p95_ms / _MS, detail=detail))
    return facts
