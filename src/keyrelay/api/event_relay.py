"""Events between the workers of one instance: whoever listens to one of them hears of all.

A worker that is listened to tells the others which topics it wants, again and again while that lasts; the others then
send it what they alone know of, many events at a time.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from keyrelay.api.siblings import Siblings
from keyrelay.engine.events import WISHED_S, Event, Events, Topic
from keyrelay.ports import Clock

LOOK_EVERY_S = 1.0
MAX_WAITING = 1_000
"""Events that wait to be sent; what is beyond them is lost to the others' listeners."""

_RENEW_S = WISHED_S / 3
_SEND_AFTER_S = 0.1
_EVENTS, _WISHES = "events", "event wishes"
_encoder = msgspec.msgpack.Encoder()
_events_decoder = msgspec.msgpack.Decoder(tuple[Event, ...])
_wishes_decoder = msgspec.msgpack.Decoder(tuple[Topic, ...])


class EventRelay:
    """Joins the events of this worker to those of its siblings."""

    __slots__ = ("_clock", "_events", "_sending", "_siblings", "_told", "_told_at", "_waiting")

    def __init__(self, events: Events, siblings: Siblings, clock: Clock) -> None:
        self._events = events
        self._siblings = siblings
        self._clock = clock
        self._waiting: list[Event] = []
        self._sending: asyncio.Task[None] | None = None
        self._told: frozenset[Topic] = frozenset()
        self._told_at = 0.0
        if not siblings.alone:
            events.relay = self._add
            siblings.answer(_EVENTS, self._receive)
            siblings.answer(_WISHES, self._wished)

    async def look(self) -> None:
        """Tell the others what is listened to here."""
        wanted = self._events.listened()
        if self._siblings.alone or not wanted:
            self._told = wanted
            return
        now_at = self._clock.monotonic_s()
        if wanted != self._told or now_at - self._told_at >= _RENEW_S:
            self._told, self._told_at = wanted, now_at
            await self._siblings.ask(_WISHES, _encoder.encode(sorted(wanted)))

    def _add(self, event: Event) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(event)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_SEND_AFTER_S)
                waiting, self._waiting = self._waiting, []
                await self._siblings.ask(_EVENTS, _encoder.encode(waiting))
        finally:
            self._sending = None

    async def _receive(self, payload: bytes) -> None:
        for event in _decoded(payload):
            self._events.take(event)

    async def _wished(self, payload: bytes) -> None:
        self._events.wish(_wishes_decoder.decode(payload))

    async def stop(self) -> None:
        """Send nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))

    def __repr__(self) -> str:
        return f"<EventRelay of {self._events!r}>"


def _decoded(payload: bytes) -> Iterable[Event]:
    return _events_decoder.decode(payload)
