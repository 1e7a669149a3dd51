"""The gateway as one ASGI application: both planes over the engine, and what outlives the process."""

import random

from keyrelay.api.app import Application
from keyrelay.api.control import create_control_plane
from keyrelay.api.dataplane import DataPlane
from keyrelay.api.health import Health as HealthView
from keyrelay.api.metrics import Metrics
from keyrelay.api.observer import Watchers
from keyrelay.api.quota import QuotaRoutes
from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.requests import RequestsView
from keyrelay.api.views import Access
from keyrelay.bootstrap.engine import SystemClock, compose_gateway, compose_pool
from keyrelay.bootstrap.parts import data_plane_settings, open_log, transport_settings
from keyrelay.configuration.values import Configuration
from keyrelay.engine.explanations import Explainer
from keyrelay.engine.quota_events import QuotaEvents
from keyrelay.engine.quota_view import QuotaView
from keyrelay.ports import Ports
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.upstream.transport import HttpTransport


def compose(configuration: Configuration) -> Application:
    """The application for a configuration."""
    settings = configuration.settings
    clock = SystemClock()
    ledger = MemoryLedger()
    log = open_log(configuration)
    pool = compose_pool(configuration)
    metrics = Metrics(pool, clock.epoch_s)
    watchers = Watchers(metrics, log, clock.epoch_s)
    transport = HttpTransport(transport_settings(settings))
    ports = Ports(upstream=transport, ledger=ledger, clock=clock, observer=watchers, random=random.random)
    gateway = compose_gateway(
        configuration,
        pool,
        ports,
        report=lambda text: log.write_message(clock.epoch_s(), "warning", text, "keyrelay.learner"),
    )
    health = HealthView(pool, clock.epoch_s)
    access = Access(lambda: pool.snapshot.clients, settings.operator_secret)
    requests = RequestsView(
        gateway.decisions, Explainer(ledger, gateway.learner.redactor.redact), access, clock.epoch_s
    )
    quota_view = QuotaView(pool, ledger, gateway.learner)
    quota_watch = QuotaWatch(pool, ledger, QuotaEvents(pool, ledger), log, clock.epoch_s)
    watchers.quota, watchers.decisions = quota_watch, gateway.decisions
    gateway.decisions.refresh = watchers.flush
    quota = QuotaRoutes(quota_view, pool.calibrations, access, clock.epoch_s)

    async def start() -> None:
        """Nothing is kept yet."""

    async def stop() -> None:
        await transport.aclose()
        watchers.flush()
        gateway.decisions.clear()

    return Application(
        DataPlane(gateway, clock, data_plane_settings(settings)),
        create_control_plane(health, watchers, (quota, requests), (quota_watch,)),
        health,
        on_start=start,
        on_stop=stop,
    )
