"""Asking an application of this process, without a socket."""

import asyncio
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp

from keyrelay.core.errors import StoreError
from keyrelay.core.secrets import Secret

MOST_ANSWER_BYTES = 256 * 1024 * 1024

_HERE = ("127.0.0.1", 0)


async def ask(application: ASGIApp, target: str, accept: str, secret: Secret) -> tuple[int, bytes]:
    """Status and body of the answer to GET of a target (path and query), of a caller who stays until it is whole.

    Raise StoreError for an answer of more than `MOST_ANSWER_BYTES`.
    """
    exchange = _Exchange()
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"accept", accept.encode()),
            (b"authorization", f"Bearer {secret.reveal()}".encode()),
        ],
        "client": _HERE,
        "server": _HERE,
    }
    await application(scope, exchange.receive, exchange.send)
    return exchange.status, b"".join(exchange.pieces)


class _Exchange:
    """One request without a body, and what becomes of it."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self._size = 0
        self._asked = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self._asked:
            await asyncio.Event().wait()  # the caller does not go away
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        piece = message.get("body", b"")
        self.pieces.append(piece)
        self._size += len(piece)
        if self._size > MOST_ANSWER_BYTES:
            raise StoreError(f"the answer has more than {MOST_ANSWER_BYTES} bytes: ask for less")

    def __repr__(self) -> str:
        return f"<_Exchange {self.status}, {self._size} bytes>"
