"""The simulator: one port, one path prefix per provider, and the judge that sees every call."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from keyrelay.core.providers import ProviderRow
from keyrelay.simulator import control
from keyrelay.simulator.clock import Clock, RealClock
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.http import Connection, Request
from keyrelay.simulator.judge import Call, Judge
from keyrelay.simulator.provider import Provider
from keyrelay.simulator.routes import route_of
from keyrelay.simulator.scenario import Change, Scenario
from keyrelay.simulator.texts import Corpus

_VARIABLE = re.compile(r"\{(\w+)\}")
_BEARER = "bearer "
_KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")


class Simulator:
    """Simulated providers on one loopback port.

    `rows` are the providers by id; each is served below `/ID`. Limits count on `clock` (default: the real one,
    sped up by the scenario's `time_scale`). `judge` may be read at any time from the same event loop.
    """

    def __init__(self, scenario: Scenario, rows: Mapping[str, ProviderRow], clock: Clock | None = None) -> None:
        self._scenario = scenario
        self._rows = dict(rows)
        self._corpus = Corpus(scenario.seed)
        self.clock: Clock = clock or RealClock(scenario.time_scale)
        self.judge = Judge(scenario.recorded_calls)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._host = "127.0.0.1"
        self._port = 0
        self._refusing = 0
        self.reset()

    def __repr__(self) -> str:
        return f"Simulator({len(self._rows)} providers on port {self._port}, {self.judge!r})"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port (a free one for 0)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=4096)
        self._port = self._server.sockets[0].getsockname()[1]
        self._host = "127.0.0.1" if host in ("0.0.0.0", "", "::") else host  # noqa: S104 - compared, not bound
        return self._port

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            await connection.stop()

    @property
    def address(self) -> str:
        """`http://host:port`."""
        return f"http://{self._host}:{self._port}"

    def base_url(self, provider_id: str) -> str:
        """What to configure as this provider's base URL: the row's with its origin replaced by the simulator's."""
        path = urlsplit(_VARIABLE.sub("simulated", self._rows[provider_id].base_url)).path
        return f"{self.address}/{provider_id}{path.rstrip('/')}"

    def provider(self, provider_id: str) -> Provider:
        """One simulated provider."""
        return self._providers[provider_id]

    @property
    def providers(self) -> Mapping[str, Provider]:
        """All simulated providers by id."""
        return self._providers

    def change(self, change: Change) -> None:
        """Change faults, scripts, key states, limits or latency while running.

        Raise ValueError for an unknown provider or fault.
        """
        if change.provider and change.provider not in self._providers:
            msg = f"no provider {change.provider!r} is simulated here; there are: {', '.join(self._providers)}"
            raise ValueError(msg)
        if change.provider:
            self._providers[change.provider].change(change)
        self._refusing += change.refuse_connections

    def reset(self) -> None:
        """Back to the scenario: counts, key states and scripts as they were, nothing recorded."""
        self.judge.reset()
        self._refusing = 0
        self._providers = {
            name: Provider(row, self._scenario, self._corpus, self.clock) for name, row in self._rows.items()
        }

    def _accept(self) -> asyncio.Protocol:
        if self._refusing > 0:
            self._refusing -= 1
            return _Refuser()
        return Connection(self._handle, self._connections)

    def _handle(self, request: Request, connection: Connection) -> None:
        name, _, rest = request.path.lstrip("/").partition("/")
        provider = self._providers.get(name)
        if provider is None:
            status, headers, body = control.answer(self, name, rest, request)
            connection.respond(status, headers, body)
            return
        request.path = unquote(request.path)
        route = route_of(request.path)
        call = Call(
            number=self.judge.total,
            provider=name,
            operation=route.operation,
            arrived_s=self.clock.now(),
            arrived_mono_s=time.monotonic(),
            request_id=request.headers.get("x-request-id", ""),
        )
        self.judge.open(call)
        exchange = Exchange(connection, request, call, clock=self.clock)
        provider.serve(exchange, route, secret_of(request, self._rows[name]))


class _Refuser(asyncio.Protocol):
    """Closes a connection as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def secret_of(request: Request, row: ProviderRow) -> str:
    """The key that a request carries, wherever a client may have put it; empty if there is none."""
    own = request.headers.get(row.auth.header.lower(), "")
    if own:
        return own[len(row.auth.prefix) :] if own.lower().startswith(row.auth.prefix.lower()) else own
    bearer = request.headers.get("authorization", "")
    if bearer.lower().startswith(_BEARER):
        return bearer[len(_BEARER) :]
    for name in _KEY_HEADERS:
        if request.headers.get(name):
            return request.headers[name]
    return parse_qs(request.query).get("key", [""])[0] if request.query else ""


async def run(
    scenario: Scenario,
    rows: Mapping[str, ProviderRow],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[Simulator], None] | None = None,
) -> None:
    """Serve until cancelled; `on_ready` is told once the port is open."""
    simulator = Simulator(scenario, rows)
    await simulator.start(host, port)
    try:
        if on_ready is not None:
            on_ready(simulator)
        await asyncio.get_running_loop().create_future()
    finally:
        await simulator.stop()
