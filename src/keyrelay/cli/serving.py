"""`keyrelay up` and `keyrelay demo`: run the gateway under uvicorn until it is told to stop.

SIGTERM and SIGINT drain: the listener closes first, requests under way get `drain_timeout_s` to end, then streams
are ended with an error event. A second signal does not wait.
"""

import asyncio
import gc
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from keyrelay import __version__
from keyrelay.api.app import Application
from keyrelay.api.request_log import LibraryMessages
from keyrelay.api.server import GatewayProtocol
from keyrelay.bootstrap import compose, open_log
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note, print_warnings
from keyrelay.configuration import Configuration, FirstRun, ensure_client, with_clients

_COLLECT_EVERY_S = 10.0


class GatewayServer(uvicorn.Server):
    """uvicorn that says when it listens, and tells the application when it is about to stop."""

    def __init__(self, config: uvicorn.Config, application: Application, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._application = application
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second; unlike uvicorn's own, let the process end with code 0."""
        del sig, frame
        self._application.health.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True


def run(configuration: Configuration) -> int:
    """Serve until stopped; the exit code."""
    print_warnings(configuration.warnings)
    first_run = FirstRun(clients=())
    if not configuration.snapshot.clients:
        first_run = ensure_client(configuration.settings.data_dir)
        source = "made at the first start"
        configuration = with_clients(configuration, first_run.clients, source=source)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(serve(configuration, lambda url: _greet(configuration, first_run, url)))


def new_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's event loop where the platform has it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def serve(configuration: Configuration, greet: Callable[[str], None]) -> int:
    """Bind, serve, drain; the exit code. `greet` gets the base URL once requests are taken."""
    settings = configuration.settings
    bound = _bind(settings.host, settings.port)
    if bound is None:
        return Exit.FAILED
    port = bound.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    application = compose(configuration)
    _listen_to_libraries(configuration)
    _calm_collector(asyncio.get_running_loop())
    config = uvicorn.Config(
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
    server = GatewayServer(config, application, lambda: greet(f"http://{host}:{port}/v1"))
    try:
        await application.start()
        await server.serve(sockets=[bound])
    finally:
        await application.stop()
    return Exit.FINE if server.started else Exit.FAILED


def _bind(host: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        note(
            f"keyrelay: cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another with --port (0 takes a free one) or KEYRELAY_PORT."
        )
        return None
    return bound


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


def _listen_to_libraries(configuration: Configuration) -> None:
    """Libraries' warnings and errors go into our log, where secrets are taken out; what they say below is noise."""
    root = logging.getLogger()
    root.handlers = [LibraryMessages(open_log(configuration))]
    root.setLevel(logging.WARNING)


def _greet(configuration: Configuration, first_run: FirstRun, base_url: str) -> None:
    snapshot = configuration.snapshot
    counts = f"{_counted(len(snapshot.providers), 'provider')}, {_counted(len(snapshot.keys), 'key')}"
    note(f"keyrelay {__version__} at {base_url}  ({counts}: {', '.join(sorted(snapshot.providers))})")
    if first_run.secret is not None:
        note(f"client secret, shown only now: {first_run.secret.reveal()}")
    else:
        callers = _counted(len(snapshot.clients), "client")
        note(f"{callers} may call, with secrets known before; `keyrelay clients new` makes another")
    if first_run.notice:
        note(first_run.notice)
    secret = first_run.secret.reveal() if first_run.secret else "<client secret>"
    note(f"try it:  {curl_line(base_url, secret)}")
    note(f"docs at {base_url.removesuffix('/v1')}/docs")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def curl_line(base_url: str, secret: str) -> str:
    """A command that shows that it works."""
    body = '\'{"prompt":"Say hello in five words."}\''
    return f"curl {base_url}/generate -H 'Authorization: Bearer {secret}' -H 'content-type: application/json' -d {body}"
