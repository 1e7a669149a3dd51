"""Writing answers through ASGI."""

from typing import Any

from starlette.types import Scope, Send

from keyrelay.core.errors import CallerError
from keyrelay.wire.errors import encode_error

Head = list[tuple[bytes, bytes]]

WHOLE_ANSWER = "keyrelay.whole_answer"
"""Name of the ASGI extension: a function of status, head and body that sends an answer in one write."""

_NO_EXTENSIONS: dict[str, Any] = {}
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")


async def send_whole(scope: Scope, send: Send, status: int, head: Head, body: bytes) -> None:
    """Send an answer in one piece; in one write where the server has Keyrelay's extension (`api.server`)."""
    head.append((b"content-length", b"%d" % len(body)))
    write_whole = scope.get("extensions", _NO_EXTENSIONS).get(WHOLE_ANSWER)
    if write_whole is not None:
        write_whole(status, head, body)
        return
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_error(scope: Scope, send: Send, error: CallerError, request_id: str) -> None:
    """Send an error in OpenAI's shape."""
    head: Head = [_JSON, _NO_STORE, (b"x-request-id", request_id.encode())]
    head += [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers]
    await send_whole(scope, send, error.status, head, encode_error(error))
