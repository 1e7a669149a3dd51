"""Errors as Anthropic's clients know them.

The type follows from the status. 503 goes out as 529 `overloaded_error`, the one that these clients take for "come
back later". The SDKs try 408, 409, 429 and all from 500 again, take `retry-after` for up to 60 seconds, and obey
`x-should-retry`. The field at fault is said in the message, as Anthropic does, and in `details` for programs.
"""

from types import MappingProxyType

import msgspec

from keyrelay.core.errors import CallerError

OVERLOADED_STATUS = 529

_TYPES = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        OVERLOADED_STATUS: "overloaded_error",
    }
)
_SERVICE_UNAVAILABLE = 503
_SERVER_ERRORS = 500


def encode_error(error: CallerError, request_id: str) -> tuple[int, bytes]:
    """Status and body of an error."""
    status = OVERLOADED_STATUS if error.status == _SERVICE_UNAVAILABLE else error.status
    inner: dict[str, object] = {
        "type": _TYPES.get(status, "api_error" if status >= _SERVER_ERRORS else "invalid_request_error"),
        "message": _message(error),
    }
    details = {name: value for name, value in (("error_code", error.code), ("param", error.param)) if value}
    if details:
        inner["details"] = details
    body: dict[str, object] = {"type": "error", "error": inner, "request_id": request_id}
    if error.detail is not None:
        body["keyrelay"] = error.detail
    return status, msgspec.json.encode(body)


def encode_error_event(error: CallerError, request_id: str) -> bytes:
    """The same as an event of a stream that has begun; nothing follows it."""
    return b"event: error\ndata: " + encode_error(error, request_id)[1] + b"\n\n"


def _message(error: CallerError) -> str:
    named = not error.param or error.param in error.message
    return error.message if named else f"{error.param}: {error.message}"
