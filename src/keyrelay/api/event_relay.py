"""Events between workers, of this host and of others: whoever listens to one of them hears of all.

A worker that is listened to tells the others which topics it wants, again and again while that lasts; the others then
send it what they alone know of, many events at a time. Each event has a number of its sender's, so that who hears of
them knows when some are missing.
"""

import asyncio
import secrets

import msgspec

from keyrelay.api.siblings import Siblings
from keyrelay.engine.events import Event, Events, Topic
from keyrelay.ports import Clock

LOOK_EVERY_S = 1.0
MAX_WAITING = 1_000
"""Events that wait to be sent; what is beyond them is lost to the others' listeners."""

MAX_ELSEWHERE = 100
"""Events that are sent to other hosts at a time; what is beyond them is lost to the listeners there."""

MAX_SENDERS = 1_000

_RENEW_S = 3.0
_SEND_AFTER_S = 0.1
_EVENTS, _WISHES = "events", "event wishes"
_encoder = msgspec.msgpack.Encoder()
_wishes_decoder = msgspec.msgpack.Decoder(tuple[Topic, ...])


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events of one sender (a process) that came one after the other; `first` is the number of the first of them."""

    sender: str
    first: int
    events: tuple[Event, ...]


_batch_decoder = msgspec.msgpack.Decoder(Batch)


class EventRelay:
    """Joins the events of this worker to those of its siblings."""

    __slots__ = (
        "_clock",
        "_count",
        "_events",
        "_expected",
        "_first",
        "_name",
        "_sending",
        "_siblings",
        "_told",
        "_told_at",
        "_waiting",
    )

    def __init__(self, events: Events, siblings: Siblings, clock: Clock) -> None:
        self._events = events
        self._siblings = siblings
        self._clock = clock
        self._waiting: list[Event] = []
        self._name = secrets.token_hex(8)
        self._count = self._first = 0
        self._expected: dict[str, int] = {}
        self._sending: asyncio.Task[None] | None = None
        self._told: frozenset[Topic] = frozenset()
        self._told_at = 0.0
        if not siblings.alone_everywhere:
            events.relay = self._add
            siblings.answer(_EVENTS, self._receive)
            siblings.answer(_WISHES, self._wished)
            siblings.watch_hosts(self._hosts_changed)

    async def look(self) -> None:
        """Tell the others what is listened to here."""
        wanted = self._events.listened()
        if self._siblings.alone_everywhere or not wanted:
            self._told = wanted
            return
        now_at = self._clock.monotonic_s()
        if wanted != self._told or now_at - self._told_at >= _RENEW_S:
            self._told, self._told_at = wanted, now_at
            await self._siblings.tell(_WISHES, _encoder.encode(sorted(wanted)))

    def _add(self, event: Event) -> None:
        if not self._waiting:
            self._first = self._count
        self._count += 1
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(event)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_SEND_AFTER_S)
                waiting, self._waiting = self._waiting, []
                batch = self._batch(waiting)
                fewer = self._batch(waiting[:MAX_ELSEWHERE]) if len(waiting) > MAX_ELSEWHERE else None
                await self._siblings.tell(_EVENTS, batch, elsewhere=fewer)
        finally:
            self._sending = None

    def _batch(self, events: list[Event]) -> bytes:
        return _encoder.encode(Batch(self._name, self._first, tuple(events)))

    async def _receive(self, payload: bytes) -> None:
        batch = _batch_decoder.decode(payload)
        expected = self._expected.get(batch.sender, batch.first)
        if expected != batch.first:
            self._events.missed()
        if len(self._expected) >= MAX_SENDERS:
            self._expected.clear()
        self._expected[batch.sender] = batch.first + len(batch.events)
        for event in batch.events:
            self._events.take(event)

    async def _wished(self, payload: bytes) -> None:
        self._events.wish(_wishes_decoder.decode(payload))

    def _hosts_changed(self, problem: str) -> None:
        self._expected.clear()
        self._told_at = 0.0  # who is found again knows of no wishes
        self._events.set_apart(problem)

    async def stop(self) -> None:
        """Send nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))

    def __repr__(self) -> str:
        return f"<EventRelay of {self._events!r}>"
