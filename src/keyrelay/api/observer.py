"""Takes down what the engine reports, and hands it on in batches to the metrics and to the log.

A request that ends is made into its line at once, because the journal has to have it before the last byte of the answer
goes out; counting it and writing it to the log happen together for many, twice a second, when a batch is full, and
before anybody looks.
"""

import asyncio
from collections.abc import Callable
from operator import itemgetter
from typing import Final

from keyrelay.api.metrics import Metrics
from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.request_events import tell_of_requests
from keyrelay.api.request_log import Entry, RequestLog
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.decisions import Decisions
from keyrelay.engine.events import Events
from keyrelay.engine.key_history import KeyHistory
from keyrelay.ports import Journal

FLUSH_S: Final = 0.5
_BATCH: Final = 256
_RECORD: Final = itemgetter(1)


class Watchers:
    """Implements `ports.Observer`."""

    def __init__(
        self, metrics: Metrics, log: RequestLog, epoch_s: Callable[[], float], journal: Journal | None = None
    ) -> None:
        self.metrics = metrics
        self.log = log
        self.quota: QuotaWatch | None = None
        self.decisions: Decisions | None = None
        self.keys: KeyHistory | None = None
        self.events: Events | None = None
        self._journal = journal
        self._epoch_s = epoch_s
        self._waiting: list[Entry] = []
        self._scheduled = False

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """An attempt failed; another may follow."""
        self._add((self._epoch_s(), record, attempt))

    def finished(self, record: RequestRecord) -> None:
        """The request has ended; a row is kept of it if it came from a client.

        A journal that is full takes rows of calls alone: refusing must not fill it any further.
        """
        now_s = self._epoch_s()
        line = self.log.seal(now_s, record)
        journal = self._journal
        if journal is not None and record.client and (record.attempts or not journal.full):
            journal.ended(line, record.id)  # a full one has room for what was sent, not for what was refused
        self._add((now_s, record, line))

    def flush(self) -> None:
        """Count and write what has been taken down."""
        waiting, self._waiting = self._waiting, []
        lines: list[bytes] = []
        keys = self.keys
        for at_s, record, what in waiting:
            if isinstance(what, bytes):
                lines.append(what)
                self.metrics.finished(record)
                if keys is not None:
                    keys.answered(record, at_s)
            else:
                self.metrics.attempt_failed(what)
                if keys is not None:
                    keys.failed(what, at_s)
        self.metrics.count()
        self.log.write(waiting)
        if self.decisions is not None:
            self.decisions.remember(b"\n".join((*lines, b"")), len(lines))
        if self.quota is not None:
            self.quota.check(map(_RECORD, waiting))
        if self.events is not None:
            tell_of_requests(self.events, waiting)

    def _add(self, entry: Entry) -> None:
        self._waiting.append(entry)
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
