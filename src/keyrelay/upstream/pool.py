"""The connections to one origin.

Every step here is synchronous and does no I/O: it decides who gets which connection. Invariant: while somebody waits
in the queue, no connection is idle and no slot is free; whatever becomes free is handed to the first in the queue.
"""

import asyncio
from collections import deque

from keyrelay.core.origins import Origin
from keyrelay.outbox import Outbox
from keyrelay.ports import Fault
from keyrelay.upstream.connection import Connection
from keyrelay.upstream.faults import busy_fault, overdue_fault
from keyrelay.upstream.request_heads import RequestHeads
from keyrelay.upstream.settings import TransportSettings


class Place:
    """A place in the queue: resolved with a connection, with None for a free slot, or with a fault."""

    __slots__ = ("deadline_at", "granted")

    def __init__(self, deadline_at: float, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline_at = deadline_at
        self.granted: asyncio.Future[Connection | Fault | None] = loop.create_future()


class Pool:
    """Connections to one origin: idle ones, busy ones, slots being dialled and a bounded queue."""

    __slots__ = (
        "_queue",
        "connections",
        "heads",
        "idle",
        "loop",
        "opened_total",
        "opening",
        "origin",
        "outbox",
        "reused_total",
        "settings",
    )

    def __init__(
        self,
        origin: Origin,
        settings: TransportSettings,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox | None = None,
    ) -> None:
        self.origin = origin
        self.settings = settings
        self.loop = loop
        self.outbox = outbox or Outbox()
        self.heads = RequestHeads(origin, settings.max_request_heads)
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.opening = 0
        self.opened_total = 0
        self.reused_total = 0
        self._queue: deque[Place] = deque()

    def __repr__(self) -> str:
        return (
            f"<Pool {self.origin} open={len(self.connections)} idle={len(self.idle)} "
            f"opening={self.opening} waiting={len(self._queue)}>"
        )

    @property
    def in_flight(self) -> int:
        """Exchanges that run on a connection."""
        return sum(1 for connection in self.connections if connection.exchange is not None)

    @property
    def unused(self) -> bool:
        """Whether nothing is open, being opened or waited for."""
        return not (self.connections or self.opening or self._queue)

    def take(self) -> Connection | None:
        """The connection that was used last, if one is idle."""
        if not self.idle:
            return None
        self.reused_total += 1
        return self.idle.pop()

    def reserve_slot(self) -> bool:
        """Take the right to open one connection, to be ended with `settle_slot`."""
        if len(self.connections) + self.opening >= self.settings.max_connections_per_origin:
            return False
        self.opening += 1
        return True

    def settle_slot(self, connection: Connection | None) -> None:
        """End a slot with the connection that was opened, or with none."""
        self.opening -= 1
        if connection is None or connection.closed:
            self._offer_slot()
            return
        self.connections.add(connection)
        self.opened_total += 1

    def make_room(self) -> None:
        """Drop the connection that has been idle longest if all slots are taken."""
        if self.idle and len(self.connections) + self.opening >= self.settings.max_connections_per_origin:
            self.idle[0].drop()

    async def queue(self, deadline_at: float) -> Connection | Fault | None:
        """Wait for a connection or, when None is returned, for a slot. Bounded in number and by the deadline."""
        if len(self._queue) >= self.settings.max_waiting_per_origin:
            return busy_fault(self.origin, "too many requests wait already; raise max_connections_per_origin")
        place = Place(deadline_at, self.loop)
        self._queue.append(place)
        try:
            granted = await place.granted
        except asyncio.CancelledError:
            self._give_up(place)
            raise
        if isinstance(granted, Connection):
            self.reused_total += 1
        return granted

    def release(self, connection: Connection) -> None:
        """Take back a connection whose answer is complete."""
        place = self._next_place()
        if place is None:
            connection.idle_since = self.loop.time()
            self.idle.append(connection)
        else:
            place.granted.set_result(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        if connection in self.connections:
            self.connections.discard(connection)
            if connection in self.idle:
                self.idle.remove(connection)
            self._offer_slot()

    def sweep(self, now: float) -> float | None:
        """Fail what is overdue and drop what has been idle too long; return when to come back, None for never."""
        for connection in tuple(self.connections):
            exchange = connection.exchange
            if exchange is not None and exchange.overdue(now):
                connection.fail(overdue_fault(self.origin, answering=exchange.status != 0))
        for place in tuple(self._queue):
            if place.deadline_at <= now and not place.granted.done():
                self._queue.remove(place)
                place.granted.set_result(
                    Fault(kind="timeout", message=f"no connection to {self.origin} became free in time", reached=False)
                )
        while self.idle and self.idle[0].idle_since + self.settings.idle_timeout_s <= now:
            self.idle[0].drop()
        if self._queue or len(self.connections) > len(self.idle):
            return now + self.settings.sweep_interval_s
        return self.idle[0].idle_since + self.settings.idle_timeout_s if self.idle else None

    def close(self, fault: Fault) -> None:
        """Fail everything and close every connection."""
        while self._queue:
            place = self._queue.popleft()
            if not place.granted.done():
                place.granted.set_result(fault)
        for connection in tuple(self.connections):
            connection.fail(fault)

    def _next_place(self) -> Place | None:
        while self._queue:
            place = self._queue.popleft()
            if not place.granted.done():
                return place
        return None

    def _offer_slot(self) -> None:
        """Hand a slot that became free to the first in the queue."""
        if self._queue and self.reserve_slot():
            place = self._next_place()
            if place is None:
                self.opening -= 1
            else:
                place.granted.set_result(None)

    def _give_up(self, place: Place) -> None:
        """Leave the queue; what was granted in the same moment goes to the next."""
        granted = place.granted
        if not granted.done() or granted.cancelled():
            if place in self._queue:
                self._queue.remove(place)
            return
        result = granted.result()
        if result is None:
            self.settle_slot(None)
        elif isinstance(result, Connection) and not result.closed:
            self.release(result)
