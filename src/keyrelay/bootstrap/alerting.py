"""Alerts, joined with what they look at, the store, and the ways to deliver them."""

import importlib
import random
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from keyrelay.administration.alerts import alert_secrets, destinations_of, policy_of
from keyrelay.administration.service import Administration
from keyrelay.alerting.levels import Fact
from keyrelay.alerting.telling import Facts, matters
from keyrelay.api.access import Access
from keyrelay.api.administration.alert_channels import AlertChannelsView
from keyrelay.api.administration.alerts import AlertsView
from keyrelay.api.health import Check
from keyrelay.api.views import View
from keyrelay.bootstrap.parts import address_policy
from keyrelay.core.administered import Administered, KeyEntry, Place
from keyrelay.core.alerts import AlertMessage
from keyrelay.core.redaction import Redactor
from keyrelay.core.secrets import Secret
from keyrelay.core.usage_sums import SumsRow
from keyrelay.core.usage_views import UsageQuery
from keyrelay.engine.alert_delivery import Deliveries
from keyrelay.engine.alert_facts import FOREIGN, Condition, Situation
from keyrelay.engine.alert_usage import MOST_CATEGORIES, Ask, UsageFacts
from keyrelay.engine.alerts import Alerts, AlertSettings, Known, read_known
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.housekeeping import Chore
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.quota_view import QuotaView, in_turns
from keyrelay.notify.channels import Channels
from keyrelay.notify.http import HttpChannels
from keyrelay.notify.operators import OperatorsChannel
from keyrelay.ports import Ports
from keyrelay.settings import Settings
from keyrelay.storage.alert_store import SqlAlertStore
from keyrelay.storage.database import Database
from keyrelay.storage.usage_queries import UsageQueries
from keyrelay.upstream.dialling import connect_allowed, verifying_context

if TYPE_CHECKING:
    from keyrelay.notify.mail import Mail

_KNOW_EVERY_S = 1.0
_DAY_S = 86_400.0
MAX_TEXTS = 1_000
"""Texts that are remembered as they are without secrets."""

_PARTS = frozenset({"store", "journal", "redis"})

Checks = Callable[[], Iterable[Check]]


