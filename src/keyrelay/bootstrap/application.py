"""The gateway as one ASGI application: both planes over the engine, and what outlives the process."""

import random

from keyrelay.api.app import Application, Hooks
from keyrelay.api.cache import CacheCollector, CacheRoutes
from keyrelay.api.control import create_control_plane
from keyrelay.api.dataplane import DataPlane
from keyrelay.api.exports import ExportsView
from keyrelay.api.exposition import Exposition
from keyrelay.api.health import Health as HealthView
from keyrelay.api.metrics import Metrics
from keyrelay.api.observer import Watchers
from keyrelay.api.quota import QuotaRoutes
from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.request_list import RequestListView
from keyrelay.api.requests import RequestsView
from keyrelay.api.siblings import Siblings
from keyrelay.api.usage import UsagePlanner, UsageView
from keyrelay.api.views import Access
from keyrelay.bootstrap.engine import SystemClock, compose_answers, compose_gateway, compose_pool, reconfigure
from keyrelay.bootstrap.keeping import Keeping
from keyrelay.bootstrap.parts import data_plane_settings, open_log, secrets_of, transport_settings
from keyrelay.configuration.values import Configuration
from keyrelay.core.identity import WorkerIdentity
from keyrelay.engine.explanations import Explainer
from keyrelay.engine.quota_events import QuotaEvents
from keyrelay.engine.quota_view import QuotaView
from keyrelay.engine.rebuilding import Rebuilding
from keyrelay.ports import Ports
from keyrelay.storage.memory_cache import MemoryCache
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.usage_queries import UsageQueries
from keyrelay.upstream.transport import HttpTransport


def compose(
    configuration: Configuration, *, identity: WorkerIdentity | None = None, siblings: Siblings | None = None
) -> Application:
    """The application for a configuration, as one of its workers, or alone."""
    del identity  # to be given to the journal and to Redis
    settings = configuration.settings
    clock = SystemClock()
    ledger = MemoryLedger()
    log = open_log(configuration)

    def report(text: str, source: str) -> None:
        log.write_message(clock.epoch_s(), "warning", text, source)

    pool = compose_pool(
        configuration, lambda text: log.write_message(clock.epoch_s(), "debug", text, "keyrelay.tokens")
    )
    keeping = Keeping(configuration, clock, report)
    metrics = Metrics(pool, clock.epoch_s)
    watchers = Watchers(metrics, log, clock.epoch_s, keeping.journal)
    transport = HttpTransport(transport_settings(settings))
    ports = Ports(
        upstream=transport,
        ledger=ledger,
        clock=clock,
        observer=watchers,
        random=random.random,
        journal=keeping.journal,
    )
    cache = MemoryCache(settings.cache_max_bytes)
    answers = compose_answers(configuration, pool, ports, cache, report=lambda text: report(text, "keyrelay.cache"))
    gateway = compose_gateway(
        configuration, pool, ports, answers=answers, report=lambda text: report(text, "keyrelay.learner")
    )
    health = HealthView(pool, clock.epoch_s, (keeping.journal_check, keeping.store_check))
    access = Access(lambda: pool.snapshot.clients, settings.operator_secret)
    explainer = Explainer(ledger, gateway.learner.redactor.redact)
    usage_queries, request_queries = UsageQueries(keeping.reader), RequestQueries(keeping.reader)
    planner = UsagePlanner(usage_queries, settings, clock.epoch_s)
    views = (
        QuotaRoutes(QuotaView(pool, ledger, gateway.learner), pool.calibrations, access, clock.epoch_s),
        UsageView(usage_queries, planner, access),
        ExportsView(usage_queries, request_queries, planner, access, clock.epoch_s),
        RequestListView(request_queries, access, clock.epoch_s),
        RequestsView(gateway.decisions, explainer, access, clock.epoch_s, stored=request_queries),
        CacheRoutes(answers, access, shared=settings.cache_scope == "shared"),
    )
    data = DataPlane(gateway, clock, data_plane_settings(settings))
    quota_watch = QuotaWatch(pool, ledger, QuotaEvents(pool, ledger), log, clock.epoch_s)
    watchers.quota, watchers.decisions = quota_watch, gateway.decisions
    gateway.decisions.refresh = watchers.flush
    exposition = Exposition((metrics, quota_watch, CacheCollector(answers)), siblings or Siblings(), watchers.flush)

    async def start() -> None:
        await keeping.start(Rebuilding(pool, ledger, gateway.learner.book, clock.epoch_s()))

    async def stop() -> None:
        await answers.flights.stop()
        await transport.aclose()
        watchers.flush()
        await keeping.stop()
        gateway.decisions.clear()

    def apply(changed: Configuration) -> None:
        log.redactor.know(secrets_of(changed))
        log.configure(changed.settings)
        access.configure(changed.settings.operator_secret)
        data.configure(data_plane_settings(changed.settings))
        reconfigure(gateway, changed)

    return Application(
        data,
        create_control_plane(health, exposition, views),
        health,
        log=log,
        hooks=Hooks(start=start, stop=stop, apply=apply, sample=exposition.sample),
    )
