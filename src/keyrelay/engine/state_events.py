"""Events about keys, providers and the whole: found by comparing now and then, while anybody listens.

So it costs nobody anything on the way of a request, and hears of what other workers have found out and of what the time
alone has changed.
"""

from typing import Any

import msgspec

from keyrelay.core.moments import known_moment, rfc3339
from keyrelay.engine.events import Events, Topic
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.pool import Pool
from keyrelay.engine.quota_view import in_turns
from keyrelay.engine.status_view import StatusView
from keyrelay.ports import Clock
from keyrelay.routing.key_states import KeyCondition
from keyrelay.routing.status import Level

LOOK_EVERY_S = 1.0
_STATUS_EVERY = 5
"""The status takes all forecasts, so it is looked at less often."""

_MAX_REASONS = 20


class StateEvents:
    """Compares, and tells of what is other than it was."""

    __slots__ = ("_circuits", "_clock", "_conditions", "_events", "_keys", "_level", "_looks", "_pool", "_status")

    def __init__(self, events: Events, pool: Pool, keys: KeyHealth, status: StatusView, clock: Clock) -> None:
        self._events = events
        self._pool = pool
        self._keys = keys
        self._status = status
        self._clock = clock
        self._conditions: dict[str, KeyCondition] | None = None
        self._circuits: dict[str, str] | None = None
        self._level: Level | None = None
        self._looks = 0

    async def look(self) -> None:
        """Tell of what has changed since the last look; the first one since somebody listens only takes note."""
        if self._events.wants(Topic.KEYS):
            await self._look_at_keys()
        else:
            self._conditions = None
        if self._events.wants(Topic.HEALTH):
            self._look_at_circuits()
            if not self._looks % _STATUS_EVERY:
                await self._look_at_status()
            self._looks += 1
        else:
            self._circuits, self._level, self._looks = None, None, 0

    async def _look_at_keys(self) -> None:
        snapshot, candidates = self._pool.snapshot, self._keys.candidates()
        everything = [*((key, None) for key in snapshot.keys), *((each.key, each) for each in snapshot.withheld)]
        found = dict[str, KeyCondition]()
        async for key, withheld in in_turns(everything):
            found[key.id], _ = self._keys.condition(key, withheld, candidates.get(key.id, ()))
        before, self._conditions = self._conditions, found
        if before is None:
            return
        for key_id, now in found.items():
            was = before.get(key_id)
            if was is None or (was.state, was.kind) != (now.state, now.kind):
                self._tell(
                    Topic.KEYS,
                    key=key_id,
                    state=now.state,
                    was=None if was is None else was.state,
                    until=known_moment(now.until_s),
                    reason=now.kind,
                    message=now.message,
                    way_back=now.way_back,
                )
        for key_id in before.keys() - found.keys():
            self._tell(Topic.KEYS, key=key_id, state=None, was=before[key_id].state)

    def _look_at_circuits(self) -> None:
        now_s = self._clock.epoch_s()
        circuits = {
            provider: self._pool.health.circuit(f"provider:{provider}") for provider in self._pool.snapshot.providers
        }
        found = {
            provider: "closed" if each.closed else "open" if each.open_until_s > now_s else "half_open"
            for provider, each in circuits.items()
        }
        before, self._circuits = self._circuits, found
        for provider, state in found.items():
            was = state if before is None else before.get(provider, "closed")
            if was != state:
                circuit = circuits[provider]
                until = known_moment(circuit.open_until_s) if state == "open" else None
                self._tell(
                    Topic.HEALTH,
                    about="circuit",
                    provider=provider,
                    state=state,
                    was=was,
                    until=until,
                    message=circuit.reason,
                )

    async def _look_at_status(self) -> None:
        status = await self._status.status()
        before, self._level = self._level, status.level
        if before is not None and before is not status.level:
            reasons = [reason.text for reason in status.reasons[:_MAX_REASONS]]
            self._tell(Topic.HEALTH, about="status", status=status.level, was=before, reasons=reasons)

    def _tell(self, topic: Topic, **fields: Any) -> None:
        document = {"time": rfc3339(self._clock.epoch_s()), **fields}
        self._events.publish(topic, msgspec.json.encode(document))

    def __repr__(self) -> str:
        return f"<StateEvents for {self._events!r}>"
