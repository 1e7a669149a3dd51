"""Real parts for tests over real sockets: simulated providers, the gateway, and a caller that hides nothing.

The gateway runs either in this event loop (`embedded`: the composed application under uvicorn with the gateway's own
protocol, which starts in milliseconds) or as the real command in a process of its own (`process`).
"""

import asyncio
import contextlib
import io
import json
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import uvicorn

from keyrelay.api.app import Application
from keyrelay.api.observer import Watchers
from keyrelay.api.server import GatewayProtocol
from keyrelay.bootstrap import compose
from keyrelay.configuration import Configuration, load_configuration
from keyrelay.core.administered import NOTHING, Administered
from keyrelay.simulator import Call, Scenario, Simulator
from tests.shipped import shipped_rows

CLIENT_SECRET = "b1946ac92492d2347c6235b4d2611184"
CLIENT = "tests"
_PATIENCE_S = 30.0
"""Longer than anything may take: a test that hangs says where."""

COUNTED = frozenset({"chat", "completions", "embeddings"})
_GREETING = re.compile(r"^keyrelay \S+ at (http://\S+:(\d+)/v1)", re.MULTILINE)


async def until(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
    """Wait for a condition, looking every few milliseconds; fail with `what` if it never comes."""
    deadline_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_at:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(0.005)


# The simulator


@contextlib.asynccontextmanager
async def simulated(scenario: Scenario | None = None) -> AsyncIterator[Simulator]:
    simulator = Simulator(scenario or Scenario(), shipped_rows())
    await simulator.start()
    try:
        yield simulator
    finally:
        await asyncio.wait_for(simulator.stop(), _PATIENCE_S)


def calls_of(simulator: Simulator) -> list[Call]:
    """What arrived, model listings and probes left out."""
    return [call for call in simulator.judge.calls if call.operation in COUNTED]


def environment(simulator: Simulator, keys: Mapping[str, Iterable[str]], **more: str) -> dict[str, str]:
    """The environment of a gateway whose providers are simulated; `more` adds and overrides."""
    environ = {"CLIENT_API_KEYS_MAP": f"{CLIENT_SECRET}:{CLIENT}", "KEYRELAY_LOG_FORMAT": "json", "KEYRELAY_PORT": "0"}
    for provider, listed in keys.items():
        environ[f"{provider.upper()}_BASE_URL"] = simulator.base_url(provider)
        text = ",".join(listed)
        if text:
            environ[f"{provider.upper()}_API_KEYS"] = text
    return environ | more


# The gateway


def json_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a log that are JSON, each of which has to be a whole object; one being written is none yet."""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]


class Gateway:
    """A gateway under test: where it is and what it logged."""

    def __init__(self, port: int, read_log: Callable[[], str]) -> None:
        self.port = port
        self.log = read_log

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def lines(self, event: str = "request") -> list[dict[str, Any]]:
        """The log lines of one kind."""
        return [line for line in json_lines(self.log()) if line["event"] == event]

    async def line_of(self, request_id: str, event: str = "request") -> dict[str, Any]:
        """The log line of a request, once it has been written."""
        found: list[dict[str, Any]] = []

        def written() -> bool:
            found[:] = [line for line in self.lines(event) if line["request_id"] == request_id]
            return bool(found)

        await until(written, f"a log line for {request_id}")
        assert len(found) == 1
        return found[0]

    async def ask(self, body: object, path: str = "/v1/chat/completions", **options: Any) -> "Reply":
        """One request on a connection of its own."""
        async with Caller(self.port) as caller:
            return await caller.post(path, body, **options)


class Embedded(Gateway):
    """A gateway in this event loop."""

    def __init__(self, port: int, application: Application, log: io.StringIO) -> None:
        super().__init__(port, self._read)
        self.application = application
        self._log = log

    def _read(self) -> str:
        watchers = self.application.data._gateway._observer
        assert isinstance(watchers, Watchers)
        watchers.flush()
        return self._log.getvalue()


class _Server(uvicorn.Server):
    """uvicorn without signals, which are the test runner's, and without its ticks, which would slow each stop down.

    How the gateway drains is shown with the real command (`test_operations.py`).
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        tasks = tuple(self.server_state.tasks)
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=1.0)
            for task in running:
                task.cancel()
        await self.lifespan.shutdown()


@contextlib.asynccontextmanager
async def embedded(environ: Mapping[str, str], directory: Path, **beyond: Any) -> AsyncIterator[Embedded]:
    """Serve with this environment; `beyond` sets settings to values that an environment may not have."""

    def load(administered: Administered = NOTHING) -> Configuration:
        environment = {"HOME": str(directory), **environ}
        loaded = load_configuration(
            environment, directory=directory, overrides={}, catalogue=shipped_rows(), administered=administered
        )
        return msgspec.structs.replace(loaded, settings=msgspec.structs.replace(loaded.settings, **beyond))

    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        application = compose(load(), load=load)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    # asyncio sets this where a socket names its protocol, which this one does not: an answer in two writes takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        application,
        http=GatewayProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started or task.done(), "the gateway has started")
    try:
        yield Embedded(listener.getsockname()[1], application, log)
    finally:
        server.stopping.set()
        await asyncio.wait_for(task, _PATIENCE_S)


