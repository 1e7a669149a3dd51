"""`keyrelay up` and `keyrelay demo`: run the gateway under uvicorn until it is told to stop.

SIGTERM and SIGINT drain: the listener closes first, requests under way get `drain_timeout_s` to end, then streams
are ended with an error event. A second signal does not wait. With several workers each of them serves like this, under
a supervisor (`cli.supervising`).
"""

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType

import uvicorn

from keyrelay.api.app import Application
from keyrelay.api.request_log import LibraryMessages
from keyrelay.api.server import GatewayProtocol
from keyrelay.api.worker_channel import Ready
from keyrelay.bootstrap import compose
from keyrelay.bootstrap.first_look import with_kept_settings
from keyrelay.cli.exits import Exit
from keyrelay.cli.opening import base_url, bind, first_client, greet, invite
from keyrelay.cli.options import Overrides, configuration_of
from keyrelay.cli.output import print_warnings
from keyrelay.configuration import Configuration
from keyrelay.configuration.watching import Load
from keyrelay.core.administered import Administered, ClientEntry
from keyrelay.core.identity import WorkerIdentity, instance_name
from keyrelay.core.secrets import Secret
from keyrelay.settings import Settings

_COLLECT_EVERY_S = 10.0
_LAST_WORDS_S = 1.0
_LOOK_S = 0.1
_SOURCE = "keyrelay.configuration"


class GatewayServer(uvicorn.Server):
    """uvicorn that says when it listens, and tells the application when it is about to stop."""

    def __init__(self, settings: Settings, application: Application, on_ready: Callable[[], Awaitable[None]]) -> None:
        super().__init__(_uvicorn_config(settings, application))
        self.application = application
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so."""
        await self._listen(sockets)
        if self.started:
            await self._on_ready()

    async def _listen(self, sockets: list[socket.socket] | None) -> None:
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second; unlike uvicorn's own, let the process end with code 0."""
        del sig, frame
        self.application.health.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True

    async def run_on(self, bound: socket.socket) -> int:
        """Start the application, serve on this socket, stop the application; the exit code."""
        _calm_collector(asyncio.get_running_loop())
        try:
            if not await self._start_application():
                return Exit.FINE
            await self.serve(sockets=[bound])
        finally:
            await self._end_requests()
            await self.application.stop()
        return Exit.FINE if self.started else Exit.FAILED

    async def _start_application(self) -> bool:
        """Start the application; False when it was told to end before it had started, which does not wait for that."""
        starting = asyncio.ensure_future(self.application.start())
        try:
            while not starting.done() and not self.should_exit:
                await asyncio.wait((starting,), timeout=_LOOK_S)
        finally:
            if not starting.done():
                starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            if not self.should_exit:
                raise
            return False
        return True

    async def _end_requests(self) -> None:
        """End what a second signal did not wait for, so that it is written down all the same."""
        running = tuple(self.server_state.tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_LAST_WORDS_S)


def run(configuration: Configuration, overrides: Overrides) -> int:
    """Serve until stopped, with one process; the exit code."""
    print_warnings(configuration.warnings)

    def load(administered: Administered) -> Configuration:
        return configuration_of(overrides, administered)

    async def welcome(application: Application, address: str) -> None:
        secret = await let_in_first(application)
        greet(readiness_of(application), secret, address)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(serve(configuration, welcome, load))


async def let_in_first(application: Application) -> Secret:
    """Make a client if there is none, and let it in at once; its secret, empty when nobody had to be let in."""
    if not readiness_of(application).lacks_client:
        return Secret("")
    watch = application.watch
    watch.hushed = True
    try:
        secret = first_client(watch.configuration.settings.data_dir)
        if secret:
            await watch.look_again()
    finally:
        watch.hushed = False
    return secret


def readiness_of(application: Application) -> Ready:
    """What it serves with, and whether anybody may call; clients that are switched off count as well."""
    snapshot, administration = application.watch.configuration.snapshot, application.administration
    somebody = snapshot.clients or administration.state.all(ClientEntry)
    return Ready(
        tuple(sorted(snapshot.providers)),
        len(snapshot.keys),
        len(snapshot.clients),
        knows_clients=not administration.unread,
        lacks_client=not (administration.unread or somebody),
    )


def new_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's event loop where the platform has it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


OnReady = Callable[[Application, str], Awaitable[None]]
"""Gets what serves and the base URL once requests are taken."""


async def serve(
    configuration: Configuration, on_ready: OnReady, load: Load | None = None, bound: socket.socket | None = None
) -> int:
    """Bind, unless that is done, serve, drain; the exit code.

    With `load`, which reads it anew, the configuration is
    watched and can be administered.
    """
    if load is not None:
        configuration = await with_kept_settings(configuration, load)
    settings = configuration.settings
    bound = bound or bind(settings.host, settings.port)
    if bound is None:
        return Exit.FAILED
    address = base_url(settings.host, bound)
    identity = WorkerIdentity(instance_name(socket.gethostname(), bound.getsockname()[1]))
    application = compose(configuration, identity=identity, load=load, gathers=True)
    listen_to_libraries(application)

    async def ready() -> None:
        await on_ready(application, address)
        invite(application.set_up_code, address)

    server = GatewayServer(settings, application, ready)
    with _watching(application) if load is not None else contextlib.nullcontext():
        return await server.run_on(bound)


@contextlib.contextmanager
def _watching(application: Application) -> Iterator[None]:
    """Have the application follow the configuration's files meanwhile."""
    task = asyncio.get_running_loop().create_task(application.watch.run())
    task.add_done_callback(lambda ended: _say_why(application, ended))
    try:
        yield
    finally:
        task.cancel()


def _say_why(application: Application, watching: "asyncio.Task[None]") -> None:
    """Nothing but the end of the process ends a watch; if it fails all the same, somebody should know."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        text = f"the configuration is not watched any more: {error!r}"
        application.log.write_message(time.time(), "error", text, _SOURCE)


def _uvicorn_config(settings: Settings, application: Application) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=GatewayProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
    )


def _calm_collector(loop: asyncio.AbstractEventLoop) -> None:
    """Collect reference cycles by the clock.

    Requests make hardly any, and looking for them after every so many
    objects costs a twentieth of all the time. What is there at the start is never looked through again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()

    def collect() -> None:
        gc.collect()
        loop.call_later(_COLLECT_EVERY_S, collect)

    loop.call_later(_COLLECT_EVERY_S, collect)


def listen_to_libraries(application: Application) -> None:
    """Libraries' warnings and errors go into our log, where secrets are taken out; what they say below is noise."""
    root = logging.getLogger()
    root.handlers = [LibraryMessages(application.log)]
    root.setLevel(logging.WARNING)
