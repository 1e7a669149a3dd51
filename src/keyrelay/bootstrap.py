"""The composition root: the one place that names both the engine's classes and the adapters'.

`compose` makes an application of a configuration; `serving` runs it under uvicorn.
"""

import random
import sys
import time
from collections.abc import Callable

from keyrelay.api.app import Application
from keyrelay.api.control import create_control_plane
from keyrelay.api.dataplane import DataPlane, DataPlaneSettings
from keyrelay.api.health import Health as HealthView
from keyrelay.api.metrics import Metrics
from keyrelay.api.observer import Watchers
from keyrelay.api.quota import QuotaRoutes
from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.request_log import RequestLog
from keyrelay.api.requests import RequestsView
from keyrelay.api.views import Access
from keyrelay.configuration.values import Configuration
from keyrelay.core.redaction import Redactor
from keyrelay.engine.explanations import Explainer
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.learner import Learner
from keyrelay.engine.merging import merge_accounts
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_events import QuotaEvents
from keyrelay.engine.quota_view import QuotaView
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.waiting_room import WaitingSettings
from keyrelay.ports import Ports
from keyrelay.quota.calibration import Calibrations
from keyrelay.quota.learning import LearnedBook, Organisations
from keyrelay.routing.budget import RetrySettings
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from keyrelay.settings import Settings
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.transport import HttpTransport


class SystemClock:
    """The machine's clocks: the one that event loops use, and seconds since 1970 in UTC."""

    __slots__ = ()

    # Bound as they are: a Python frame around a clock would cost more than the clock, ten times per request.
    monotonic_s = staticmethod(time.monotonic)
    epoch_s = staticmethod(time.time)


def compose(configuration: Configuration) -> Application:
    """The application for a configuration."""
    settings = configuration.settings
    clock = SystemClock()
    ledger = MemoryLedger()
    log = open_log(configuration)
    pool = compose_pool(configuration)
    metrics = Metrics(pool, clock.epoch_s)
    watchers = Watchers(metrics, log, clock.epoch_s)
    transport = HttpTransport(_transport_settings(settings))
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

    async def stop() -> None:
        await transport.aclose()
        watchers.flush()
        gateway.decisions.clear()

    return Application(
        DataPlane(gateway, clock, _data_plane_settings(settings)),
        create_control_plane(health, watchers, (quota, requests), (quota_watch,)),
        health,
        on_stop=stop,
    )


def compose_pool(configuration: Configuration) -> Pool:
    """The candidates of a configuration, with nothing known of them yet."""
    settings = configuration.settings
    calibrations = Calibrations(settings.completion_percentile / 100)
    return Pool(configuration.snapshot, Health(_circuit_settings(settings)), calibrations)


def compose_gateway(
    configuration: Configuration,
    pool: Pool,
    ports: Ports,
    *,
    report: Callable[[str], None],
) -> Gateway:
    """The engine over these ports; `report` gets a sentence when a provider contradicts what was believed of it."""
    ledger, clock = ports.ledger, ports.clock
    learner = Learner(
        ledger,
        LearnedBook(),
        Organisations(),
        redactor=Redactor(secrets_of(configuration)),
        report=report,
        merged=lambda merge: merge_accounts(pool, ledger, merge, clock.epoch_s()),
        started_s=clock.epoch_s(),
        margins={provider.id: provider.margin for provider in configuration.snapshot.providers.values()},
    )
    return Gateway(pool, ports, settings=_engine_settings(configuration.settings), learner=learner)


def open_log(configuration: Configuration) -> RequestLog:
    """The log as the settings want it."""
    settings = configuration.settings
    redactor = Redactor(secrets_of(configuration))
    return RequestLog(as_json=logs_json(settings), redactor=redactor, least=settings.log_level)


def secrets_of(configuration: Configuration) -> list[str]:
    """Everything that must never be written anywhere."""
    keys = [key.secret.reveal() for key in configuration.snapshot.keys if key.secret is not None]
    settings = configuration.settings
    own = (settings.upstream_proxy, settings.operator_secret, settings.api_key)
    return [*keys, *(secret.reveal() for secret in own)]


def logs_json(settings: Settings) -> bool:
    """Whether log lines are JSON: as set, else unless a person is looking."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def _engine_settings(settings: Settings) -> EngineSettings:
    return EngineSettings(
        first_byte_s=settings.first_byte_timeout_s,
        answer_s=settings.answer_timeout_s,
        content_gap_s=settings.content_gap_timeout_s,
        total_s=settings.total_timeout_s,
        max_answer_bytes=settings.max_answer_bytes,
        max_event_bytes=settings.max_event_bytes,
        answer_headers=settings.answer_headers,
        waiting=WaitingSettings(
            max_waiting=settings.max_waiting,
            max_bytes=settings.max_waiting_bytes,
            wait_s=settings.max_wait_s,
            jitter_s=settings.reset_jitter_s,
            idle_s=settings.waiting_comment_s,
        ),
        kept_requests=settings.kept_requests,
        retry=RetrySettings(
            attempts=settings.retry_attempts,
            percent=settings.retry_budget_percent,
            floor=settings.retry_budget_floor,
        ),
    )


def _circuit_settings(settings: Settings) -> CircuitSettings:
    return CircuitSettings(
        failures=settings.circuit_failures,
        open_s=settings.circuit_open_s,
        open_max_s=settings.circuit_open_max_s,
    )


def _data_plane_settings(settings: Settings) -> DataPlaneSettings:
    return DataPlaneSettings(
        max_body_bytes=settings.max_body_bytes,
        max_body_depth=settings.max_body_depth,
        max_event_bytes=settings.max_event_bytes,
        body_timeout_s=settings.body_timeout_s,
        max_concurrent_requests=settings.max_concurrent_requests,
    )


def _transport_settings(settings: Settings) -> TransportSettings:
    return TransportSettings(
        connect_timeout_s=settings.connect_timeout_s,
        max_connections_per_origin=settings.max_connections_per_provider,
        proxy_url=settings.upstream_proxy.reveal(),
        no_proxy=settings.no_proxy,
    )
