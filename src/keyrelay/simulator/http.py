"""A raw HTTP/1.1 server: a socket, httptools' parser and nothing between, so that faults can break any rule.

A handler is called with each complete request. It answers at once (`respond`) or runs a coroutine on the
connection (`run`), which is cancelled when the peer goes away. A peer that closes only its sending half counts
as gone.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_PIPELINED_REQUESTS = 64
WRITE_BUFFER_BYTES = 256 * 1024

Headers = Iterable[tuple[str, str]]

_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {498: "Capacity Exceeded", 529: "Overloaded"}
_STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase}\r\n" for status, phrase in _PHRASES.items()}
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Request(msgspec.Struct):
    """A complete request. Header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


Handler = Callable[[Request, "Connection"], None]


def head(status: int, headers: Headers) -> bytes:
    """Status line and headers, with the empty line that ends them."""
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    lines.append("\r\n")
    return "".join(lines).encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One accepted connection: requests in, whatever bytes the handler likes out."""

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._resumed: asyncio.Event = asyncio.Event()
        self._resumed.set()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._keep_alive = True
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self._start()

    def _start(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls back below."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError:
            self.write(_BAD_REQUEST)
            self.close()

    def eof_received(self) -> bool:
        """Count the peer as gone as soon as it says that it will send no more."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop whatever was being answered."""
        self._leave()
        self._connections.discard(self)
        self._resumed.set()

    def pause_writing(self) -> None:
        """Let `drain` wait."""
        self._resumed.clear()

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self._resumed.set()

    # httptools' callbacks

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Tell a peer that asked first to go on."""
        if "expect" in self._headers:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, within bounds."""
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self.write(_TOO_LARGE)
            self.close()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the request over, or let it wait for the one before it."""
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode()
        keep_alive = self._parser.should_keep_alive()
        request = Request(method, path, query, self._headers, b"".join(self._body), keep_alive)
        self._start()
        if not self._busy:
            self._dispatch(request)
        elif len(self._waiting) < MAX_PIPELINED_REQUESTS:
            self._waiting.append(request)
        else:
            self.close()

    # what handlers use

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer in one write and take the next request."""
        self.write(head(status, (*headers, ("content-length", str(len(body))))) + body)
        self.finish()

    def write(self, data: bytes) -> None:
        """Send bytes as they are; nothing happens once the connection is closing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait while the peer reads too slowly; raise ConnectionResetError once it is gone."""
        await self._resumed.wait()
        if self.gone:
            raise ConnectionResetError("the peer is gone")

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine that answers the current request; it is cancelled when the peer goes away."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._report)

    def finish(self) -> None:
        """The current answer is complete: take the next request, or close if the peer asked for that."""
        self._busy = False
        self.on_gone = None
        if not self._keep_alive:
            self.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def close(self) -> None:
        """Close cleanly (FIN) after what has been written; no longer the peer's doing."""
        self.on_gone = None
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close with a reset (RST); no longer the peer's doing."""
        self.on_gone = None
        if self._transport is None or self._transport.is_closing():
            return
        peer: socket.socket = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def stop(self) -> None:
        """Drop the connection and wait for its coroutine to end."""
        if self._transport is not None:
            self._transport.abort()
        self._leave()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _dispatch(self, request: Request) -> None:
        self._busy = True
        self._keep_alive = request.keep_alive
        self._handler(request, self)

    def _next(self) -> None:
        if self._waiting and not self._busy and not self.gone:
            self._dispatch(self._waiting.popleft())

    def _leave(self) -> None:
        if self.gone:
            return
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()
        if self._task is not None:
            self._task.cancel()

    def _report(self, task: asyncio.Task[None]) -> None:
        if task is self._task:
            self._task = None
        if task.cancelled():
            return
        exception = task.exception()
        if exception is None or (self.gone and isinstance(exception, ConnectionError)):
            return
        self.reset()
        context = {"message": "the simulator failed to answer", "exception": exception}
        asyncio.get_running_loop().call_exception_handler(context)
