"""The application: two planes behind one door.

Data-plane requests are found in a table and never touch FastAPI; everything else is the control plane's.
"""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from keyrelay.administration.service import Administration
from keyrelay.api.dataplane import DataPlane, Handler
from keyrelay.api.health import Health
from keyrelay.api.request_log import RequestLog
from keyrelay.configuration.watching import Watch
from keyrelay.core.secrets import Secret
from keyrelay.outbox import Outbox

Hook = Callable[[], Awaitable[None]]


class Place(msgspec.Struct, frozen=True):
    """An endpoint of the data plane."""

    method: str
    path: str
    handler: Handler


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What happens around the serving of requests.

    `start` before the first one, which gives the set-up code if there is one to be shown; `stop` after the last one;
    `sample` gives this process's metrics for its supervisor.
    """

    start: Callable[[], Awaitable[Secret]]
    stop: Hook
    sample: Callable[[], bytes]


class Application:
    """The ASGI application that uvicorn, or any other server, runs.

    `exact` are the data plane's handlers by method and path as sent, for a server that looks them up itself; `outbox`
    is where it may put answers in one piece. `watch` holds the configuration in force; who runs it has the application
    follow the files. `administration` changes it.
    `set_up_code` is there after the start when the first administrator is still to be made: show it to a person once.
    """

    def __init__(
        self,
        data: DataPlane,
        control: ASGIApp,
        health: Health,
        *,
        watch: Watch,
        administration: Administration,
        log: RequestLog,
        hooks: Hooks,
        outbox: Outbox | None = None,
    ) -> None:
        self.data = data
        self.outbox = outbox or Outbox()
        self.watch = watch
        self.administration = administration
        self.set_up_code = Secret("")
        self.health = health
        self.log = log
        self.exact = {
            (method.encode("ascii"), path.encode("ascii")): Place(method, path, handler)
            for (method, path), handler in data.routes.items()
        }
        self.control = control
        self._hooks = hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "http":
            handler = self.data.handler(scope["method"], scope["path"]) or self.control
            await handler(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:  # a WebSocket: none is served
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def start(self) -> None:
        """Get ready to serve: what is kept is read, and what a process before this one left is taken over.

        To be called once, in the event loop that will serve, before the first request. Raise ConfigurationError for
        what a person has to mend first.
        """
        self.set_up_code = await self._hooks.start()

    def sample(self) -> bytes:
        """What this process has counted, as its supervisor takes it."""
        return self._hooks.sample()

    async def stop(self) -> None:
        """Let go of everything: connections to providers are closed, what waits to be written is written."""
        self.health.draining = True
        await self._hooks.stop()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def __repr__(self) -> str:
        return f"<Application {self.data!r} {self.health!r}>"
