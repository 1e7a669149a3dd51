"""Metrics of what outlives the process: how rows get from the journal into the store, and how Redis is reached."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keyrelay.engine.recorder import Recorder
from keyrelay.engine.text_keeper import TextKeeper
from keyrelay.ports import Journal


class KeepingCollector(Collector):
    """The figures of recorder and journal. `epoch_s` reads the clock that the recorder's times come from."""

    def __init__(self, recorder: Recorder, journal: Journal, epoch_s: Callable[[], float]) -> None:
        self._recorder = recorder
        self._journal = journal
        self._epoch_s = epoch_s

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus-client wants them."""
        counts, trouble = self._recorder.counts(), self._recorder.degraded
        lasting_s = 0.0 if trouble is None else max(0.0, self._epoch_s() - trouble.since_s)
        yield _gauge("keyrelay_journal_rows", "Rows that wait for the store.", counts.rows_waiting)
        yield _gauge("keyrelay_journal_bytes", "Bytes of journal that wait for the store.", counts.bytes_waiting)
        yield _gauge("keyrelay_journal_full", "1 while no request is admitted because of it.", self._journal.full)
        yield _counter("keyrelay_store_rows", "Rows that the store has taken.", counts.rows_written)
        yield _counter("keyrelay_store_rejected_rows", "Rows that it will never take.", counts.rows_rejected)
        yield _counter("keyrelay_store_failures", "Times that rows did not get into the store.", counts.failures)
        yield _gauge("keyrelay_store_degraded_seconds", "For how long they have not; 0 while they do.", lasting_s)

    def __repr__(self) -> str:
        return f"<KeepingCollector of {self._recorder!r}>"


class TextsCollector(Collector):
    """The figures of kept prompts and answers."""

    def __init__(self, texts: TextKeeper) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus-client wants them."""
        counts = self._texts.counts()
        yield _gauge("keyrelay_texts_waiting_bytes", "Bytes of prompts and answers that wait.", counts.waiting_bytes)
        yield _counter("keyrelay_texts_written", "Requests whose texts the store has taken.", counts.written)
        yield _counter("keyrelay_texts_dropped", "Requests whose texts found no room.", counts.dropped)

    def __repr__(self) -> str:
        return f"<TextsCollector of {self._texts!r}>"


class SharedState(Protocol):
    """How the shared state stands: connected or not, how often that was lost, and what has not been told yet.

    `apart` are the providers whose limits this worker keeps by its own word.
    """

    @property
    def connected(self) -> bool:
        """Whether Redis answers."""
        ...

    @property
    def openings(self) -> int:
        """How often it has stopped answering."""
        ...

    @property
    def workers(self) -> int:
        """Workers that share limits, on all hosts."""
        ...

    @property
    def apart(self) -> tuple[str, ...]:
        """Providers for which Redis's word does not count now."""
        ...

    @property
    def unsent(self) -> int:
        """Commands that wait to be told."""
        ...


class SharingCollector(Collector):
    """The figures of what is shared through Redis; `status` says how that stands."""

    def __init__(self, status: Callable[[], SharedState]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus-client wants them."""
        status = self._status()
        yield _gauge("keyrelay_redis_connected", "1 while Redis answers.", status.connected)
        yield _counter("keyrelay_redis_losses", "Times that Redis has stopped answering.", status.openings)
        yield _gauge("keyrelay_redis_workers", "Workers that share limits, on all hosts.", status.workers)
        yield _gauge("keyrelay_redis_apart", "Providers whose limits are kept by a fixed share.", len(status.apart))
        yield _gauge("keyrelay_redis_unsent", "What has ended and Redis has not been told.", status.unsent)

    def __repr__(self) -> str:
        return f"<SharingCollector of {self._status()!r}>"


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))
