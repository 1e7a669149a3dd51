"""The gateway as one ASGI application: both planes over the engine, and what outlives the process."""

import importlib
import random
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.registry import Collector

from keyrelay.administration.clients import Clients
from keyrelay.api.administration.clients import ClientsView, OwnView
from keyrelay.api.administration.importing import ImportView
from keyrelay.api.alert_metrics import AlertsCollector
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
from keyrelay.api.request_log import RequestLog
from keyrelay.api.request_texts import RequestTextsView
from keyrelay.api.requests import RequestsView
from keyrelay.api.siblings import Siblings
from keyrelay.api.usage import UsagePlanner, UsageView
from keyrelay.api.views import View
from keyrelay.bootstrap.administering import Administering
from keyrelay.bootstrap.alerting import Alerting, AlertSources
from keyrelay.bootstrap.engine import SystemClock, compose_answers, compose_gateway, compose_pool, reconfigure
from keyrelay.bootstrap.files import compose_files
from keyrelay.bootstrap.health import HealthWatch
from keyrelay.bootstrap.importing import compose_importer, used_elsewhere
from keyrelay.bootstrap.keeping import Keeping
from keyrelay.bootstrap.keys import KeyAdministration, UsageOfKeys
from keyrelay.bootstrap.parts import (
    address_policy,
    data_plane_settings,
    open_log,
    secrets_of,
    transport_settings,
    trusted_proxies,
)
from keyrelay.bootstrap.providing import provider_views
from keyrelay.bootstrap.texts import Texts
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration.values import Configuration
from keyrelay.configuration.watching import Load
from keyrelay.core.administered import ClientEntry
from keyrelay.core.alerts import AlertMessage
from keyrelay.core.configuration import Snapshot
from keyrelay.core.errors import ConfigurationError, StoreError
from keyrelay.core.identity import WorkerIdentity, instance_name
from keyrelay.core.limits import WindowKind
from keyrelay.core.records import Used
from keyrelay.core.secrets import Secret
from keyrelay.engine.cache import AnswerCache
from keyrelay.engine.events import Topic
from keyrelay.engine.explanations import Explainer
from keyrelay.engine.files import Files
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.housekeeping import Chore
from keyrelay.engine.quota_events import QuotaEvents
from keyrelay.engine.quota_view import QuotaView
from keyrelay.engine.rebuilding import Rebuilding, Spent
from keyrelay.engine.snapshots import Snapshots
from keyrelay.outbox import Outbox
from keyrelay.ports import Ledger, Ports
from keyrelay.storage.error_queries import ErrorQueries
from keyrelay.storage.memory_cache import MemoryCache
from keyrelay.storage.memory_ledger import MemoryLedger
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.usage_queries import UsageQueries
from keyrelay.upstream.transport import HttpTransport

if TYPE_CHECKING:
    from keyrelay.bootstrap.shared import Shared

_COUNT_EVERY_S = 2.0
_FLUSH_S = 2.0
"""Longest wait for rows to reach the store before all of them are counted anew."""


def compose(
    configuration: Configuration,
    *,
    identity: WorkerIdentity | None = None,
    siblings: Siblings | None = None,
    load: Load | None = None,
    gathers: bool = False,
) -> Application:
    """The application for a configuration, as one of its workers, or alone; `load` reads it anew.

    With `gathers` the journal is written before each few answers instead of before each, for a server that answers
    through the application's outbox. Raise ConfigurationError.
    """
    settings = configuration.settings
    identity = identity or WorkerIdentity(instance_name(socket.gethostname(), settings.port))
    composition = Composition(configuration, identity, siblings or Siblings(), load)
    composition.keeping.journal.gathers = gathers
    return composition.application()


