"""What looks after keys and providers and tells how everything stands, joined with the engine and the other workers."""

from collections.abc import Mapping

from keyrelay.api.access import Access
from keyrelay.api.administration.key_lines import QUESTION
from keyrelay.api.errors import ErrorsView
from keyrelay.api.event_relay import EventRelay
from keyrelay.api.events import EventsView
from keyrelay.api.health import Health as Checks
from keyrelay.api.provider_health import ProviderHealth
from keyrelay.api.siblings import Siblings
from keyrelay.api.status import StatusRoutes
from keyrelay.api.views import View
from keyrelay.bootstrap.parts import probe_rules
from keyrelay.core.identity import WorkerIdentity
from keyrelay.engine.events import Events
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.housekeeping import Chore
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.key_history import together
from keyrelay.engine.monitor import LOOK_EVERY_S, Monitor
from keyrelay.engine.pasts import Past
from keyrelay.engine.probing import Prober
from keyrelay.engine.quota_view import QuotaView
from keyrelay.engine.state_events import StateEvents
from keyrelay.engine.status_view import StatusView
from keyrelay.ports import Ports
from keyrelay.routing.status import Part
from keyrelay.settings import Settings
from keyrelay.storage.error_queries import ErrorQueries
from keyrelay.storage.reading import PromptReader

_OF_KEYS = "routable_key"
"""The check of readiness that the status goes into more deeply."""


class HealthWatch:
    """The monitor, the events and the views of one gateway."""

    __slots__ = (
        "_checks",
        "_chief",
        "_clock",
        "_keys",
        "_relay",
        "_siblings",
        "_states",
        "_status",
        "events",
        "monitor",
    )

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        ports: Ports,
        *,
        keys: KeyHealth,
        checks: Checks,
        siblings: Siblings,
        identity: WorkerIdentity,
    ) -> None:
        self._chief = identity.slot == 0
        self._clock = clock = ports.clock
        self._keys = keys
        self._checks = checks
        self._siblings = siblings
        self.events = Events(clock, identity.slot)
        self._relay = EventRelay(self.events, siblings, clock)
        quota = QuotaView(gateway.pool, ports.ledger, gateway.learner)
        self._status = StatusView(gateway.pool, ports.ledger, keys=keys, quota=quota, parts=self._parts, clock=clock)
        self._states = StateEvents(self.events, gateway.pool, keys, self._status, clock)
        self.monitor = Monitor(
            gateway.pool,
            Prober(ports.upstream, clock),
            keys,
            rules=probe_rules(settings, chief=self._chief),
            clock=clock,
            random=ports.random,
            pasts=self._pasts,
            found=gateway.announce,
        )

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.monitor.rules = probe_rules(settings, chief=self._chief)

    def views(self, access: Access, gateway: Gateway, reader: PromptReader) -> tuple[View, ...]:
        """The routes."""
        now = self._clock.epoch_s
        providers = ProviderHealth(gateway.pool, self._keys, self.monitor, self._siblings, now)
        return (
            StatusRoutes(self._status, providers, access),
            ErrorsView(ErrorQueries(reader), access, now),
            EventsView(self.events, access),
        )

    def chores(self) -> tuple[Chore, ...]:
        """What is done every second."""
        return (
            Chore("looking after keys and providers", LOOK_EVERY_S, self.monitor.look),
            Chore("telling of changes", LOOK_EVERY_S, self._look),
        )

    async def stop(self) -> None:
        """End probes and events."""
        self.events.close()
        await self.monitor.stop()
        await self._relay.stop()

    async def _look(self) -> None:
        if self._checks.draining or self._checks.leaving:
            self.events.close()  # they would else keep this process from ending
        await self._relay.look()
        await self._states.look()

    async def _pasts(self) -> Mapping[str, Past]:
        return together(self._keys.history.all(), await self._siblings.ask(QUESTION))

    def _parts(self) -> list[Part]:
        return [
            Part(name=check.name, ok=check.ok, degraded=check.degraded, detail=check.detail)
            for check in self._checks.checks()
            if check.name != _OF_KEYS
        ]

    def __repr__(self) -> str:
        return f"<HealthWatch {self.monitor!r} {self.events!r}>"
