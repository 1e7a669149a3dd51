"""One of several workers: `python -m keyrelay.cli.worker DESCRIPTOR`, started by the supervisor and by nobody else.

The descriptor is that of its channel, over which its orders come first. When the channel ends, the supervisor has died:
the worker drains, so that a new one finds the port free.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType

from keyrelay.api.app import Application
from keyrelay.api.server import GatewayProtocol
from keyrelay.api.siblings import Siblings
from keyrelay.api.worker_channel import (
    AnyMessage,
    BrokenChannel,
    Channel,
    Drain,
    Farewell,
    Orders,
    Reload,
    Stop,
    receive_first,
)
from keyrelay.bootstrap import compose
from keyrelay.bootstrap.first_look import with_kept_settings
from keyrelay.cli.accepting import Acceptor
from keyrelay.cli.exits import Exit, exit_for
from keyrelay.cli.loads import Loads
from keyrelay.cli.opening import base_url, invite
from keyrelay.cli.options import configuration_of
from keyrelay.cli.output import note
from keyrelay.cli.serving import GatewayServer, listen_to_libraries, new_loop, readiness_of
from keyrelay.cli.whole_lines import WholeLines
from keyrelay.configuration import Configuration
from keyrelay.configuration.watching import RETRY_S
from keyrelay.core.administered import NOTHING, Administered
from keyrelay.core.errors import KeyrelayError
from keyrelay.core.identity import WorkerIdentity
from keyrelay.settings import Settings

LINGER_S = 2.0
"""A connection that has been idle for so long is closed by a worker that hands over; busy ones are told to go."""

_TICK_S = 0.02
_LAST_WORDS_S = 1.0


class WorkerServer(GatewayServer):
    """A server that can hand over: another process serves on the same socket, and no caller notices.

    Closing an idle connection may cross with a request that is on its way. So each connection gets an answer that says
    that it is the last one, and only those that stay idle are closed.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        on_ready: Callable[[], Awaitable[None]],
        *,
        slot: int,
        loads: Loads,
    ) -> None:
        super().__init__(settings, application, on_ready)
        self._drain_timeout_s = settings.drain_timeout_s
        self._handing_over = False
        self._slot = slot
        self._loads = loads
        self._acceptor: Acceptor | None = None

    async def _listen(self, sockets: list[socket.socket] | None) -> None:
        """Listen on the one socket that all workers have."""
        for listener in sockets or ():
            self._acceptor = acceptor = Acceptor(
                listener,
                lambda: GatewayProtocol(self.config, self.server_state, self.lifespan.state),
                loads=self._loads,
                slot=self._slot,
                count=lambda: len(self.server_state.connections),
            )
            acceptor.open(self.config.backlog)
            self.servers = [acceptor]  # type: ignore[list-item]  # closed and waited for, and nothing else
            self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._acceptor is not None:
            self._acceptor.tell()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain, as often as one is told: to count is the supervisor's business."""
        del sig, frame
        self.drain(handing_over=True)

    def drain(self, *, handing_over: bool) -> None:
        """Take no more connections, end what has begun, then end. Once nobody is there to take over, be quick."""
        self._handing_over = handing_over and (self._handing_over or not self.should_exit)
        self.application.health.leaving = True
        self.application.health.draining = not self._handing_over
        self.should_exit = True

    def stop(self) -> None:
        """End now."""
        self.drain(handing_over=False)
        self.force_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hand over as long as that is wanted, then shut down as uvicorn does."""
        if self._handing_over and self._acceptor is not None:
            self._acceptor.close()
            await self._hand_over(self._acceptor)
            if self._handing_over and self.server_state.connections:  # they have had the time
                self.config.timeout_graceful_shutdown = 0
        await super().shutdown(sockets)

    async def _hand_over(self, acceptor: Acceptor) -> None:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        while self._handing_over and loop.time() - began_at < self._drain_timeout_s:
            left = [each for each in self.server_state.connections if isinstance(each, GatewayProtocol)]
            for connection in left:
                connection.retire()
                if connection.idle_s(began_at) >= LINGER_S:
                    connection.transport.close()
            if not left and not acceptor.taking:
                return
            await asyncio.sleep(_TICK_S)


class Worker:
    """What a worker does with what its supervisor says."""

    def __init__(self, configuration: Configuration, orders: Orders) -> None:
        self._configuration = configuration
        self._orders = orders
        self._channel: Channel | None = None
        self._address = ""
        self._reload = asyncio.Event()
        self._orphaned = asyncio.Event()
        self._siblings = Siblings(self._send)
        identity = WorkerIdentity(orders.instance, orders.slot)
        self._application = compose(
            configuration,
            identity=identity,
            siblings=self._siblings,
            load=lambda administered: load(orders, administered),
            gathers=True,
        )
        listen_to_libraries(self._application)
        self._server = WorkerServer(
            configuration.settings,
            self._application,
            self._ready,
            slot=orders.slot,
            loads=Loads(orders.shared),
        )

    async def serve(self, end: socket.socket) -> int:
        """Serve until told to stop, over this end of the channel; the exit code."""
        self._channel = await Channel.over(end, self._take, self._lose_supervisor)
        following = asyncio.get_running_loop().create_task(self._follow())
        listener = socket.socket(fileno=self._orders.listener)
        listener.set_inheritable(False)
        self._address = base_url(self._configuration.settings.host, listener)
        try:
            return await self._server.run_on(listener)
        finally:
            following.cancel()
            self._send(Farewell(self._application.sample()))
            self._channel.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._orphaned.wait(), _LAST_WORDS_S)

    async def _ready(self) -> None:
        invite(self._application.set_up_code, self._address)
        self._send(readiness_of(self._application))

    def _send(self, message: AnyMessage) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _take(self, message: AnyMessage) -> None:
        if isinstance(message, Reload):
            self._reload.set()
        elif isinstance(message, Drain):
            self._server.drain(handing_over=message.handing_over)
        elif isinstance(message, Stop):
            self._server.stop()
        else:
            self._siblings.receive(message)

    def _lose_supervisor(self) -> None:
        """The channel has ended: so does the worker, unless it is at its end anyway."""
        self._orphaned.set()
        self._server.drain(handing_over=False)

    async def _follow(self) -> None:
        """Take the configuration whenever the supervisor says that it has changed and that it is valid.

        Files that are left out of account here are looked at again and again: to the supervisor, who had left them out
        as well, it is no change when they are again what they were.
        """
        watch = self._application.watch
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reload.wait(), RETRY_S)
            if not (self._reload.is_set() or watch.ignored):
                continue
            self._reload.clear()
            await watch.look_again()
            self._send(readiness_of(self._application))

    def __repr__(self) -> str:
        return f"<Worker {self._orders.instance} slot {self._orders.slot}>"


async def _serve(configuration: Configuration, orders: Orders, end: socket.socket) -> int:
    configuration = await with_kept_settings(configuration, lambda administered: load(orders, administered))
    return await Worker(configuration, orders).serve(end)


def load(orders: Orders, administered: Administered = NOTHING) -> Configuration:
    """The configuration as it is now."""
    return configuration_of(orders.overrides, administered)


def main() -> int:
    """Take the orders and serve; the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they are meant for the supervisor, which will say what to do
        signal.signal(number, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    try:
        orders = receive_first(end)
    except BrokenChannel:
        return Exit.FAILED
    if not isinstance(orders, Orders):
        return Exit.FAILED
    sys.stderr = WholeLines(sys.stderr.fileno(), orders.shared)
    try:
        configuration = load(orders)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(_serve(configuration, orders, end))
    except KeyrelayError as error:
        note(f"keyrelay: {error}")
        return exit_for(error)


if __name__ == "__main__":
    sys.exit(main())
