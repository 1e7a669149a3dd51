"""The gateway as one ASGI application: both planes over the engine, and what outlives the process."""

import importlib
import random
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from keyrelay.api.app import Application, Hooks
from keyrelay.api.cache import CacheCollector, CacheRoutes
from keyrelay.api.control import create_control_plane
from keyrelay.api.dataplane import DataPlane
from keyrelay.api.exports import ExportsView
from keyrelay.api.exposition import Exposition
from keyrelay.api.health import Health as HealthView
from keyrelay.api.keeping_metrics import KeepingCollector, SharingCollector
from keyrelay.api.metrics import Metrics
from keyrelay.api.observer import Watchers
from keyrelay.api.quota import QuotaRoutes
from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.request_list import RequestListView
from keyrelay.api.requests import RequestsView
from keyrelay.api.siblings import Siblings
from keyrelay.api.usage import UsagePlanner, UsageView
from keyrelay.api.views import Access, View
from keyrelay.bootstrap.engine import SystemClock, compose_answers, compose_gateway, compose_pool, reconfigure
from keyrelay.bootstrap.keeping import Keeping
from keyrelay.bootstrap.parts import data_plane_settings, open_log, secrets_of, transport_settings
from keyrelay.configuration.values import Configuration
from keyrelay.core.configuration import Snapshot
from keyrelay.core.errors import ConfigurationError, StoreError
from keyrelay.core.identity import WorkerIdentity, instance_name
from keyrelay.core.limits import WindowKind
from keyrelay.engine.explanations import Explainer
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.quota_events import QuotaEvents
from keyrelay.engine.quota_view import QuotaView
from keyrelay.engine.rebuilding import Rebuilding, Spent
from keyrelay.engine.snapshots import Snapshots
from keyrelay.ports import Ledger, Ports
from keyrelay.storage.memory_cache import MemoryCache
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.usage_queries import UsageQueries
from keyrelay.upstream.transport import HttpTransport

if TYPE_CHECKING:
    from keyrelay.bootstrap.shared import Shared


def compose(
    configuration: Configuration, *, identity: WorkerIdentity | None = None, siblings: Siblings | None = None
) -> Application:
    """The application for a configuration, as one of its workers, or alone. Raise ConfigurationError."""
    settings = configuration.settings
    identity = identity or WorkerIdentity(instance_name(socket.gethostname(), settings.port))
    return _Composition(configuration, identity, siblings or Siblings()).application()


