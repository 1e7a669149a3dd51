"""`/metrics`: what this process has counted, and with it all other workers of its instance."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample as Value

from keyrelay.api.siblings import SAMPLE, Siblings
from keyrelay.api.worker_channel import Scraped
from keyrelay.api.worker_metrics import Family, Sample, decode_sample, encode_sample


class Exposition:
    """The metrics of these collectors, in Prometheus' text format. `before` is called before anybody looks."""

    def __init__(self, collectors: tuple[Collector, ...], siblings: Siblings, before: Callable[[], None]) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)
        self._siblings = siblings
        self._before = before
        self._others: Scraped | None = None
        siblings.answer(SAMPLE, self._answer)

    async def text(self) -> bytes:
        """The whole page."""
        if self._siblings.alone:
            self._before()
            return generate_latest(self._registry)
        own = self._take()
        scraped = await self._siblings.scrape(encode_sample(own))
        if scraped is not None:
            self._others = scraped
        elif self._others is not None:  # the supervisor does not answer: what was known last never lets a sum go back
            self._others = Scraped(0, self._others.sample, self._others.workers, 1)
        else:
            self._others = Scraped(0, b"", 1, 1)
        total = decode_sample(self._others.sample)
        total.add(own)
        return generate_latest(_All(total, self._others))

    def sample(self) -> bytes:
        """What this process has counted, for the supervisor."""
        return encode_sample(self._take())

    def _take(self) -> Sample:
        self._before()
        return _sample_of(self._registry.collect())

    async def _answer(self, payload: bytes) -> bytes:
        del payload
        return self.sample()

    def __repr__(self) -> str:
        return f"<Exposition, {self._siblings!r}>"


def _sample_of(metrics: Iterable[Metric]) -> Sample:
    return Sample(
        {
            metric.name: Family(
                metric.type,
                metric.documentation,
                {(value.name, tuple(value.labels.items())): float(value.value) for value in metric.samples},
            )
            for metric in metrics
        }
    )


class _All:
    """A sample as prometheus-client takes a registry."""

    def __init__(self, total: Sample, scraped: Scraped) -> None:
        self._total = total
        self._scraped = scraped

    def collect(self) -> Iterator[Metric]:
        """All families, and how many workers they are from."""
        for name, family in self._total.families.items():
            metric = Metric(name, family.help, family.kind)
            metric.samples = [Value(place, dict(labels), value) for (place, labels), value in family.values.items()]
            yield metric
        yield GaugeMetricFamily("keyrelay_workers", "Workers of this instance.", self._scraped.workers)
        yield GaugeMetricFamily(
            "keyrelay_workers_answering", "Workers whose present state these metrics hold.", self._scraped.answering
        )