class Composition:
    """Everything of one gateway, made in the order in which one part needs another.

    What leaves traces when it is opened has a method of its own, for one that only looks (`bootstrap/stored.py`).
    """

    def __init__(
        self, configuration: Configuration, identity: WorkerIdentity, siblings: Siblings, load: Load | None
    ) -> None:
        settings = configuration.settings
        self.configuration = configuration
        self.siblings = siblings
        self._chief = identity.slot == 0
        self._started = False
        self.clock = SystemClock()
        self.log = self._open_log()
        self.pool = compose_pool(configuration, self._note)
        self.shared = self._open_shared(identity)
        self.keeping = self._open_keeping()
        vault = VaultOpener(settings, self.keeping.database, self.clock)
        self.texts = Texts(settings, self.keeping.database, self.keeping.reader, vault=vault, clock=self.clock)
        self.administering = self._open_administering(load, vault)
        self.keeping.elsewhere = self._used_elsewhere
        self.metrics = Metrics(self.pool, self.clock.epoch_s)
        self.watchers = Watchers(self.metrics, self.log, self.clock.epoch_s, self.keeping.journal)
        self.outbox = Outbox(self.keeping.journal.commit)
        self.transport = HttpTransport(transport_settings(settings), self.outbox)
        self.ledger: Ledger = MemoryLedger() if self.shared is None else self.shared.ledger
        self.ports = ports = self._open_ports()
        self.answers = self._open_answers()
        self.gateway = self._open_gateway()
        self.gateway.client_limits.known = self.shared is not None  # which knows by itself, and refuses until then
        self.snapshots = self._open_snapshots()
        shared_check = () if self.shared is None else (self.shared.check,)
        checks = (self.keeping.journal_check, self.keeping.store_check, self.administering.check, *shared_check)
        self.health = HealthView(self.pool, self.clock.epoch_s, checks)
        self.usage = UsageQueries(self.keeping.reader)
        self.planner = UsagePlanner(self.usage, settings, self.clock.epoch_s)
        self.keys = self._open_keys(ports, vault)
        self.watch = self._open_watch(identity)
        self.alerting = self._open_alerting(identity)
        self.watchers.keys, self.watchers.events = self.keys.history, self.watch.events
        self.keys.history.refresh = self.watchers.flush
        self.access = self.administering.access
        self.data = DataPlane(
            self.gateway,
            self.administering.callers,
            self.clock,
            settings=data_plane_settings(settings),
            texts=self.texts.copying,
        )
        self.quota_watch = QuotaWatch(
            self.pool, self.ledger, QuotaEvents(self.pool, self.ledger), self.log, self.clock.epoch_s
        )
        self.quota_watch.events = self.administering.events = self.watch.events
        self.watchers.quota, self.watchers.decisions = self.quota_watch, self.gateway.decisions
        self.gateway.decisions.refresh = self.watchers.flush
        self.exposition = Exposition(self._collectors(), siblings, self.watchers.flush)

    def application(self) -> Application:
        """The application."""
        return Application(
            self.data,
            create_control_plane(
                self.health,
                self.exposition,
                self._views(),
                redact=self.log.redactor.redact,
                notice=self.administering.notice,
            ),
            self.health,
            watch=self.administering.watch,
            administration=self.administering.administration,
            log=self.log,
            hooks=Hooks(start=self.start, stop=self.stop, sample=self.exposition.sample),
            outbox=self.outbox,
        )

    async def start(self) -> Secret:
        """Know what was known before, and begin to keep what is to come; the set-up code if one is to be shown."""
        looking = (*self.alerting.chores(chief=self._chief), *self.watch.chores())
        counting = Chore("counting what clients have used", _COUNT_EVERY_S, self._count_clients, first_s=_COUNT_EVERY_S)
        chores = (self.administering.chore(), counting, *self.keys.chores(), *self.texts.chores(), *looking)
        await self.keeping.open(self.snapshots, self._known_late, chores)
        await self.texts.open()
        await self.administering.open()
        if self.shared is None:
            await self.keeping.tell(self._rebuilding(self.ledger))
            self.gateway.client_limits.known = self.keeping.told and self._knows_clients
        else:
            await self.shared.start(self.gateway, self.clock)
        self._started = True
        self.snapshots.follow()
        return await self.administering.offer_set_up() if self._chief else Secret("")

    async def stop(self) -> None:
        """Let go of everything, in the order in which it is used."""
        await self.keys.stop()
        await self.watch.stop()
        await self.alerting.stop()
        await self.answers.flights.stop()
        await self.transport.aclose()
        self.watchers.flush()
        if self.shared is not None:
            await self.shared.stop()
        if not await self.texts.close():
            self._report("the store did not take all prompts and answers; the rest is lost", "keyrelay.store")
        await self.keeping.close(self.snapshots)
        self.administering.close()
        self.gateway.decisions.clear()

    def apply(self, changed: Configuration) -> None:
        """Go on with another configuration."""
        self._learn_secrets()
        self.log.configure(changed.settings)
        self.access.configure(changed.settings.operator_secret, trusted_proxies(changed.settings))
        self.data.configure(data_plane_settings(changed.settings))
        reconfigure(self.gateway, changed)
        if self.shared is not None:
            self.shared.configured()
        self.watch.configure(changed.settings)

    def _collectors(self) -> tuple[Collector, ...]:
        keeping = KeepingCollector(self.keeping.recorder, self.keeping.journal, self.clock.epoch_s)
        sharing = () if self.shared is None else (SharingCollector(self.shared.ledger.status),)
        more = (*sharing, *self.texts.collectors(), AlertsCollector(self.alerting.alerts))
        return (self.metrics, self.quota_watch, CacheCollector(self.answers), keeping, *more)

    def _views(self) -> tuple[View, ...]:
        access, now, settings = self.access, self.clock.epoch_s, self.configuration.settings
        explainer = Explainer(self.ledger, self.gateway.learner.redactor.redact)
        usage, planner, requests = self.usage, self.planner, RequestQueries(self.keeping.reader)
        return (
            QuotaRoutes(QuotaView(self.pool, self.ledger, self.gateway.learner), self.pool.calibrations, access, now),
            UsageView(usage, planner, access, self._tagged),
            ExportsView(usage, requests, planner, access, epoch_s=now, tagged=self._tagged),
            RequestListView(requests, access, now),
            RequestsView(self.gateway.decisions, explainer, access, now, stored=requests, siblings=self.siblings),
            RequestTextsView(self.texts.keeper, access),
            CacheRoutes(self.answers, access, shared=settings.cache_scope == "shared"),
            *self.administering.views(),
            ImportView(
                access,
                compose_importer(self.administering.administration, settings, now, self._count_anew),
            ),
            *self._client_views(),
            *self.alerting.views(access),
            *self.watch.views(access, self.gateway, self.keeping.reader),
            *self.keys.views(self.siblings),
            *provider_views(
                self.administering.administration,
                access,
                self.gateway,
                self.ports,
                policy=address_policy(settings),
                health=self.keys.health,
                test=self.keys.tests.test,
            ),
        )

    def _client_views(self) -> tuple[View, ...]:
        """The routes of clients."""
        administering, access, now = self.administering, self.access, self.clock.epoch_s
        clients = Clients(
            administering.administration, lambda: administering.watch.configuration, self.keeping.charged, now
        )
        view = ClientsView(clients, self.gateway.client_limits, access, now)
        return view, OwnView(view, self.usage, self.planner, access, now)

    def _open_log(self) -> RequestLog:
        return open_log(self.configuration)

    def _open_keeping(self) -> Keeping:
        return Keeping(self.configuration, self.clock, self._report, snapshot=self._snapshot, chief=self._chief)

    def _open_administering(self, load: Load | None, vault: VaultOpener) -> Administering:
        return self._administering_by(Administering, load, vault, quiet=not self.siblings.alone)

    def _administering_by(
        self, kind: type[Administering], load: Load | None, vault: VaultOpener, *, quiet: bool
    ) -> Administering:
        return kind(
            self.configuration,
            load,
            self.keeping.database,
            vault=vault,
            clock=self.clock,
            apply=self.apply,
            report=self._say,
            quiet=quiet,
        )

    def _open_files(self) -> Files | None:
        return compose_files(self.configuration.settings, self.pool, lambda text: self._report(text, "keyrelay.files"))

    def _open_keys(self, ports: Ports, vault: VaultOpener) -> KeyAdministration:
        return KeyAdministration(
            self.administering.administration,
            self.administering.access,
            gateway=self.gateway,
            ports=ports,
            usage=UsageOfKeys(self.usage, self.planner, ErrorQueries(self.keeping.reader), self.clock.epoch_s),
            vault=vault,
            database=self.keeping.database,
            siblings=self.siblings,
        )

    def _open_watch(self, identity: WorkerIdentity) -> HealthWatch:
        return HealthWatch(
            self.configuration.settings,
            self.gateway,
            self.ports,
            keys=self.keys.health,
            checks=self.health,
            siblings=self.siblings,
            identity=identity,
        )

    def _open_alerting(self, identity: WorkerIdentity) -> Alerting:
        return Alerting(
            self.administering.administration,
            gateway=self.gateway,
            ports=self.ports,
            database=self.keeping.database,
            usage=self.usage,
            keys=self.keys.health,
            sources=AlertSources(
                instance=identity.instance,
                settings=lambda: self.administering.watch.configuration.settings,
                checks=self.health.checks,
                publish=self._publish_alert,
                redactor=self.log.redactor,
                learn=self._learn_secrets,
            ),
        )

    def _open_ports(self) -> Ports:
        return Ports(
            upstream=self.transport,
            ledger=self.ledger,
            clock=self.clock,
            observer=self.watchers,
            random=random.random,
            journal=self.keeping.journal,
            confirm=None if self.shared is None else self.shared.ledger.confirm,
        )

    def _open_answers(self) -> AnswerCache:
        most_bytes = self.configuration.settings.cache_max_bytes
        cache = MemoryCache(most_bytes) if self.shared is None else self.shared.cache
        return compose_answers(
            self.configuration, self.pool, self.ports, cache, report=lambda text: self._report(text, "keyrelay.cache")
        )

    def _open_gateway(self) -> Gateway:
        return compose_gateway(
            self.configuration,
            self.pool,
            self.ports,
            answers=self.answers,
            state=None if self.shared is None else self.shared.state,
            files=self._open_files(),
            report=lambda text: self._report(text, "keyrelay.learner"),
        )

    def _open_snapshots(self) -> Snapshots:
        return Snapshots(
            self.keeping.store,
            health=self.pool.health,
            learner=self.gateway.learner,
            pool=self.pool,
            clock=self.clock,
            report=lambda text: self._report(text, "keyrelay.store"),
        )

    def _open_shared(self, identity: WorkerIdentity) -> "Shared | None":
        if not self.configuration.settings.redis_url.reveal():
            return None
        shared = importlib.import_module("keyrelay.bootstrap.shared")
        try:
            made: Shared = shared.Shared(
                self.configuration,
                identity,
                self.clock,
                report=self._report,
                rebuild=self._used_of,
                clients=lambda: self.pool.snapshot.clients,
            )
        except StoreError as error:
            raise ConfigurationError("KEYRELAY_REDIS_URL", str(error)) from None
        self.siblings.reach(made.hosts)
        return made

    async def _used_of(self, provider_id: str) -> Iterable[Spent]:
        """What the store knows that was used of a provider, or of the clients of a partition."""
        used, ever = await self.keeping.used()
        rebuilding = self._rebuilding(self.ledger)
        if self.shared is not None and self.shared.is_of_clients(provider_id):
            if self.administering.administration.unread:
                raise StoreError("which limits clients have is not known yet")
            used, ever = (self.shared.clients_in(provider_id, rows) for rows in (used, ever))
            return rebuilding.spent_by_clients(used, once=False) + rebuilding.spent_by_clients(ever, once=True)
        spent = rebuilding.spent
        return [
            (tuple(key for key in path if (key.limit.window.kind is WindowKind.ONCE) is once), amounts, at_s)
            for rows, once in ((used, False), (ever, True))
            for path, amounts, at_s in spent(each for each in rows if each.provider == provider_id)
        ]

    async def _known_late(self) -> None:
        """The store answers after all: what it knows counts from now on."""
        await self.snapshots.restore()
        await self.administering.administration.follow()
        if self.shared is None:
            await self._count_anew()
            self.gateway.client_limits.known = self._knows_clients
        self.snapshots.follow()

    @property
    def _knows_clients(self) -> bool:
        """Whether all clients of the store are in force, so that what they have used could be counted."""
        return not (self.administering.administration.unread or self.administering.watch.behind)

    async def _count_clients(self) -> None:
        """Where the start could not do so: the store that answered has not said all. Raise StoreError."""
        if self._started and self.keeping.reached and not self.gateway.client_limits.known:
            await self.administering.administration.follow()
            if self._knows_clients:
                await self._count_anew()
                self.gateway.client_limits.known = True

    async def _count_anew(self) -> None:
        """Let the ledger count at least what is known to have been used, here or elsewhere. Raise StoreError."""
        await self.keeping.recorder.flush(_FLUSH_S)
        rebuilding = self._rebuilding(MemoryLedger())
        await self.keeping.tell(rebuilding, late=True)
        rebuilding.raise_counts_of(self.ledger)

    def _tagged(self, tag: str) -> tuple[str, ...]:
        state = self.administering.administration.state
        return tuple(entry.label for entry in state.all(ClientEntry) if tag in entry.tags)

    def _used_elsewhere(self) -> list[Used]:
        return used_elsewhere(self.administering.administration.state, self.pool.snapshot)

    def _learn_secrets(self) -> None:
        """Have the log take out every secret that there is by now."""
        secrets = secrets_of(self.administering.watch.configuration)
        self.log.redactor.know([*secrets, *self.alerting.secrets()])

    def _publish_alert(self, message: AlertMessage) -> None:
        """Tell those who listen here."""
        events = self.watch.events
        if events.wants(Topic.ALERTS):
            events.publish(Topic.ALERTS, msgspec.json.encode(message))

    def _snapshot(self) -> Snapshot:
        return self.pool.snapshot

    def _rebuilding(self, ledger: Ledger) -> Rebuilding:
        return Rebuilding(self.pool, ledger, self.gateway.learner.book, self.clock.epoch_s())

    def _report(self, text: str, source: str) -> None:
        self._say("warning", text, source)

    def _say(self, level: str, text: str, source: str) -> None:
        self.log.write_message(self.clock.epoch_s(), level, text, source)

    def _note(self, text: str) -> None:
        self.log.write_message(self.clock.epoch_s(), "debug", text, "keyrelay.tokens")