class Process(Gateway):
    """A gateway in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self.process = process
        self.output = output
        super().__init__(0, lambda: output.read_text(errors="replace"))

    async def ready(self) -> None:
        """Wait until it says that it listens."""
        waiting = asyncio.ensure_future(self.process.wait())
        try:
            await until(lambda: waiting.done() or _GREETING.search(self.log()), "the gateway greets", 20.0)
        finally:
            waiting.cancel()
        found = _GREETING.search(self.log())
        assert found is not None, f"the gateway did not start: {self.log()}"
        self.port = int(found[2])
        async with Caller(self.port) as caller:
            assert (await caller.get("/livez")).status == 200

    async def ended(self, timeout_s: float = 20.0) -> int:
        """Wait for the process to end; its exit code."""
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        if self.process.returncode is None:
            self.process.send_signal(signal_number)
        return await self.ended()


@contextlib.asynccontextmanager
async def process(
    environ: Mapping[str, str],
    directory: Path,
    arguments: tuple[str, ...] = ("-m", "keyrelay", "up", "--no-demo"),
    *,
    ready: bool = True,
) -> AsyncIterator[Process]:
    """The real command with this environment; killed at the end if it still runs."""
    output = directory / f"stderr-{time.monotonic_ns()}.log"
    with output.open("wb") as sink:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=directory,
            env={"HOME": str(directory), "PATH": "/usr/bin:/bin", **environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    gateway = Process(started, output)
    try:
        if ready:
            await gateway.ready()
        yield gateway
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


# The caller


class Reply(msgspec.Struct):
    """An answer as it came. `whole` is False when the connection ended before the answer did."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    seconds: float

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def events(self) -> list[str]:
        """What stands behind `data:` in each event."""
        lines = self.body.decode().replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff").split("\n")
        return [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]

    @property
    def streamed_error(self) -> dict[str, Any] | None:
        """The error that ends a stream, if one does."""
        last = json.loads(self.events[-1]) if self.events and self.events[-1] != "[DONE]" else {}
        error: dict[str, Any] | None = last.get("error")
        return error

    @property
    def text(self) -> str:
        """What the model said, from a whole answer or put together from a stream."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            chunks = [json.loads(event) for event in self.events if event != "[DONE]"]
            deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices") or ()]
            return "".join(delta.get("content") or "" for delta in deltas)
        content: str = self.json["choices"][0]["message"]["content"]
        return content

    def is_good(self) -> bool:
        """Whether this is an answer, whole and with content."""
        if self.status != 200 or not self.whole:
            return False
        if self.headers["content-type"].startswith("text/event-stream"):
            return self.events[-1] == "[DONE]" and bool(self.text) and '"error"' not in self.body.decode()
        return bool(self.text)


class Caller:
    """One connection to the gateway, kept alive from request to request."""

    def __init__(self, port: int, secret: str = CLIENT_SECRET) -> None:
        self._port = port
        self._secret = secret
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._writer.wait_closed(), 1.0)
            self._writer.transport.abort()
            self._reader = self._writer = None

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The raw connection, opened when it is not."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        return self._reader, self._writer

    async def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        return await self.request(method, path, b"", self._fields(headers))

    async def post(
        self, path: str, body: object, *, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Reply:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.request(method, path, data, self._fields(headers or {}))

    def _fields(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The usual header fields; an empty value takes one away."""
        usual = {"authorization": f"Bearer {self._secret}", "content-type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return {name: value for name, value in {**usual, **given}.items() if value}

    async def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        lines = [f"{method} {path} HTTP/1.1", "host: gateway"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method in {"POST", "PUT", "PATCH"}:
            lines.append(f"content-length: {len(body)}")
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        return await self.raw(data, head_only=method == "HEAD", endless=path.startswith("/api/v1/events"))

    async def raw(self, data: bytes, *, head_only: bool = False, endless: bool = False) -> Reply:
        """Send bytes as they are and read one answer; of one that may have no end its head, unless it is refused."""
        reader, writer = await self.streams()
        started_at = time.monotonic()
        writer.write(data)
        async with asyncio.timeout(_PATIENCE_S):
            reply = await read_reply(reader, started_at, head_only=head_only, endless=endless)
        if not reply.whole or reply.headers.get("connection") == "close":
            await self.close()
        return reply


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and header fields of an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *fields = head.split("\r\n")
    pairs = (line.partition(":") for line in fields if line)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def read_reply(
    reader: asyncio.StreamReader, started_at: float, *, head_only: bool = False, endless: bool = False
) -> Reply:
    status, headers = await read_head(reader)
    pieces: list[bytes] = []
    whole = True
    try:
        if endless and headers.get("content-type", "").startswith("text/event-stream"):
            whole = False
        elif head_only or status in {204, 304}:
            pass
        elif "content-length" in headers:
            pieces.append(await reader.readexactly(int(headers["content-length"])))
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                pieces.append((await reader.readexactly(size + 2))[:-2])
            await reader.readexactly(2)
        else:
            pieces.append(await reader.read())
    except (asyncio.IncompleteReadError, OSError) as error:
        whole = False
        pieces.append(getattr(error, "partial", b""))
    return Reply(status, headers, b"".join(pieces), whole, time.monotonic() - started_at)


async def load(port: int, bodies: Iterable[bytes], *, concurrency: int, secret: str = CLIENT_SECRET) -> list[Reply]:
    """Send all bodies to the chat endpoint over `concurrency` connections, each as soon as one is free."""
    waiting = iter(bodies)
    replies: list[Reply] = []

    async def work() -> None:
        async with Caller(port, secret) as caller:
            replies.extend([await caller.post("/v1/chat/completions", body) for body in waiting])

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return replies


def chat(model: str = "auto", *, stream: bool = False, text: str = "Say hello.", **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return {**body, "stream": True} if stream else body


def chat_bytes(model: str = "auto", *, stream: bool = False, text: str = "Say hello.", **more: Any) -> bytes:
    return msgspec.json.encode(chat(model, stream=stream, text=text, **more))
