"""Events for counts that are nearly used up.

Looked at are the counts of those who have just answered, many requests at a time; nobody else's can have risen.
"""

from collections.abc import Iterable
from operator import attrgetter

import msgspec

from keyrelay.core.limits import CALENDAR_KINDS
from keyrelay.core.records import RequestRecord
from keyrelay.engine.pool import Pool
from keyrelay.ports import Ledger
from keyrelay.quota.thresholds import Crossing, Thresholds
from keyrelay.quota.values import LimitKey
from keyrelay.routing.candidates import Candidate

_SERVED_BY = attrgetter("provider", "key", "model")


class QuotaEvent(msgspec.Struct, frozen=True):
    """A threshold that a count has reached, and a candidate that draws on it."""

    candidate: Candidate
    limit_key: LimitKey
    crossing: Crossing


class QuotaEvents:
    """Notices when counts reach a threshold; each speaks once in its period (`quota.thresholds`)."""

    __slots__ = ("_candidates", "_ledger", "_pool", "_snapshot", "_thresholds")

    def __init__(self, pool: Pool, ledger: Ledger, thresholds: Thresholds | None = None) -> None:
        self._pool = pool
        self._ledger = ledger
        self._thresholds = thresholds or Thresholds()
        self._candidates: dict[tuple[str, str, str], Candidate] = {}
        self._snapshot = pool.snapshot

    def check(self, records: Iterable[RequestRecord], now_s: float) -> list[QuotaEvent]:
        """What the requests that have ended since the last check have brought about."""
        served = dict.fromkeys(map(_SERVED_BY, records))
        events = []
        for name in served:
            candidate = self._candidate(name) if name[0] else None  # nobody answered
            for standing in self._ledger.peek(candidate.path, now_s) if candidate is not None else ():
                in_period = standing.limit.limit.window.kind in CALENDAR_KINDS
                crossing = self._thresholds.check(
                    standing.limit,
                    standing.used,
                    standing.amount,
                    reset_s=standing.reset_s if in_period else None,
                    now_s=now_s,
                )
                if crossing is not None and candidate is not None:
                    events.append(QuotaEvent(candidate, standing.limit, crossing))
        return events

    def _candidate(self, name: tuple[str, str, str]) -> Candidate | None:
        """The candidate of that provider, key and model; None when the pool has let go of it."""
        found = self._candidates.get(name) if self._snapshot is self._pool.snapshot else None
        if found is None:
            self._snapshot = self._pool.snapshot
            present = self._pool.candidates()
            self._candidates = {(each.provider_id, each.key.label, each.model): each for each in present}
            found = self._candidates.get(name)
        return found

    def __repr__(self) -> str:
        return f"<QuotaEvents by {self._thresholds!r}>"
