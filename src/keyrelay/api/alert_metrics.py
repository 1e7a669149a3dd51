"""Alerts in the metrics: how many fire."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keyrelay.engine.alerts import Alerts


class AlertsCollector(Collector):
    """The alerts that fire, as the process knows that tells of them; 0 in all others."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts

    def collect(self) -> Iterator[Metric]:
        """The one family, as prometheus-client wants it."""
        firing = self._alerts.firing if self._alerts.leading else 0
        yield GaugeMetricFamily("keyrelay_alerts_firing", "Alerts that fire, by the one who tells of them.", firing)

    def __repr__(self) -> str:
        return f"<AlertsCollector of {self._alerts!r}>"