class Alerting:
    """Everything about alerts. The chief of an instance alone looks after them; all its workers answer about them."""

    def __init__(
        self,
        administration: Administration,
        *,
        gateway: Gateway,
        ports: Ports,
        database: Database,
        usage: UsageQueries,
        keys: KeyHealth,
        sources: "AlertSources",
    ) -> None:
        settings = sources.settings()
        self._administration = administration
        self._clock = clock = ports.clock
        self._redactor, self._learn = sources.redactor, sources.learn
        self._known_secrets: Mapping[Place, Secret] = {}
        self._texts: dict[str, str] = {}
        self._every_s = settings.alert_interval_s
        self._store = SqlAlertStore(database)
        self._channels = _channels(ports, sources.settings)
        self._deliveries = Deliveries(
            self._channels,
            lambda: destinations_of(administration.state),
            self._store,
            clock=clock,
            random=ports.random,
        )
        self._situation = Situation(
            gateway.pool,
            ports.ledger,
            quota=QuotaView(gateway.pool, ports.ledger, gateway.learner),
            keys=keys,
            expiries=lambda: expiries_of(administration.state),
            conditions=lambda: conditions_of(sources.checks()),
        )
        self._usage = UsageFacts(_asking(usage))
        self.alerts = Alerts(
            self._store,
            self._deliveries,
            name=sources.instance,
            gather=self._gather,
            policy=lambda: policy_of(administration.state),
            publish=sources.publish,
            clock=clock,
            settings=AlertSettings(
                every_s=self._every_s, keep_s=settings.keep_alerts_days * _DAY_S, bits=random.getrandbits
            ),
        )

    def views(self, access: Access) -> tuple[View, ...]:
        """The routes."""
        now = self._clock.epoch_s
        return (
            AlertChannelsView(access, self._administration, send=self._deliveries.try_once, epoch_s=now),
            AlertsView(access, self._administration, self._store, known=self._read, epoch_s=now),
        )

    def chores(self, *, chief: bool) -> tuple[Chore, ...]:
        """What is done now and then."""
        knowing = Chore("knowing the secrets of channels", _KNOW_EVERY_S, self._know)
        if not chief:
            return (knowing,)
        return knowing, Chore("looking after alerts", self._every_s, self.alerts.round, first_s=self._every_s)

    def secrets(self) -> list[str]:
        """Everything of channels that must not be written anywhere."""
        return alert_secrets(self._administration.state)

    async def stop(self) -> None:
        """Let go of everything."""
        await self.alerts.stop()
        await self._deliveries.stop()
        self._channels.close()

    async def _read(self) -> Known:
        return read_known(await self._store.read())

    async def _gather(self, now_s: float) -> Facts:
        usage = await self._usage.facts(now_s)
        policy = policy_of(self._administration.state)
        found = [fact async for fact in in_turns(await self._situation.facts(now_s)) if matters(policy, fact)]
        found += [fact for fact in usage.facts if matters(policy, fact)]
        return Facts(tuple([self._redacted(fact) async for fact in in_turns(found)]), usage.unknown)

    def _redacted(self, fact: Fact) -> Fact:
        """The fact without secrets in what others have said; that is much the same each time, and looked at once."""
        if fact.rule not in FOREIGN:
            return fact
        detail = self._texts.get(fact.detail)
        if detail is None:
            if len(self._texts) >= MAX_TEXTS:
                self._texts.clear()
            detail = self._texts[fact.detail] = self._redactor.redact(fact.detail)
        return fact if detail == fact.detail else msgspec.structs.replace(fact, detail=detail)

    async def _know(self) -> None:
        """Have the log know of secrets that were administered meanwhile."""
        secrets = self._administration.state.secrets
        if secrets is not self._known_secrets:
            self._known_secrets = secrets
            self._learn()
            self._texts.clear()

    def __repr__(self) -> str:
        return f"<Alerting {self.alerts!r}>"


class AlertSources(msgspec.Struct, frozen=True, kw_only=True):
    """The rest of a gateway, as far as alerts need it.

    `checks` are those of readiness, `publish` is told of each message, `redactor` takes secrets out of what is said,
    and `learn` has it know all that there are.
    """

    instance: str
    settings: Callable[[], Settings]
    checks: Checks
    publish: Callable[[AlertMessage], None]
    redactor: Redactor
    learn: Callable[[], None]


def expiries_of(state: Administered) -> dict[str, float]:
    """When keys expire, by their ids, of those that do."""
    return {entry.id: entry.expires_s for entry in state.all(KeyEntry) if entry.expires_s}


def conditions_of(checks: Iterable[Check]) -> Iterator[Condition]:
    """How the parts are that there are rules for."""
    for check in checks:
        if check.name in _PARTS:
            yield Condition(check.name, check.ok, check.degraded, check.detail)


def _asking(usage: UsageQueries) -> Ask:
    async def ask(query: UsageQuery) -> tuple[SumsRow, ...]:
        return await usage.page(query, None, MOST_CATEGORIES)

    return ask


def _channels(ports: Ports, settings: Callable[[], Settings]) -> Channels:
    """The ways to deliver."""
    policy = address_policy(settings())  # as of the start, like the transport's

    async def connect(host: str, port: int, timeout_s: float) -> socket.socket:
        return await connect_allowed(host, port, policy, timeout_s=timeout_s)

    def mail() -> "Mail":
        made: Mail = importlib.import_module("keyrelay.notify.mail").Mail(connect, _mail_context)
        return made

    return Channels(
        HttpChannels(ports.upstream, ports.clock),
        mail,
        OperatorsChannel(lambda: tuple(settings().apprise_urls.reveal().split())),
    )


def _mail_context() -> ssl.SSLContext:
    context = verifying_context("")
    context.set_alpn_protocols([])  # it is no HTTP
    return context
