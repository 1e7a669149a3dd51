"""uvicorn's HTTP protocol, made lean where every request passes.

uvicorn's own costs more than all of Keyrelay's choosing and counting. What differs here: an answer in one piece goes
out in one write (ASGI sends head and body as two messages, each of them a system call), right behind those of other
connections (`outbox`), through an ASGI extension that other servers lack and nobody misses; a body that is
complete is handed over without an event; an idle connection has one timer in its life instead of one per request; a
head that comes again word for word is not parsed again (`known_heads`), and its body is counted, not parsed.
Everything else (parsing, pipelining, streams, draining) is uvicorn's, and so is every name that this module overrides.
"""

import asyncio
import logging
from urllib.parse import unquote

from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGIVersions, HTTPScope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from keyrelay.api.answering import DIRECT
from keyrelay.api.app import Application, Place
from keyrelay.api.known_heads import KnownHead
from keyrelay.outbox import Outbox

_CLOSE = b"connection: close\r\n"
_WHOLE = b"%b%bcontent-length: %d\r\n\r\n%b"
_ASGI: ASGIVersions = {"version": "3.0", "spec_version": "2.3"}
_logger = logging.getLogger("uvicorn.error")


class Signal:
    """What uvicorn needs of an `asyncio.Event`, without a queue of waiters: one task waits at a time."""

    _is_set = False
    _waiter: asyncio.Future[None] | None = None

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