class _Composition:
    """Everything of one gateway, made in the order in which one part needs another."""

    def __init__(self, configuration: Configuration, identity: WorkerIdentity, siblings: Siblings) -> None:
        settings = configuration.settings
        self.configuration = configuration
        self.siblings = siblings
        self.clock = SystemClock()
        self.log = open_log(configuration)
        self.pool = compose_pool(configuration, self._note)
        self.shared = self._open_shared(identity)
        self.keeping = Keeping(
            configuration, self.clock, self._report, snapshot=self._snapshot, chief=identity.slot == 0
        )
        self.metrics = Metrics(self.pool, self.clock.epoch_s)
        self.watchers = Watchers(self.metrics, self.log, self.clock.epoch_s, self.keeping.journal)
        self.transport = HttpTransport(transport_settings(settings))
        self.ledger: Ledger = MemoryLedger() if self.shared is None else self.shared.ledger
        ports = Ports(
            upstream=self.transport,
            ledger=self.ledger,
            clock=self.clock,
            observer=self.watchers,
            random=random.random,
            journal=self.keeping.journal,
            confirm=None if self.shared is None else self.shared.ledger.confirm,
        )
        cache = MemoryCache(settings.cache_max_bytes) if self.shared is None else self.shared.cache
        self.answers = compose_answers(
            configuration, self.pool, ports, cache, report=lambda text: self._report(text, "keyrelay.cache")
        )
        self.gateway: Gateway = compose_gateway(
            configuration,
            self.pool,
            ports,
            answers=self.answers,
            report=lambda text: self._report(text, "keyrelay.learner"),
        )
        self.snapshots = Snapshots(
            self.keeping.store,
            health=self.pool.health,
            learner=self.gateway.learner,
            pool=self.pool,
            clock=self.clock,
            report=lambda text: self._report(text, "keyrelay.store"),
        )
        shared_check = () if self.shared is None else (self.shared.check,)
        checks = (self.keeping.journal_check, self.keeping.store_check, *shared_check)
        self.health = HealthView(self.pool, self.clock.epoch_s, checks)
        self.access = Access(lambda: self.pool.snapshot.clients, settings.operator_secret)
        self.data = DataPlane(self.gateway, self.clock, data_plane_settings(settings))
        self.quota_watch = QuotaWatch(
            self.pool, self.ledger, QuotaEvents(self.pool, self.ledger), self.log, self.clock.epoch_s
        )
        self.watchers.quota, self.watchers.decisions = self.quota_watch, self.gateway.decisions
        self.gateway.decisions.refresh = self.watchers.flush
        keeping = KeepingCollector(self.keeping.recorder, self.keeping.journal, self.clock.epoch_s)
        sharing = () if self.shared is None else (SharingCollector(self.shared.ledger.status),)
        collectors = (self.metrics, self.quota_watch, CacheCollector(self.answers), keeping, *sharing)
        self.exposition = Exposition(collectors, siblings, self.watchers.flush)

    def application(self) -> Application:
        """The application."""
        return Application(
            self.data,
            create_control_plane(self.health, self.exposition, self._views()),
            self.health,
            log=self.log,
            hooks=Hooks(start=self.start, stop=self.stop, apply=self.apply, sample=self.exposition.sample),
        )

    async def start(self) -> None:
        """Know what was known before, and begin to keep what is to come."""
        await self.keeping.open(self.snapshots, self._known_late)
        if self.shared is None:
            await self.keeping.tell(self._rebuilding(self.ledger))
        else:
            await self.shared.start(self.gateway, self.clock)
        self.snapshots.follow()

    async def stop(self) -> None:
        """Let go of everything, in the order in which it is used."""
        await self.answers.flights.stop()
        await self.transport.aclose()
        self.watchers.flush()
        if self.shared is not None:
            await self.shared.stop()
        await self.keeping.close(self.snapshots)
        self.gateway.decisions.clear()

    def apply(self, changed: Configuration) -> None:
        """Go on with another configuration."""
        self.log.redactor.know(secrets_of(changed))
        self.log.configure(changed.settings)
        self.access.configure(changed.settings.operator_secret)
        self.data.configure(data_plane_settings(changed.settings))
        reconfigure(self.gateway, changed)

    def _views(self) -> tuple[View, ...]:
        access, now, settings = self.access, self.clock.epoch_s, self.configuration.settings
        explainer = Explainer(self.ledger, self.gateway.learner.redactor.redact)
        usage, requests = UsageQueries(self.keeping.reader), RequestQueries(self.keeping.reader)
        planner = UsagePlanner(usage, settings, now)
        return (
            QuotaRoutes(QuotaView(self.pool, self.ledger, self.gateway.learner), self.pool.calibrations, access, now),
            UsageView(usage, planner, access),
            ExportsView(usage, requests, planner, access, now),
            RequestListView(requests, access, now),
            RequestsView(self.gateway.decisions, explainer, access, now, stored=requests, siblings=self.siblings),
            CacheRoutes(self.answers, access, shared=settings.cache_scope == "shared"),
        )

    def _open_shared(self, identity: WorkerIdentity) -> "Shared | None":
        if not self.configuration.settings.redis_url.reveal():
            return None
        shared = importlib.import_module("keyrelay.bootstrap.shared")
        try:
            made: Shared = shared.Shared(
                self.configuration, identity, self.clock, report=self._report, rebuild=self._used_of
            )
        except StoreError as error:
            raise ConfigurationError("KEYRELAY_REDIS_URL", str(error)) from None
        return made

    async def _used_of(self, provider_id: str) -> Iterable[Spent]:
        """What the store knows that was used of a provider."""
        used, ever = await self.keeping.used()
        spent = self._rebuilding(self.ledger).spent
        return [
            (tuple(key for key in path if (key.limit.window.kind is WindowKind.ONCE) is once), amounts, at_s)
            for rows, once in ((used, False), (ever, True))
            for path, amounts, at_s in spent(each for each in rows if each.provider == provider_id)
        ]

    async def _known_late(self) -> None:
        """The store answers after all: what it knows counts from now on."""
        await self.snapshots.restore()
        if self.shared is None:
            rebuilding = self._rebuilding(MemoryLedger())
            await self.keeping.tell(rebuilding, late=True)
            rebuilding.raise_counts_of(self.ledger)
        self.snapshots.follow()

    def _snapshot(self) -> Snapshot:
        return self.pool.snapshot

    def _rebuilding(self, ledger: Ledger) -> Rebuilding:
        return Rebuilding(self.pool, ledger, self.gateway.learner.book, self.clock.epoch_s())

    def _report(self, text: str, source: str) -> None:
        self.log.write_message(self.clock.epoch_s(), "warning", text, source)

    def _note(self, text: str) -> None:
        self.log.write_message(self.clock.epoch_s(), "debug", text, "keyrelay.tokens")
