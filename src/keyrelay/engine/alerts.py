"""Looking after alerts: every so often facts are gathered, the rules say what is to be told, and that is delivered.

Of all processes that share a store one leads; what is known of alerts is in the store, with the name of who leads and
until when. A new state and the messages that follow from it are written together: whoever leads next, after a restart
or because another host is gone, tells nothing twice, and goes on with what was not delivered. While the store does not
answer, who has led goes on from memory: that the store is away has to be told without it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from keyrelay.alerting.levels import Watched
from keyrelay.alerting.telling import EMPTY, Book, Facts, Policy, evaluate
from keyrelay.core.alerts import AlertMessage, AlertRecord
from keyrelay.core.errors import StoreError
from keyrelay.core.ids import request_id
from keyrelay.engine.alert_delivery import Deliveries
from keyrelay.ports import AlertStore, Clock, StoredAlerts

ROUNDS_LED = 4
"""Who leads does so for as many rounds as this without being heard of."""

SHORTEST_LEAD_S = 5.0
"""And for at least so long: rounds may come close upon each other."""

MOST_AT_ONCE = 100
"""Alerts and facts that are gone through within about a millisecond."""

MAX_UNSAVED = 100
MAX_WAITING = 100
MAX_KEPT = 10_000
PURGE_EVERY_S = 3600.0

_ID_BITS = 74


class Known(msgspec.Struct, frozen=True):
    """What is known of alerts, as it is kept: who leads, until when (epoch seconds), and the book."""

    leader: str = ""
    until_s: float = 0.0
    book: Book = EMPTY


class Alerts:
    """The alerts as this process sees to them.

    `name` is the instance; of its processes one alone may do rounds. `gather` finds facts out, `policy` says what holds
    now, `publish` is told of each message here. `keep_s` is how long messages are kept; `bits` gives random numbers of
    so many bits.
    """

    def __init__(
        self,
        store: AlertStore,
        deliveries: Deliveries,
        *,
        name: str,
        gather: Callable[[float], Awaitable[Facts]],
        policy: Callable[[], Policy],
        publish: Callable[[AlertMessage], None],
        clock: Clock,
        settings: "AlertSettings",
    ) -> None:
        self._store = store
        self._deliveries = deliveries
        self._name = name
        self._gather = gather
        self._policy = policy
        self._publish = publish
        self._clock = clock
        self._settings = settings
        self._known = Known()
        self._leading = False
        self._ahead = False
        self._unsaved: list[AlertRecord] = []
        self._purged_s = 0.0

    @property
    def leading(self) -> bool:
        """Whether it is this process that tells."""
        return self._leading

    @property
    def firing(self) -> int:
        """How many alerts fire, as far as this process knows."""
        return sum(alert.level > 0 for alert in self._known.book.alerts.values())

    async def round(self) -> None:
        """Look once. Raise StoreError after having done what can be done without the store."""
        now_s = self._clock.epoch_s()
        facts = await self._gather(now_s)
        try:
            stored = await self._store.read()
            await self._led(stored, facts, now_s)
        except StoreError:
            if self._leading or not self._known.leader:
                await self._alone(facts, now_s)
            raise
        if self._leading:
            await self._deliveries.keep()
            await self._purge(now_s)

    async def stop(self) -> None:
        """Let go: who comes next need not wait."""
        await self._deliveries.stop()
        if not self._leading:
            return
        self._leading = False
        try:
            stored = await self._store.read()
            known = read_known(stored)
            if known.leader == self._name:
                released = msgspec.structs.replace(known, until_s=0.0)
                await self._store.commit(stored.generation, msgspec.json.encode(released))
        except StoreError:
            return  # it runs out by itself

    async def _led(self, stored: StoredAlerts, facts: Facts, now_s: float) -> None:
        """A round with the store: do it if this process leads, or nobody does."""
        known = read_known(stored)
        if known.leader not in {"", self._name} and known.until_s > now_s:
            self._leading = self._ahead = False
            self._known = known
            self._unsaved.clear()
            return
        book = self._known.book if self._ahead else known.book
        after, messages = await self._evaluate(book, facts, now_s)
        records = [self._deliveries.addressed(self._named(message)) for message in messages]
        lead_s = max(SHORTEST_LEAD_S, ROUNDS_LED * self._settings.every_s)
        mine = known.leader == self._name
        fresh = mine and known.until_s - now_s > lead_s / 2
        if after != known.book or records or self._unsaved or not fresh:
            new = Known(self._name, now_s + lead_s, after)
            kept = (*self._unsaved, *records)
            if not await self._store.commit(stored.generation, msgspec.json.encode(new), kept):
                return  # somebody else was first; the next round sees what they have done
            self._known = new
        self._unsaved.clear()
        newly, self._leading, self._ahead = not self._leading, True, False
        if newly:
            await self._go_on()
        self._tell(records)

    async def _alone(self, facts: Facts, now_s: float) -> None:
        """A round without the store."""
        book, messages = await self._evaluate(self._known.book, facts, now_s)
        self._known = msgspec.structs.replace(self._known, book=book)
        self._ahead = True
        records = [self._deliveries.addressed(self._named(message)) for message in messages]
        self._unsaved = [*self._unsaved, *records][-MAX_UNSAVED:]
        self._tell(records)

    async def _evaluate(self, book: Book, facts: Facts, now_s: float) -> tuple[Book, tuple[AlertMessage, ...]]:
        """What is known now, and what is to be told; where there is much of it, away from those who serve requests."""
        policy = self._policy()
        if len(book.alerts) + len(facts.facts) <= MOST_AT_ONCE:
            return evaluate(book, facts, policy, now_s)
        return await asyncio.to_thread(evaluate, book, facts, policy, now_s)

    async def _go_on(self) -> None:
        """Deliver what whoever led before has not."""
        for record in await self._store.waiting(MAX_WAITING):
            if not self._deliveries.is_under_way(record.message.id):
                self._deliveries.submit(record)

    def _tell(self, records: list[AlertRecord]) -> None:
        for record in records:
            self._publish(record.message)
            if not self._deliveries.is_under_way(record.message.id):
                self._deliveries.submit(record)

    async def _purge(self, now_s: float) -> None:
        if now_s - self._purged_s >= PURGE_EVERY_S:
            self._purged_s = now_s
            await self._store.purge(now_s - self._settings.keep_s, MAX_KEPT)

    def _named(self, message: AlertMessage) -> AlertMessage:
        """A message with an id of its own, which its receivers know it by."""
        return named(message, self._settings.bits(_ID_BITS))

    def __repr__(self) -> str:
        return f"<Alerts {self.firing} firing{', leading' if self._leading else ''}>"


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often to look, how long messages are kept, both in seconds, and where random bits come from."""

    every_s: float
    keep_s: float
    bits: Callable[[int], int]


def named(message: AlertMessage, bits: int) -> AlertMessage:
    """A message with an id, made of its time and random bits."""
    return msgspec.structs.replace(message, id=request_id(int(message.at_s * 1000), bits))


def read_known(stored: StoredAlerts) -> Known:
    """What the store knows; nothing where it is of another version, or damaged: alerts begin anew."""
    if not stored.value:
        return Known()
    try:
        return msgspec.json.decode(stored.value, type=Known)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Known()


def firing_of(known: Known) -> list[Watched]:
    """The alerts that fire, the newest first."""
    alerts = [alert for alert in known.book.alerts.values() if alert.level]
    return sorted(alerts, key=lambda alert: (-alert.since_s, alert.id))
