"""uvicorn's HTTP protocol, made lean where every request passes.

uvicorn's own costs more than all of Keyrelay's choosing and counting. What differs here: an answer in one piece goes
out in one write (ASGI sends head and body as two messages, each of them a system call), through an ASGI extension
that other servers lack and nobody misses; a body that is complete is handed over without an event; an idle
connection has one timer in its life instead of one per request. Everything else (parsing, pipelining, streams,
draining) is uvicorn's, and so is every name that this module overrides.
"""

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGIReceiveEvent, HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keyrelay.api.answering import WHOLE_ANSWER, Head

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_CLOSE = (b"connection", b"close")
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_logger = logging.getLogger("uvicorn.error")


class Signal:
    """What uvicorn needs of an `asyncio.Event`, without a queue of waiters: one task waits at a time."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiter, now or when it comes."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Let the next one wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Return at once if set, else when it is."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


class GatewayCycle(RequestResponseCycle):
    """One request and its answer."""

    taken = False

    async def receive(self) -> ASGIReceiveEvent:
        """The body, at once when all of it is there; then whatever uvicorn says."""
        if self.more_body or self.taken or self.disconnected or self.waiting_for_100_continue:
            return await super().receive()
        self.taken = True
        self.flow.resume_reading()
        self.message_event.clear()
        body = bytes(self.body)
        self.body = bytearray()
        return {"type": "http.request", "body": body, "more_body": False}


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a caller."""

    _idle_since = 0.0

    def on_message_begin(self) -> None:
        """Begin a request; its scope is made when its head is complete."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Start the request's task, or queue it behind the one under way."""
        parser = self.parser
        version = parser.get_http_version()
        scope = self.scope = self._scope(version)
        previous = self.cycle
        cycle = self.cycle = GatewayCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=_logger,
            access_logger=_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=cast("asyncio.Event", Signal()),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if scope["method"] != "HEAD":
            scope["extensions"] = cast("Any", {WHOLE_ANSWER: partial(write_whole, cycle)})
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _scope(self, version: str) -> HTTPScope:
        url = self.url
        if url.find(b"?") >= 0 or url.find(b"%") >= 0 or url.find(b"#") >= 0 or not url.startswith(b"/"):
            path, raw_path, query = _parse(url)
        else:
            path, raw_path, query = url.decode("ascii"), url, b""
        return {
            "type": "http",
            "asgi": cast("Any", _ASGI),
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state,
        }

    def on_response_complete(self) -> None:
        """Go on with the next request of the pipeline, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch_idleness(self.timeout_keep_alive)

    def _watch_idleness(self, after_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(after_s, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer alone while data comes; it looks for itself. End it with the connection."""
        if self.timeout_keep_alive_task is not None and self.transport.is_closing():
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer with the connection."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for the whole time, else look again when it could have been."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if busy or left_s > 0:
            self._watch_idleness(self.timeout_keep_alive if busy else left_s)
        else:
            self.transport.close()


def _parse(url: bytes) -> tuple[str, bytes, bytes]:
    """Path as text, path as sent, query. A URL that is none makes the parser answer 400."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


def write_whole(cycle: RequestResponseCycle, status: int, head: Head, body: bytes) -> None:
    """Send status, head (with its content-length) and body at once, and end the request.

    Does what two calls of `RequestResponseCycle.send` would do. Raise ValueError for a head that would break the
    framing.
    """
    if cycle.disconnected:
        return
    if _CLOSE in head:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        head.append(_CLOSE)
    lines = b"".join([b"%b: %b\r\n" % field for field in head])
    if lines.count(b"\n") != len(head) or lines.find(b"\0") >= 0:
        raise ValueError("a header field holds a line break")
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"%b%b\r\n%b" % (_STATUS_LINES[status], lines, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
