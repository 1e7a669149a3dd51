"""Writing answers through ASGI.

A head is its lines as bytes, `name: value` and a line end each, because that is how it leaves; only a server without
Keyrelay's extension (`api.server`) gets it taken apart.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from starlette.types import Scope, Send

from keyrelay.api.callers import Introduced
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.errors import encode_error

DIRECT: Final = "keyrelay.direct"
"""Name of the ASGI extension: a `DirectAnswer` for the request."""


class Known(Protocol):
    """A head that may come again over the same connection, and who sends it, once that has been found out."""

    introduced: Introduced | None


class DirectAnswer(Protocol):
    """What Keyrelay's own server offers beside ASGI's `send`: fewer messages, fewer writes.

    `runner` is the task of the request, None when it has ended; `known` its head, where the server remembers that.
    """

    runner: asyncio.Task[None] | None

    @property
    def known(self) -> Known | None:
        """Its head, if it may come again."""
        ...

    def take_body(self) -> bytes | None:
        """The whole body if it is there, once; else None, and `receive` will bring it."""
        ...

    def write_whole(self, status: int, head: bytes, body: bytes) -> None:
        """Send status, head, its content-length and body at once, and end the answer."""
        ...

    def write_now(self, data: bytes) -> bool:
        """Send a piece of a chunked answer unless that would have to wait; whether it was sent, or nobody is there."""
        ...

    async def write_piece(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of a chunked answer whose head has gone out through ASGI; wait as `send` would."""
        ...

    def break_off(self) -> None:
        """End the connection in the middle of an answer, so that whoever reads it sees that it is not whole."""
        ...


def without_secrets(error: CallerError, redact: Callable[[str], str]) -> CallerError:
    """An error as it may be told: whoever put a secret into the place of a name does not get it repeated."""
    message, param = redact(error.message), error.param and redact(error.param)
    if (message, param) == (error.message, error.param):
        return error
    return CallerError(
        error.status,
        message,
        kind=error.kind,
        code=error.code,
        param=param,
        headers=error.headers,
        detail=error.detail,
    )


def direct_answer(scope: Scope) -> DirectAnswer | None:
    """The extension of a request; None under other servers."""
    extensions = scope.get("extensions")
    return extensions.get(DIRECT) if extensions else None


def head_pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    """The lines of a head as ASGI wants them."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")) if name]


async def send_whole(direct: DirectAnswer | None, send: Send, status: int, head: bytes, body: bytes) -> None:
    """Send an answer in one piece; in one write where the server has Keyrelay's extension."""
    if direct is not None:
        direct.write_whole(status, head, body)
        return
    head = b"%bcontent-length: %d\r\n" % (head, len(body))
    await send({"type": "http.response.start", "status": status, "headers": head_pairs(head)})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    scope: Scope,
    send: Send,
    error: CallerError,
    request_id: str,
    codec: CallerCodec | None = None,
    *,
    more: tuple[tuple[str, str], ...] = (),
) -> None:
    """Send an error in the caller's dialect, OpenAI's where no other is known, with `more` fields in its head."""
    status, body = (error.status, encode_error(error)) if codec is None else codec.error(error, request_id)
    fields = (
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-request-id", request_id),
        *error.headers,
        *more,
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1", "replace")
    await send_whole(direct_answer(scope), send, status, head, body)
