"""A raw server on the loopback interface that does what a script says, and counts what it sees."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from keyrelay.core.configuration import Credential
from keyrelay.core.origins import Origin
from keyrelay.core.secrets import Secret
from keyrelay.ports import Fault, UpstreamCall
from keyrelay.upstream.exchange import Exchange

SECRET = "sk-canary-0123456789"


class Peer:
    """One connection as the server sees it."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next request's head, noted by the server; raises IncompleteReadError when the client closes."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.server.heads.append(head)
        return head

    async def request(self) -> bytes:
        """The next request's body."""
        head = (await self.head()).lower()
        length = 0
        if b"content-length: " in head:
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await self.reader.readexactly(length)
        self.server.bodies.append(body)
        return body

    async def send(self, *parts: bytes, gap_s: float = 0.0) -> None:
        """Send parts, one by one, with a pause after each."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if gap_s:
                await asyncio.sleep(gap_s)

    async def until_closed(self) -> None:
        """Wait until the client has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.server.closed_by_client += 1

    def reset(self) -> None:
        """Break off with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """What a server has seen so far."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.closed_by_client = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.scheme = "http"
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def origin(self) -> Origin:
        return Origin(self.scheme, "127.0.0.1", self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(Peer(self, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 2)
            writer.transport.abort()
            self._tasks.discard(task)

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        for _ in range(50):
            if not self._tasks:
                break
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, small_buffers: bool = False
) -> AsyncIterator[Server]:
    """Run a script for each connection. `small_buffers` keeps the kernel from taking much of an answer."""
    server = Server(script)
    sock = socket.socket()
    if small_buffers:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.bind(("127.0.0.1", 0))
    listener = await asyncio.start_server(server.serve, sock=sock, ssl=tls)
    server.port = sock.getsockname()[1]
    server.scheme = "https" if tls else "http"
    try:
        yield server
    finally:
        listener.close()
        await server.stop()
        await listener.wait_closed()


def answering(*answers: bytes) -> Script:
    """Answer each request on a connection with the next answer, the last one again and again."""

    async def script(peer: Peer) -> None:
        number = 0
        while True:
            await peer.request()
            await peer.send(answers[min(number, len(answers) - 1)])
            number += 1

    return script


def once(answer: bytes) -> Script:
    """Answer one request and close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    return script


def silent_after(answer: bytes) -> Script:
    """Answer one request with some bytes, then only wait for the client to go."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.until_closed()

    return script


def http(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """An answer with a content-length."""
    lines = [f"HTTP/1.1 {status}", *fields, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces: bytes, kind: str = "application/json", end: bool = True) -> bytes:
    """A chunked answer."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(chunk(piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def events(*pieces: bytes, end: bool = True) -> bytes:
    """A stream of events."""
    return chunked(*pieces, kind="text/event-stream", end=end)


def call(
    origin: Origin,
    *,
    body: bytes = b"{}",
    method: str = "POST",
    target: str = "/v1/chat",
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
    first_byte_s: float = 5.0,
    total_s: float = 5.0,
    max_body_bytes: int = 1 << 20,
    credential: Credential | None = None,
    streams: bool = False,
) -> UpstreamCall:
    """A call with deadlines counted from now, and a canary for a key."""
    now = asyncio.get_running_loop().time()
    return UpstreamCall(
        origin=origin,
        target=target,
        credential=credential or Credential(origin, "authorization", "Bearer ", Secret(SECRET)),
        body=body,
        first_byte_at=now + first_byte_s,
        total_at=now + total_s,
        method=method,
        headers=headers,
        max_body_bytes=max_body_bytes,
        streams=streams,
    )


def answer_of(result: Exchange | Fault) -> Exchange:
    """The answer of a call that must not have failed."""
    assert isinstance(result, Exchange), result
    return result


def fault_of(result: Exchange | Fault) -> Fault:
    """The fault of a call that must have failed; it never holds the key."""
    assert isinstance(result, Fault), result
    assert SECRET not in result.message
    return result


async def read_all(answer: Exchange) -> bytes:
    """Everything that a stream still gives."""
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    return b"".join(pieces)


async def soon(condition: Callable[[], bool], *, within_s: float = 1.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while not condition():
        assert loop.time() < until, "it did not happen in time"
        await asyncio.sleep(0.005)
