"""Quotas in the log and in the metrics: thresholds as they are reached, and what is left of each limit."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keyrelay.api.metrics import MAX_SERIES
from keyrelay.api.request_log import RequestLog
from keyrelay.core.limits import ScopePart
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import RequestRecord
from keyrelay.engine.events import Events, Topic
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_events import QuotaEvent, QuotaEvents
from keyrelay.ports import Ledger
from keyrelay.quota.forecast import amount_words, headroom
from keyrelay.quota.values import LimitKey
from keyrelay.routing.candidates import Candidate

EVENT = "quota_threshold"
COUNT_LABELS = ("provider", "account", "key", "model", "unit", "window")
THRESHOLD_LABELS = ("provider", "unit", "threshold")


class QuotaWatch(Collector):
    """Is given the requests that have been answered, in batches; says how limits stand when asked."""

    def __init__(
        self, pool: Pool, ledger: Ledger, events: QuotaEvents, log: RequestLog, epoch_s: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._events = events
        self._log = log
        self._epoch_s = epoch_s
        self._reached: dict[tuple[str, str, str], int] = {}
        self.events: Events | None = None

    def check(self, records: Iterable[RequestRecord]) -> None:
        """Log and count the thresholds that these requests have reached."""
        now_s = self._epoch_s()
        for event in self._events.check(records, now_s):
            labels = (event.candidate.provider_id, str(event.limit_key.limit.unit), f"{event.crossing.threshold:g}")
            self._reached[labels] = self._reached.get(labels, 0) + 1
            self._log.write_event(EVENT, now_s, "warning", _fields(event))
            if self.events is not None and self.events.wants(Topic.QUOTA):
                document = {"time": rfc3339(now_s), **_fields(event)}
                self.events.publish(Topic.QUOTA, msgspec.json.encode(document))

    def collect(self) -> Iterator[Metric]:
        """Both families, as prometheus-client wants them."""
        reached = CounterMetricFamily(
            "keyrelay_quota_thresholds", "Thresholds of limits that were reached.", labels=THRESHOLD_LABELS
        )
        for threshold_labels, count in self._reached.items():
            reached.add_metric(threshold_labels, count)
        left = GaugeMetricFamily(
            "keyrelay_quota_remaining_ratio",
            "What is left of each limit, from 0 to 1, for keys and models used so far.",
            labels=COUNT_LABELS,
        )
        for labels, share in self._shares_left().items():
            left.add_metric(labels, share)
        yield from (reached, left)

    def _shares_left(self) -> dict[tuple[str, ...], float]:
        """What is left, by labels; of several limits with the same ones, the least."""
        now_s = self._epoch_s()
        shares: dict[tuple[str, ...], float] = {}
        for candidate in self._pool.candidates()[:MAX_SERIES]:
            for standing in self._ledger.peek(candidate.path, now_s):
                limit = standing.limit.limit
                labels = (*_bound(candidate, standing.limit).values(), str(limit.unit), str(limit.window))
                share = headroom(standing.amount, standing.used).share
                if len(shares) < MAX_SERIES or labels in shares:
                    shares[labels] = min(share, shares.get(labels, 1.0))
        return shares

    def __repr__(self) -> str:
        return f"<QuotaWatch {sum(self._reached.values())} thresholds reached>"


def _bound(candidate: Candidate, limit_key: LimitKey) -> dict[str, str]:
    """What a count binds, by name; empty what it does not."""
    scope = limit_key.limit.scope
    of_key = ScopePart.KEY in scope
    return {
        "provider": candidate.provider_id,
        "account": candidate.key.account if of_key or ScopePart.ACCOUNT in scope else "",
        "key": candidate.key.label if of_key else "",
        "model": candidate.model if ScopePart.MODEL in scope else "",
    }


def _fields(event: QuotaEvent) -> dict[str, Any]:
    """The fields of a line; what is not bound is left out."""
    limit, crossing = event.limit_key.limit, event.crossing
    bound = _bound(event.candidate, event.limit_key)
    who = " ".join(text for text in bound.values() if text)
    amount = amount_words(crossing.amount, limit.unit)
    return {
        **{name: text for name, text in bound.items() if text},
        "unit": limit.unit,
        "window": str(limit.window),
        "threshold": crossing.threshold,
        "used": crossing.used,
        "amount": crossing.amount,
        **({} if crossing.reset_s is None else {"reset_at": rfc3339(crossing.reset_s)}),
        "message": f"{who}: {crossing.used / crossing.amount:.0%} of {amount} per {limit.window} used",
    }
