"""Takes down what the engine reports, and hands it on in batches to the metrics and to the log.

A request only leaves its record here; counting and writing happen together for many, twice a second, when a batch is
full, and before anybody looks.
"""

import asyncio
from collections.abc import Callable
from operator import itemgetter

import msgspec

from keyrelay.api.metrics import Metrics
from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.request_log import RequestLog
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.decisions import Decisions

FLUSH_S = 0.5
_BATCH = 256
_RECORD = itemgetter(1)
_encoder = msgspec.json.Encoder()


class Watchers:
    """Implements `ports.Observer`."""

    def __init__(self, metrics: Metrics, log: RequestLog, epoch_s: Callable[[], float]) -> None:
        self.metrics = metrics
        self.log = log
        self.quota: QuotaWatch | None = None
        self.decisions: Decisions | None = None
        self._epoch_s = epoch_s
        self._waiting: list[tuple[float, RequestRecord, Attempt | None]] = []
        self._scheduled = False

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """An attempt failed; another may follow."""
        self._add(record, attempt)

    def finished(self, record: RequestRecord) -> None:
        """The request has ended."""
        self._add(record, None)

    def flush(self) -> None:
        """Count and write what has been taken down."""
        waiting, self._waiting = self._waiting, []
        for _, record, attempt in waiting:
            if attempt is None:
                self.metrics.finished(record)
            else:
                self.metrics.attempt_failed(attempt)
        self.metrics.count()
        page = self.log.write(waiting)
        if self.decisions is not None:
            records = [record for _, record, attempt in waiting if attempt is None]
            self.decisions.remember(page if self.log.complete else _encoder.encode_lines(records), len(records))
        if self.quota is not None:
            self.quota.check(map(_RECORD, waiting))

    def _add(self, record: RequestRecord, attempt: Attempt | None) -> None:
        self._waiting.append((self._epoch_s(), record, attempt))
        if len(self._waiting) >= _BATCH:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._on_time)

    def _on_time(self) -> None:
        self._scheduled = False
        self.flush()

    def __repr__(self) -> str:
        return f"<Watchers {len(self._waiting)} waiting>"
