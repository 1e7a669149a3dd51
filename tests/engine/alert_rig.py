"""A store, channels and a clock for tests of alerts, all of them real implementations of their ports."""

import asyncio
from collections.abc import Sequence

import msgspec

from keyrelay.alerting.levels import Fact
from keyrelay.alerting.rules import BY_NAME
from keyrelay.alerting.telling import Facts, Policy
from keyrelay.core.alerts import (
    AlertMessage,
    AlertRecord,
    Channel,
    ChannelSecret,
    Destination,
    Outcome,
    RuleName,
)
from keyrelay.core.errors import StoreError
from keyrelay.engine.alert_delivery import Deliveries
from keyrelay.engine.alerts import Alerts, AlertSettings
from keyrelay.ports import StoredAlerts

START_S = 1_800_000_000.0
EVERY_S = 10.0
RULE = msgspec.structs.replace(BY_NAME[RuleName.KEY_INVALID], for_s=0.0, clear_for_s=0.0, gather_s=0.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = START_S

    def monotonic_s(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return self.now_s


class MemoryAlertStore:
    """Implements `ports.AlertStore` in memory; while it is `away` everything raises StoreError."""

    def __init__(self) -> None:
        self.stored = StoredAlerts(0, b"")
        self.records: dict[str, AlertRecord] = {}
        self.away = False
        self.commits = 0

    def _here(self) -> None:
        if self.away:
            raise StoreError("the store is away")

    async def read(self) -> StoredAlerts:
        self._here()
        stored = self.stored
        await asyncio.sleep(0)  # somebody else may write meanwhile
        return stored

    async def commit(self, expected: int, value: bytes, records: Sequence[AlertRecord] = ()) -> bool:
        self._here()
        if self.stored.generation != expected:
            return False
        self.commits += 1
        self.stored = StoredAlerts(expected + 1, value)
        for record in records:
            self.records.setdefault(record.message.id, record)
        return True

    async def put(self, record: AlertRecord) -> None:
        self._here()
        self.records[record.message.id] = record

    async def waiting(self, limit: int) -> tuple[AlertRecord, ...]:
        self._here()
        return tuple(record for _, record in sorted(self.records.items()) if record.open)[:limit]

    async def history(self, *, before: str = "", limit: int = 100) -> tuple[AlertRecord, ...]:
        self._here()
        return tuple(record for _, record in sorted(self.records.items(), reverse=True))[:limit]

    async def purge(self, before_s: float, most: int) -> int:
        self._here()
        old = [name for name, record in self.records.items() if record.message.at_s < before_s]
        for name in old:
            del self.records[name]
        return len(old)


class Receiver:
    """Implements `ports.Notifier`: answers with the next of `outcomes`, then takes everything; a `gate` holds it up."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.taken: list[AlertMessage] = []
        self.calls = 0
        self.gate: asyncio.Event | None = None

    async def notify(self, channel: Channel, secret: ChannelSecret, message: AlertMessage) -> Outcome:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome()
        if not outcome.problem:
            self.taken.append(message)
        return outcome


class Host:
    """One process that looks after alerts. `bad` are the keys that are bad."""

    def __init__(
        self,
        name: str,
        store: MemoryAlertStore,
        receiver: Receiver,
        clock: Clock,
        *,
        channels: Sequence[str] = ("ops",),
        pauses_s: Sequence[float] = (0.0, 0.0),
    ) -> None:
        self.bad: set[str] = set()
        self.published: list[AlertMessage] = []
        self.channels = {each: Destination(Channel(kind="slack"), ChannelSecret()) for each in channels}
        self._bits = abs(hash(name)) % 10_000
        self.deliveries = Deliveries(
            receiver, lambda: self.channels, store, clock=clock, random=lambda: 0.0, pauses_s=pauses_s
        )
        self.alerts = Alerts(
            store,
            self.deliveries,
            name=name,
            gather=self._gather,
            policy=lambda: Policy(rules={RULE.name: RULE}),
            publish=self.published.append,
            clock=clock,
            settings=AlertSettings(every_s=EVERY_S, keep_s=86_400.0, bits=self._next_bits),
        )

    def _next_bits(self, bits: int) -> int:
        self._bits += 1
        return self._bits

    async def _gather(self, now_s: float) -> Facts:
        return Facts(
            tuple(Fact(rule=RULE.name, subject=key, value=1.0, detail="It is bad.") for key in sorted(self.bad))
        )

    async def round(self) -> None:
        try:
            await self.alerts.round()
        finally:
            await self.settle()

    async def settle(self) -> None:
        """Until nothing is under way."""
        for _ in range(1_000):
            if not self.deliveries.under_way:
                return
            await asyncio.sleep(0.001)
