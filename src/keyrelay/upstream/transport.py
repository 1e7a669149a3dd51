"""The HTTP/1.1 client: pools, sending, closing.

A call costs one dictionary look-up for its pool, one for its head, one write and one wake-up. There is no task and no
timer per call: connections are driven by the event loop's callbacks, and one sweeper watches all deadlines.
"""

import asyncio
from typing import Final

from keyrelay.core.origins import Origin
from keyrelay.outbox import Outbox
from keyrelay.ports import Fault, UpstreamCall
from keyrelay.upstream.connection import Connection
from keyrelay.upstream.dialling import Dialler
from keyrelay.upstream.exchange import Exchange
from keyrelay.upstream.pool import Pool
from keyrelay.upstream.resolving import Resolve, system_resolve
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.sweeper import Sweeper
from keyrelay.upstream.values import TransportCounters

_CLOSED: Final = Fault(kind="network", message="the gateway is shutting down", reached=False)
_CUT_OFF: Final = Fault(kind="network", message="the gateway shut down in the middle of the call")


class HttpTransport:
    """The `Upstream` over HTTP/1.1. Belongs to the event loop in which it first sends, which it does through `outbox`.

    `resolve` looks names up.

    A redirect is an answer like any other: it is given out, and nothing is sent to where it points.
    """

    __slots__ = ("_closed", "_dialler", "_gone_opened", "_gone_reused", "_outbox", "_pools", "_settings", "sweeper")

    def __init__(
        self,
        settings: TransportSettings | None = None,
        outbox: Outbox | None = None,
        *,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._settings = settings or TransportSettings()
        self._outbox = outbox or Outbox()
        self._dialler = Dialler(self._settings, resolve)
        self._pools: dict[Origin, Pool] = {}
        self.sweeper: Sweeper | None = None
        self._closed = False
        self._gone_opened = 0
        self._gone_reused = 0

    def __repr__(self) -> str:
        counters = self.counters()
        state = "closed" if self._closed else "ready"
        return (
            f"<HttpTransport {state} origins={len(self._pools)} open={counters.open} "
            f"idle={counters.idle} in_flight={counters.in_flight}>"
        )

    def counters(self) -> TransportCounters:
        """Count connections over all origins."""
        pools = self._pools.values()
        return TransportCounters(
            open=sum(len(pool.connections) for pool in pools),
            idle=sum(len(pool.idle) for pool in pools),
            in_flight=sum(pool.in_flight for pool in pools),
            opened_total=self._gone_opened + sum(pool.opened_total for pool in pools),
            reused_total=self._gone_reused + sum(pool.reused_total for pool in pools),
        )

    async def send(self, call: UpstreamCall) -> Exchange | Fault:
        """Send and return once the head (of a stream) or the whole answer has arrived.

        Never raises for what the other side or the network does. Raises HostBindingError, before a byte has left,
        when the credential is bound to another origin, and ValueError when the call cannot be written as HTTP.
        Cancelling it drops the connection. A connection from the pool that turns out to be closed before the first
        byte of the answer is replaced once.
        """
        pool = self._pools.get(call.origin) or self._add_pool(call.origin)
        head = pool.heads.head_of(call)
        connection = pool.take() or await self._obtain(pool, min(call.first_byte_at, call.total_at))
        replaced = False
        while True:
            if not isinstance(connection, Connection):  # the type that it nearly always is costs least to ask for
                return connection
            exchange = Exchange(call, pool.loop)
            connection.begin(exchange, head, call.body, parts=call.parts, head_only=call.method == "HEAD")
            if self.sweeper is None or not self.sweeper.ticking:
                self._watch(pool)
            try:
                await exchange.arrived
            except BaseException:
                exchange.close()
                raise
            if replaced or not exchange.stale:
                return exchange if exchange.fault is None or exchange.streaming else exchange.fault
            replaced = True
            pool.make_room()
            connection = await self._obtain(pool, min(call.first_byte_at, call.total_at))

    async def aclose(self) -> None:
        """Close every connection, idle or not; calls in flight end with a fault."""
        self._closed = True
        if self.sweeper is not None:
            self.sweeper.stop()
        for pool in self._pools.values():
            pool.close(_CUT_OFF)
        # The event loop closes the sockets in its next round.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _obtain(self, pool: Pool, deadline_at: float) -> Connection | Fault:
        """Open a connection, or wait for one when all slots are taken."""
        if self._closed:
            return _CLOSED
        while not pool.reserve_slot():
            self._watch(pool)
            granted = await pool.queue(deadline_at)
            if granted is None:
                break
            if isinstance(granted, Fault) or not granted.closed:
                return granted
        opened: Connection | Fault = _CLOSED
        try:
            opened = await self._dialler.dial(pool.origin, lambda: Connection(pool), deadline_at=deadline_at)
        finally:
            pool.settle_slot(opened if isinstance(opened, Connection) else None)
        if self._closed and isinstance(opened, Connection):
            opened.drop()
            return _CLOSED
        return opened

    def _watch(self, pool: Pool) -> None:
        sweeper = self.sweeper
        if sweeper is None:
            self.sweeper = sweeper = Sweeper(pool.loop, self._settings.sweep_interval_s, self._sweep)
        if not sweeper.ticking and not self._closed:
            sweeper.start()

    def _sweep(self, now: float) -> float | None:
        due = [again_at for pool in self._pools.values() if (again_at := pool.sweep(now)) is not None]
        return min(due, default=None)

    def _add_pool(self, origin: Origin) -> Pool:
        if len(self._pools) >= self._settings.max_idle_origins:
            self._forget_unused()
        pool = self._pools[origin] = Pool(origin, self._settings, asyncio.get_running_loop(), self._outbox)
        return pool

    def _forget_unused(self) -> None:
        for origin in [origin for origin, pool in self._pools.items() if pool.unused]:
            pool = self._pools.pop(origin)
            self._gone_opened += pool.opened_total
            self._gone_reused += pool.reused_total
