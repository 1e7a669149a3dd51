"""One connection: an asyncio protocol around httptools' parser that runs one exchange at a time.

Everything happens in callbacks of the event loop; the only wake-ups are those of the exchange. The parser is strict
(no bare LF, no folding, no length beside chunked), has no bounds of its own, and tells of the head only where it
ends: the bytes are counted and kept here.
"""

import asyncio
from typing import Final, Protocol, cast

import httptools

from keyrelay.core.origins import Origin
from keyrelay.outbox import Outbox
from keyrelay.ports import Fault
from keyrelay.upstream.answer_heads import HEAD_END, read_framing
from keyrelay.upstream.exchange import Exchange
from keyrelay.upstream.faults import lost_fault, malformed_fault
from keyrelay.upstream.settings import TransportSettings

_WRITE_SLICE_BYTES: Final = 256 * 1024
_FIRST_FINAL_STATUS = _OK = 200
_FIRST_SIGN: Final = 0x20
_SWITCHING_PROTOCOLS: Final = 101


# Where in an answer the parser is. Plain numbers: an Enum's members are slow to look up before Python 3.12.
_HEAD, _BODY, _DONE = range(3)


class Owner(Protocol):
    """What a connection needs of the pool that it belongs to."""

    origin: Origin
    settings: TransportSettings
    loop: asyncio.AbstractEventLoop
    outbox: Outbox

    def release(self, connection: "Connection") -> None:
        """Take back a connection that can serve again."""

    def remove(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""


class Connection(asyncio.Protocol):
    """A connection to one origin.

    `answers` counts finished exchanges, `idle_since` is the loop's time at which the last one ended.
    """

    __slots__ = (
        "_failure",
        "_head",
        "_head_only",
        "_informational",
        "_owner",
        "_parser",
        "_parser_done",
        "_parts",
        "_reusable",
        "_stage",
        "_transport",
        "_unsent",
        "_until_close",
        "_write_paused",
        "answers",
        "closed",
        "exchange",
        "idle_since",
        "loop",
        "reading_paused",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._stage = _HEAD
        self._head = b""
        self._head_only = False
        self._informational = 0
        self._parser_done = False
        self._reusable = False
        self._until_close = False
        self._failure: Fault | None = None
        self._unsent: memoryview | None = None
        self._parts: tuple[memoryview, ...] = ()
        self._write_paused = False
        self.reading_paused = False
        self.closed = False
        self.exchange: Exchange | None = None
        self.answers = 0
        self.idle_since = owner.loop.time()
        self.loop = owner.loop

    def __repr__(self) -> str:
        state = "closed" if self.closed else "idle" if self.exchange is None else "busy"
        return f"<Connection {self._owner.origin} {state} answers={self.answers}>"

    # What the transport and the exchange ask for.

    def begin(
        self, exchange: Exchange, head: bytes, body: bytes, *, head_only: bool, parts: tuple[memoryview, ...] = ()
    ) -> None:
        """Send a request whose answer goes to `exchange`; `head_only` when the answer has no body by its method.

        `parts` of a large body follow `body`, in slices, as the other side takes them.
        """
        self.exchange = exchange
        exchange.connection = self
        self._stage = _HEAD
        self._head = b""
        self._head_only = head_only
        self._informational = 0
        self._parser_done = False
        self._until_close = False
        transport = self._transport
        if transport is None:
            raise RuntimeError("a connection begins after it is made")
        if not parts and len(body) <= _WRITE_SLICE_BYTES:
            self._owner.outbox.write(transport, head + body)
        else:
            self._owner.outbox.flush()
            transport.write(head)
            self._unsent = memoryview(body)
            self._parts = parts
            self._send_on()

    def fail(self, fault: Fault) -> None:
        """End the exchange with a fault and drop the connection."""
        exchange = self.exchange
        self.drop()
        if exchange is not None:
            exchange.fail(fault)

    def drop(self) -> None:
        """Close at once. The exchange, if any, learns nothing of it."""
        self.exchange = None
        self._unsent = None
        self._parts = ()
        if self.closed:
            return
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        self._owner.remove(self)

    def resume_reading(self) -> None:
        """Take bytes again after the stream's buffer was full."""
        if self.reading_paused and self._transport is not None:
            self.reading_paused = False
            self._transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        """Whether by the other side or by ourselves, the connection is gone."""
        self._end_of_input(exc)
        self._transport = None

    def eof_received(self) -> None:
        """The other side will send nothing more; the transport closes itself."""
        self._end_of_input(None)

    def pause_writing(self) -> None:
        """Send no more of a large body for now."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Go on with a large body."""
        self._write_paused = False
        self._send_on()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived and act on it once, whatever number of chunks it held."""
        exchange = self.exchange
        if exchange is None:  # nobody has asked: the next answer on this connection could not be trusted
            self.drop()
            return
        if self._stage is _HEAD:
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._unreadable(error)
        if self._failure is not None:
            self._refuse()
        elif self._stage is _DONE:
            self._finish(exchange)
        elif self._stage is _HEAD:
            self._bound_head()
        elif exchange.streaming and exchange.pieces:
            exchange.hand_over()
            if exchange.size > self._owner.settings.max_stream_buffer_bytes:
                self._pause_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Bytes behind a finished answer: it counts, but the connection is done for."""
        if self._stage is _DONE:
            self._reusable = False

    def on_headers_complete(self) -> None:
        """The head is here, and with it the way in which the body is framed."""
        exchange = self.exchange
        if self._stage is not _HEAD or exchange is None or self._failure is not None:
            return
        parser = self._parser
        status = parser.get_status_code()
        head = self._head
        if head[0] < _FIRST_SIGN:
            head = head.lstrip(b"\r\n")
        end = head.find(HEAD_END)
        if status < _FIRST_FINAL_STATUS:
            self._skip_informational(status, head[end + len(HEAD_END) :])
            return
        self._head = b""
        self._stage = _DONE if self._head_only else _BODY
        self._reusable = parser.should_keep_alive()
        exchange.status = status
        exchange.head = head[:end]
        self._failure = self._frame(exchange)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        exchange = self.exchange
        if self._stage is not _BODY or exchange is None:
            self._reusable = False
            return
        exchange.pieces.append(data)
        exchange.size += len(data)
        if exchange.size > exchange.max_body_bytes and not exchange.streaming:
            self._failure = self._too_large(exchange)

    def on_message_complete(self) -> None:
        """The body is complete; an informational answer only makes room for the next head."""
        self._parser_done = True
        if self._stage is _BODY:
            self._stage = _DONE

    # Decisions.

    def _frame(self, exchange: Exchange) -> Fault | None:
        """Learn the framing of the body; return why the answer cannot be used, if it cannot."""
        head, settings = exchange.head, self._owner.settings
        if len(head) > settings.max_head_bytes or head.count(b"\n") > settings.max_head_fields:
            return malformed_fault(self._owner.origin, "its head is too large")
        framing = read_framing(head)
        if framing.problem:
            return malformed_fault(self._owner.origin, framing.problem)
        self._until_close = framing.until_close
        wanted = exchange.streams and exchange.status == _OK and framing.length != 0
        if framing.streaming or wanted:
            exchange.streaming = True
            if not exchange.arrived.done():
                exchange.arrived.set_result(None)
        elif framing.length > exchange.max_body_bytes and not self._head_only:
            return self._too_large(exchange)
        return None

    def _too_large(self, exchange: Exchange) -> Fault:
        return malformed_fault(self._owner.origin, f"it is larger than {exchange.max_body_bytes} bytes")

    def _skip_informational(self, status: int, rest: bytes) -> None:
        self._head = rest
        self._informational += 1
        if status == _SWITCHING_PROTOCOLS or self._informational > self._owner.settings.max_informational:
            self._failure = malformed_fault(self._owner.origin, "it begins with answers that nobody asked for")

    def _bound_head(self) -> None:
        if len(self._head) > self._owner.settings.max_head_bytes:
            self.fail(malformed_fault(self._owner.origin, "its head is too large"))

    def _unreadable(self, error: Exception) -> None:
        """The parser gave up: on the answer, or only on what came behind it."""
        self._reusable = False
        if self._stage is not _DONE and self._failure is None:
            words = str(error) if isinstance(error, httptools.HttpParserError) else "it switches protocols"
            self._failure = malformed_fault(self._owner.origin, words)

    def _refuse(self) -> None:
        fault = self._failure
        self._failure = None
        if fault is not None:
            self.fail(fault)

    def _finish(self, exchange: Exchange) -> None:
        """The answer is complete: give it out, and the connection back if it can serve again."""
        self.exchange = None
        self.answers += 1
        if not self._reusable or self._unsent is not None:
            self.drop()
        else:
            self.resume_reading()  # a transport may deliver although it is paused
            if not self._parser_done:  # after HEAD it still expects a body
                self._parser = httptools.HttpResponseParser(self)
            self._owner.release(self)
        exchange.finish()

    def _end_of_input(self, error: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            self.drop()
        elif self._stage is _BODY and self._until_close and error is None:
            self._reusable = False
            self._finish(exchange)
        else:
            untouched = self._stage is _HEAD and not self._head and not self._informational
            exchange.stale = untouched and self.answers > 0
            self.fail(lost_fault(error, self._owner.origin, answering=self._stage is not _HEAD))

    def _pause_reading(self) -> None:
        if not self.reading_paused and self._transport is not None:
            self.reading_paused = True
            self._transport.pause_reading()

    def _send_on(self) -> None:
        """Write slices of a large body, then of its parts, until the transport's buffer is full."""
        while self._unsent is not None and not self._write_paused and self._transport is not None:
            part = self._unsent[:_WRITE_SLICE_BYTES]
            rest = self._unsent[_WRITE_SLICE_BYTES:]
            if not rest and self._parts:
                rest, self._parts = self._parts[0], self._parts[1:]
            self._unsent = rest or (memoryview(b"") if self._parts else None)
            if part:
                self._transport.write(part)
