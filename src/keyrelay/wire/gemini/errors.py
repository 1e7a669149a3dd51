"""Errors in Google's shape: `{"error": {"code", "message", "status", "details"}}`.

The official clients take the status and the message from it; Gemini CLI waits for as long as `RetryInfo` says.
"""

import re
from typing import Any

import msgspec

from keyrelay.core.errors import CallerError

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_SERVER_ERROR = 500
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_TYPE = "type.googleapis.com/google.rpc."


def status_name(status: int) -> str:
    """Google's name for an HTTP status."""
    return _STATUSES.get(status, "INTERNAL" if status >= _SERVER_ERROR else "INVALID_ARGUMENT")


def encode_error(error: CallerError, request_id: str) -> bytes:
    """The body; the error's own members first, since clients look at how it begins."""
    body: dict[str, Any] = {
        "code": error.status,
        "message": error.message,
        "status": status_name(error.status),
        "details": _details(error, request_id),
    }
    if error.detail is not None:
        body["keyrelay"] = error.detail
    return msgspec.json.encode({"error": body})


def _details(error: CallerError, request_id: str) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    wait = next((value for name, value in error.headers if name.lower() == "retry-after"), "")
    if _SECONDS.fullmatch(wait):
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{wait}s"})
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.code:
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": error.code.upper(), "domain": "keyrelay"})
    if request_id:
        details.append({"@type": f"{_TYPE}RequestInfo", "requestId": request_id})
    return details
