"""Hands what the engine reports to the metrics and to the log."""

from keyrelay.api.metrics import Metrics
from keyrelay.api.request_log import RequestLog
from keyrelay.core.records import Attempt, RequestRecord


class Watchers:
    """Implements `ports.Observer`."""

    def __init__(self, metrics: Metrics, log: RequestLog) -> None:
        self.metrics = metrics
        self.log = log

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """An attempt failed; another may follow."""
        self.metrics.attempt_failed(attempt)
        self.log.attempt_failed(record, attempt)

    def finished(self, record: RequestRecord) -> None:
        """The request has ended."""
        self.metrics.finished(record)
        self.log.finished(record)

    def __repr__(self) -> str:
        return f"<Watchers {self.log!r}>"
