"""Prometheus metrics.

Counting happens on the way of every request, so it is an addition in a dictionary; prometheus-client's objects are
made when somebody scrapes. Labels are bounded: what does not fit any more is counted as `other`.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from keyrelay import __version__
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.pool import Pool
from keyrelay.routing.candidates import Candidate, gate

_DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OVERHEAD_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
MAX_SERIES: Final = 5_000
_OTHER: Final = "other"

_Labels = tuple[str | int, ...]


class _Histogram:
    """Is given milliseconds, and shows seconds, as Prometheus wants them; `observe` many, then `count` them all."""

    __slots__ = ("_bounds_ms", "_new_ms", "_total_ms", "bounds", "counts", "observe")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self._bounds_ms = tuple(bound * 1000 for bound in bounds)
        self._total_ms = 0.0
        self._new_ms: list[float] = []
        self.observe = self._new_ms.append

    def count(self) -> None:
        new_ms = self._new_ms
        new_ms.sort()
        self._total_ms += math.fsum(new_ms)
        below = 0
        for place, bound_ms in enumerate(self._bounds_ms):
            until = bisect_right(new_ms, bound_ms, below)
            self.counts[place] += until - below
            below = until
        self.counts[-1] += len(new_ms) - below
        new_ms.clear()

    @property
    def total(self) -> float:
        return self._total_ms / 1000

    def buckets(self) -> list[tuple[str, float]]:
        cumulated = 0
        buckets = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            cumulated += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(cumulated)))
        return buckets


class _Served:
    """Everything that is counted per (provider, model)."""

    __slots__ = ("answered", "cost_usd", "duration", "first_token", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.answered = 0
        self.duration = _Histogram(_DURATION_BOUNDS)
        self.first_token = _Histogram(_DURATION_BOUNDS)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = 0.0


class Metrics(Collector):
    """Counts what the engine reports, and says how keys stand when asked."""

    def __init__(self, pool: Pool, epoch_s: Callable[[], float]) -> None:
        self._pool = pool
        self._epoch_s = epoch_s
        self._requests: dict[_Labels, int] = {}
        self._attempts: dict[_Labels, int] = {}
        self._served: dict[tuple[str, str], _Served] = {}
        self._overhead = _Histogram(_OVERHEAD_BOUNDS)

    def attempt_failed(self, attempt: Attempt) -> None:
        """Count a failed attempt by its kind."""
        kind = attempt.failure.kind if attempt.failure else _OTHER
        _add(self._attempts, (attempt.provider, attempt.model, kind))

    def finished(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        provider, model, category = record.provider, record.model, record.category
        labels = (provider, model, record.client, record.status, category)
        if labels in self._requests:
            self._requests[labels] += 1
        else:
            _add(self._requests, labels)
        if not provider or record.cached:  # nobody was asked for it: the cache has figures of its own
            return
        served = self._served.get((provider, model)) or self._new_served((provider, model))
        if category:  # a stream that broke off
            _add(self._attempts, (provider, model, category))
        else:
            served.answered += 1
        ms = record.ms
        served.duration.observe(ms)
        if record.first_token_ms is None:
            self._overhead.observe(ms - record.upstream_ms - record.waited_ms)
        else:
            served.first_token.observe(record.first_token_ms)
        usage = record.usage
        if usage is not None:
            served.input_tokens += usage.input_tokens
            served.output_tokens += usage.output_tokens
        if record.cost_usd is not None:
            served.cost_usd += record.cost_usd

    def count(self) -> None:
        """Sort what has been observed into its buckets; to be called now and then."""
        self._overhead.count()
        for served in self._served.values():
            served.duration.count()
            served.first_token.count()

    def _new_served(self, labels: tuple[str, str]) -> _Served:
        if len(self._served) >= MAX_SERIES:
            labels = (_OTHER, _OTHER)
        return self._served.setdefault(labels, _Served())

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus-client wants them."""
        self.count()
        yield _counter("keyrelay_requests", "Requests by outcome.", _REQUEST_LABELS, self._requests)
        answered: dict[_Labels, int] = {
            (*labels, "answered"): served.answered for labels, served in self._served.items()
        }
        attempts: dict[_Labels, int] = {**answered, **self._attempts}
        yield _counter("keyrelay_attempts", "Calls to providers by outcome.", _ATTEMPT_LABELS, attempts)
        duration = HistogramMetricFamily(
            "keyrelay_request_duration_seconds", "From the request's first byte to the answer's last.", labels=_SERVED
        )
        first_token = HistogramMetricFamily(
            "keyrelay_time_to_first_token_seconds",
            "From the request's first byte to a stream's first content.",
            labels=_SERVED,
        )
        tokens = CounterMetricFamily("keyrelay_tokens", "Tokens used.", labels=(*_SERVED, "kind"))
        cost = CounterMetricFamily("keyrelay_cost_usd", "Cost at list prices, where known.", labels=_SERVED)
        for labels, served in self._served.items():
            duration.add_metric(labels, served.duration.buckets(), served.duration.total)
            if served.first_token.total:
                first_token.add_metric(labels, served.first_token.buckets(), served.first_token.total)
            tokens.add_metric((*labels, "input"), served.input_tokens)
            tokens.add_metric((*labels, "output"), served.output_tokens)
            cost.add_metric(labels, served.cost_usd)
        overhead = HistogramMetricFamily("keyrelay_overhead_seconds", "Keyrelay's own share of whole answers.")
        overhead.add_metric((), self._overhead.buckets(), self._overhead.total)
        yield from (duration, first_token, tokens, cost, overhead, self._key_states(), _build_info())

    def _key_states(self) -> Metric:
        family = GaugeMetricFamily(
            "keyrelay_key_state",
            "1 for the state that a key is in, for the models used so far.",
            labels=("provider", "key", "model", "state"),
        )
        now_s = self._epoch_s()
        for candidate in self._pool.candidates()[:MAX_SERIES]:
            labels = (candidate.provider.id, candidate.key.label, candidate.model, _state(candidate, now_s))
            family.add_metric(labels, 1)
        return family


_REQUEST_LABELS: Final = ("provider", "model", "client", "status", "category")
_ATTEMPT_LABELS: Final = ("provider", "model", "outcome")
_SERVED: Final = ("provider", "model")


def _state(candidate: Candidate, now_s: float) -> str:
    dropped = gate(candidate, now_s)
    return "ready" if dropped is None else dropped.reason.value


def _add(counts: dict[_Labels, int], labels: _Labels) -> None:
    if labels in counts:
        counts[labels] += 1
    elif len(counts) < MAX_SERIES:
        counts[labels] = 1
    else:
        rest = (_OTHER,) * len(labels)
        counts[rest] = counts.get(rest, 0) + 1


def _counter(name: str, text: str, labels: tuple[str, ...], counts: dict[_Labels, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(tuple(map(str, values)), count)
    return family


def _build_info() -> Metric:
    family = GaugeMetricFamily("keyrelay_build_info", "Version of Keyrelay.", labels=("version",))
    family.add_metric((__version__,), 1)
    return family
