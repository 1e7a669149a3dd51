"""uvicorn's HTTP protocol with one ASGI extension: an answer in one piece goes out in one write.

ASGI sends head and body as two messages, and uvicorn writes each on its own; a system call costs more than all of
Keyrelay's choosing and counting. Everything else is uvicorn's, and without the extension answers go the usual way.
"""

from functools import partial
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keyrelay.api.answering import WHOLE_ANSWER, Head

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_CLOSE = (b"connection", b"close")


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a caller."""

    def on_headers_complete(self) -> None:
        """Begin the request, and offer the extension to the application, whose task has not run yet."""
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope and self.scope["method"] != "HEAD":
            self.scope["extensions"] = {WHOLE_ANSWER: partial(write_whole, self.cycle)}  # type: ignore[dict-item]  # ASGI allows any value


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
    if lines.count(b"\n") != len(head) or b"\0" in lines:
        raise ValueError("a header field holds a line break")
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"%b%b\r\n%b" % (_STATUS_LINES[status], lines, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
