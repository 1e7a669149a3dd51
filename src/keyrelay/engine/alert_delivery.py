"""Messages on their way to channels, a bounded number of them.

Each channel goes by itself, so that one that hangs delays no other, and nobody at all who serves requests.
A channel that does not take a message is tried again after pauses that grow. What it never takes stays in the history
as failed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from keyrelay.core.alerts import AlertMessage, AlertRecord, Delivery, DeliveryState, Destination, Outcome
from keyrelay.core.errors import StoreError
from keyrelay.ports import AlertStore, Clock, Notifier

MAX_UNDER_WAY = 200
"""Deliveries under way at a time; those beyond are not made."""

PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0)
"""How long to wait after each failure before the next try; then it has failed."""

TRY_TIMEOUT_S = 30.0
STOP_S = 2.0
LONGEST_PROBLEM = 300

_TOO_MANY = f"{MAX_UNDER_WAY} deliveries were under way already"
_GONE = "the channel is gone, or switched off"
_CUT_SHORT = "it did not answer in time"


Destinations = Callable[[], Mapping[str, Destination]]
"""The channels that there are now, by name."""


class _Parcel:
    """A message under way, with what has become of it so far."""

    __slots__ = ("record",)

    def __init__(self, record: AlertRecord) -> None:
        self.record = record

    def note(self, delivery: Delivery) -> None:
        """Note what has become of it on one channel."""
        others = self.record.deliveries
        deliveries = tuple(delivery if each.channel == delivery.channel else each for each in others)
        self.record = msgspec.structs.replace(self.record, deliveries=deliveries)


class Deliveries:
    """Delivers messages, and writes down what became of each; `random` gives numbers from 0 to 1 for the pauses."""

    __slots__ = (
        "_clock",
        "_destinations",
        "_locks",
        "_notifier",
        "_pauses_s",
        "_random",
        "_rested",
        "_store",
        "_tasks",
        "_trying",
        "_unkept",
    )

    def __init__(
        self,
        notifier: Notifier,
        destinations: Destinations,
        store: AlertStore,
        *,
        clock: Clock,
        random: Callable[[], float],
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._notifier = notifier
        self._destinations = destinations
        self._store = store
        self._clock = clock
        self._random = random
        self._pauses_s = tuple(pauses_s)
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._trying = 0
        self._rested = asyncio.Event()
        self._rested.set()
        self._unkept: dict[str, AlertRecord] = {}

    @property
    def under_way(self) -> int:
        """How many deliveries are under way."""
        return len(self._tasks)

    def addressed(self, message: AlertMessage) -> AlertRecord:
        """A new message with the channels that it is for."""
        wanting = [name for name, each in sorted(self._destinations().items()) if each.channel.wants(message)]
        return AlertRecord(message=message, deliveries=tuple(Delivery(channel=name) for name in wanting))

    def submit(self, record: AlertRecord) -> None:
        """Begin to deliver what is still to be delivered of a message; returns at once."""
        parcel = _Parcel(record)
        loop = asyncio.get_running_loop()
        for delivery in record.deliveries:
            if delivery.state != "waiting":
                continue
            if len(self._tasks) >= MAX_UNDER_WAY:
                parcel.note(msgspec.structs.replace(delivery, state="failed", problem=_TOO_MANY))
                self._unkept[record.message.id] = parcel.record
                continue
            task = loop.create_task(self._deliver(parcel, delivery), name=f"alert to {delivery.channel}")
            self._tasks[task] = record.message.id
            task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def is_under_way(self, message_id: str) -> bool:
        """Whether a message is being delivered here."""
        return message_id in self._tasks.values()

    async def try_once(self, name: str, message: AlertMessage) -> Outcome:
        """Deliver a message to a channel, whether it wants it or not, and say what it made of it."""
        destination = self._destinations().get(name)
        return Outcome(problem=_GONE, lasting=True) if destination is None else await self._tried(destination, message)

    async def keep(self) -> None:
        """Write down what could not be written down before. Raise StoreError."""
        for message_id, record in list(self._unkept.items()):
            await self._store.put(record)
            if self._unkept.get(message_id) is record:
                del self._unkept[message_id]

    async def stop(self) -> None:
        """Let go of what is under way: the next start goes on with it. What is just being sent has a moment to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._rested.wait()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, parcel: _Parcel, delivery: Delivery) -> None:
        """Deliver to one channel, by as many tries as it takes or there are."""
        lock = self._locks.setdefault(delivery.channel, asyncio.Lock())
        for pause_s in (*self._pauses_s, None):
            async with lock:
                delivery = await self._try(parcel, delivery, last=pause_s is None)
            if pause_s is None or delivery.state != "waiting":
                return
            await asyncio.sleep(pause_s * (0.5 + self._random()))

    async def _try(self, parcel: _Parcel, delivery: Delivery, *, last: bool) -> Delivery:
        """Try once, and write down what became of it."""
        destination = self._destinations().get(delivery.channel)
        self._trying += 1
        self._rested.clear()
        try:
            if destination is None or not destination.channel.enabled:
                outcome = Outcome(problem=_GONE, lasting=True)
            else:
                outcome = await self._tried(destination, parcel.record.message)
            after = msgspec.structs.replace(
                delivery,
                state=_state(outcome, last=last),
                attempts=delivery.attempts + 1,
                at_s=self._clock.epoch_s(),
                problem=outcome.problem[:LONGEST_PROBLEM],
            )
            parcel.note(after)
            await self._note(parcel.record)
        finally:
            self._trying -= 1
            if not self._trying:
                self._rested.set()
        return after

    async def _tried(self, destination: Destination, message: AlertMessage) -> Outcome:
        try:
            async with asyncio.timeout(TRY_TIMEOUT_S):
                return await self._notifier.notify(destination.channel, destination.secret, message)
        except TimeoutError:
            return Outcome(problem=_CUT_SHORT)

    async def _note(self, record: AlertRecord) -> None:
        self._unkept[record.message.id] = record
        try:
            await self._store.put(record)
        except StoreError:
            return  # it is written down with the next round
        if self._unkept.get(record.message.id) is record:
            del self._unkept[record.message.id]

    def __repr__(self) -> str:
        return f"<Deliveries {len(self._tasks)} under way>"


def _state(outcome: Outcome, *, last: bool) -> DeliveryState:
    """What a try makes of a delivery."""
    if not outcome.problem:
        return "sent"
    return "failed" if last or outcome.lasting else "waiting"
