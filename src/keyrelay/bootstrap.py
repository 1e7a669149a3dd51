"""The composition root: the one place that names both the engine's classes and the adapters'.

`compose` makes an application of a configuration; `serving` runs it under uvicorn.
"""

import random
import sys
import time

from keyrelay.api.app import Application
from keyrelay.api.control import create_control_plane
from keyrelay.api.dataplane import DataPlane, DataPlaneSettings
from keyrelay.api.health import Health as HealthView
from keyrelay.api.metrics import Metrics
from keyrelay.api.observer import Watchers
from keyrelay.api.request_log import RequestLog
from keyrelay.configuration.values import Configuration
from keyrelay.core.redaction import Redactor
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.pool import Pool
from keyrelay.engine.settings import EngineSettings
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
    redactor = Redactor(secrets_of(configuration))
    pool = Pool(configuration.snapshot, Health(_circuit_settings(settings)))
    metrics = Metrics(pool, clock.epoch_s)
    watchers = Watchers(metrics, open_log(configuration), clock.epoch_s)
    transport = HttpTransport(_transport_settings(settings))
    gateway = Gateway(
        pool,
        transport,
        MemoryLedger(),
        clock=clock,
        observer=watchers,
        settings=_engine_settings(settings),
        random=random.random,
        redactor=redactor,
    )
    health = HealthView(pool, clock.epoch_s)

    async def stop() -> None:
        await transport.aclose()
        watchers.flush()

    return Application(
        DataPlane(gateway, clock, _data_plane_settings(settings)),
        create_control_plane(health, watchers),
        health,
        on_stop=stop,
    )


def open_log(configuration: Configuration) -> RequestLog:
    """The log as the settings want it."""
    settings = configuration.settings
    redactor = Redactor(secrets_of(configuration))
    return RequestLog(as_json=logs_json(settings), redactor=redactor, least=settings.log_level)


def secrets_of(configuration: Configuration) -> list[str]:
    """Everything that must never be written anywhere."""
    keys = [key.secret.reveal() for key in configuration.snapshot.keys if key.secret is not None]
    return [*keys, configuration.settings.upstream_proxy.reveal()]


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