class GatewayCycle(Signal, RequestResponseCycle):
    """One request and its answer, and the signal that something has come. What hardly ever differs stands in the class.

    `runner` is the task that serves it, `known` its head if that is to be remembered.
    """

    logger = access_logger = _logger
    access_log = False
    disconnected = False
    waiting_for_100_continue = False
    more_body = True
    taken = False
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    runner: asyncio.Task[None] | None = None
    known: KnownHead | None = None
    expected_content_length = 0

    def __init__(self, scope: HTTPScope, protocol: "GatewayProtocol", *, keep_alive: bool) -> None:
        self.scope = scope
        self.protocol = protocol
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.keep_alive = keep_alive
        self.body = b""  # type: ignore[assignment]  # bytes: nearly every body comes in one piece

    @property
    def message_event(self) -> Signal:  # type: ignore[override]  # all that is used of an Event
        """Set when something has come."""
        return self

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]  # an attribute there
        """What uvicorn puts into its own answers' heads."""
        return self.protocol.server_state.default_headers

    def on_response(self) -> None:
        """Let the connection go on."""
        self.protocol.on_response_complete()

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the application for this request; what it lets through is logged and answered with 500, as uvicorn does.

        In the end nothing points back from here: a scope that holds its cycle would wait for the garbage collector.
        """
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            # A caller who does not take what is written would keep a connection that is only closed for ever.
            (self._close if self.response_complete else self.transport.abort)()
        except Exception:
            _logger.exception("Exception in ASGI application")
            await self._fail()
        else:
            if not (self.response_complete or self.disconnected):
                _logger.error("The application returned without completing its response.")
                await self._fail()
        finally:
            self.protocol.tasks.discard(self.runner)
            self.runner = None
            self.scope.pop("extensions", None)

    async def _fail(self) -> None:
        if self.response_started:
            self._close()
        else:
            await self.send_500_response()

    def _close(self) -> None:
        """Close the connection, behind what waits for the end of this turn."""
        self.protocol.outbox.flush()
        self.transport.close()

    async def receive(self) -> ASGIReceiveEvent:
        """The body, at once when all of it is there; then whatever uvicorn says."""
        body = None if self.disconnected or self.waiting_for_100_continue else self.take_body()
        if body is not None:
            self.flow.resume_reading()
            return {"type": "http.request", "body": body, "more_body": False}
        event = await super().receive()
        self.body = b""  # type: ignore[assignment]
        return event

    def take_body(self) -> bytes | None:
        """The whole body if it is there, once; else None, and `receive` will bring it."""
        if self.more_body or self.taken:
            return None
        self.taken = True
        self._is_set = False
        return self.body  # type: ignore[return-value]  # see __init__

    def write_whole(self, status: int, head: bytes, body: bytes) -> None:
        """Send status, head, its content-length and body in this turn, and end the request."""
        if self.disconnected:
            return
        if head.find(_CLOSE) >= 0:
            self.keep_alive = False
        elif not self.keep_alive:
            head += _CLOSE
        self.response_started = True
        self.protocol.outbox.write(self.transport, _WHOLE % (STATUS_LINE[status], head, len(body), body))
        self._complete()

    def write_now(self, data: bytes) -> bool:
        """Send a piece of a chunked answer whose head has gone out, unless the caller does not keep up."""
        if self.flow.write_paused:
            return False
        if not self.disconnected:
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    async def write_piece(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of a chunked answer whose head has gone out; wait while the caller does not take it."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if not more:
            self.protocol.outbox.flush()
        self.transport.write(chunk if more else chunk + b"0\r\n\r\n")
        if not more:
            self._complete()

    def break_off(self) -> None:
        """End the connection in the middle of an answer: without its last chunk nobody takes it for whole."""
        self.disconnected = True
        self.transport.abort()

    def _complete(self) -> None:
        """Let the connection go on, or end it: everything has been written."""
        self.response_complete = True
        self.set()
        if not self.keep_alive:
            self._close()
        self.protocol.on_response_complete()


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a caller.

    `_known` is the last head that went straight to the data plane; `_left` is what is still to come of the body behind
    it; `_unparsed` is the piece of data that the parser is being given, if a request begins with it.
    """

    cycle: GatewayCycle
    retiring = False
    _idle_since = 0.0
    _known: KnownHead | None = None
    _left = 0
    _midway = False
    _unparsed = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Look up once what each request will be looked up in."""
        super().connection_made(transport)
        self._exact = self.app.exact if isinstance(self.app, Application) else {}
        self.outbox = self.app.outbox if isinstance(self.app, Application) else Outbox()

    def data_received(self, data: bytes) -> None:
        """Take what has come: of a body that is counted, of a request whose head is known, or for the parser."""
        if self._left:
            self._take_rest(data)
            return
        known = self._known
        if known is None or self._midway or not data.startswith(known.before) or not self._take_known(known, data):
            self._unparsed = b"" if self._midway else data
            super().data_received(data)
            self._unparsed = b""

    def _take_known(self, known: KnownHead, data: bytes) -> bool:
        """Begin a request whose head is known; False when it is another, or when it has to wait for the one before."""
        previous = self.cycle
        if previous is not None and not previous.response_complete:
            return False
        begin = known.ends_in(data)
        if begin < 0:
            return False
        end = begin + known.length
        place = known.place
        cycle = GatewayCycle(self._short_scope(place, known.fields), self, keep_alive=not self.retiring)
        cycle.known = known
        cycle.scope["extensions"] = {DIRECT: cycle}  # type: ignore[dict-item]  # ASGI allows any value
        cycle.body = data[begin:end]  # type: ignore[assignment]  # see GatewayCycle
        self._left = end - len(data)
        cycle.more_body = self._left > 0
        self.scope, self.cycle = cycle.scope, cycle
        self._start_asgi_task(cycle, place.handler)  # type: ignore[arg-type]  # uvicorn's types are narrower
        if self._left < 0:
            self._left = 0
            self.data_received(data[end:])
        return True

    def _take_rest(self, data: bytes) -> None:
        """More of a body whose length is known."""
        rest = data[self._left :]
        self._left -= len(data) - len(rest)
        self.on_body(data[: len(data) - len(rest)] if rest else data)
        if not self._left:
            self.on_message_complete()
        if rest:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """Begin a request; its scope is made when its head is complete."""
        self._midway = True
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request's task, or queue it behind the one under way."""
        parser = self.parser
        version = parser.get_http_version()
        method = parser.get_method()
        place = self._exact.get((method, self.url))
        if place is None:
            scope, target = self._scope(version, method.decode("ascii")), self.app
        else:
            scope, target = self._short_scope(place, self.headers), place.handler
        previous = self.cycle
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self.retiring
        cycle = GatewayCycle(scope, self, keep_alive=keep_alive)
        self.scope, self.cycle = scope, cycle
        if self.expect_100_continue:
            cycle.waiting_for_100_continue = True
        elif self._unparsed and previous is not None and place is not None and keep_alive:
            cycle.known = self._known = self._learned(place)
        self._unparsed = b""
        if method != b"HEAD":
            scope["extensions"] = {DIRECT: cycle}  # type: ignore[dict-item]  # ASGI allows any value
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, target)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, target))

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; stop reading while the application has not taken what is there."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body = cycle.body + body if cycle.body else body  # type: ignore[assignment]  # see GatewayCycle
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.set()

    def on_message_complete(self) -> None:
        """Note that the body is there."""
        self._midway = False
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.set()

    def _start_asgi_task(self, cycle: GatewayCycle, app: ASGI3Application) -> None:  # type: ignore[override]  # ours
        """Start the task; it takes itself out of the tasks under way, which saves a callback."""
        task = cycle.runner = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)

    def _learned(self, place: Place) -> KnownHead | None:
        """What to remember of the head that has just been parsed; who asks once only is not remembered."""
        return None if self.parser.should_upgrade() else KnownHead.learned(self._unparsed, self.headers, place)

    def _short_scope(self, place: Place, fields: list[tuple[bytes, bytes]]) -> HTTPScope:
        """What the data plane reads of a scope, for a request that goes straight to it."""
        return {  # type: ignore[typeddict-item]  # the rest is not asked for
            "type": "http",
            "method": place.method,
            "path": place.path,
            "query_string": b"",
            "headers": fields,
        }

    def _scope(self, version: str, method: str) -> HTTPScope:
        url = self.url
        if url.find(b"?") >= 0 or url.find(b"%") >= 0 or url.find(b"#") >= 0 or not url.startswith(b"/"):
            path, raw_path, query = _parse(url)
        else:
            path, raw_path, query = url.decode("ascii"), url, b""
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method,
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
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)  # type: ignore[arg-type]  # it holds our cycles
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch_idleness(self.timeout_keep_alive)

    def shutdown(self) -> None:
        """Close an idle connection, behind its last answer; let a busy one end."""
        self.outbox.flush()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, behind the answer to what was."""
        self.outbox.flush()
        super().send_400_response(msg)

    def retire(self) -> None:
        """Let the next answer be the last one here, and say so: a caller then goes on elsewhere and loses nothing.

        An answer whose head has gone out cannot say it any more; the one after it will.
        """
        self.retiring = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def idle_s(self, since: float) -> float:
        """How long nobody has asked anything here, at most from `since` on (event-loop clock); 0 for a busy one."""
        if self.cycle is not None and not self.cycle.response_complete:
            return 0.0
        return self.loop.time() - max(self._idle_since, since)

    def _watch_idleness(self, after_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(after_s, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer alone while data comes; it looks for itself. End it with the connection."""
        if self.timeout_keep_alive_task is not None and self.transport.is_closing():
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer with the connection; it and its last request would else keep each other alive."""
        super().connection_lost(exc)
        self.cycle = None  # type: ignore[assignment]  # as it begins
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
    """Path as text, path as sent, query; of an absolute URL, as proxies get them, what is behind its authority."""
    whole = url.partition(b"#")[0]
    if not whole.startswith(b"/") and whole.find(b"://") > 0:
        whole = b"/" + whole.partition(b"://")[2].partition(b"/")[2]
    raw_path, _, query = whole.partition(b"?")
    return unquote(raw_path.decode("ascii")), raw_path, query
