"""Error bodies: the ten shapes in which providers say no, and the one in which Keyrelay does.

Discriminators are matched on what is extracted here, never on the raw body: bodies echo the caller's text, which
may hold any phrase.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.failures import ProviderError
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.hints import clamp, header_hint, parse_wait, prose_hint

_MAX_MESSAGE = 1000
_MAX_BODY = 256 * 1024
_MAX_CODES = 16
_MAX_CODE = 100
_TAGS = re.compile(r"<[^<>]{0,500}>")
_SPACES = re.compile(r"\s+")
_STATUS = re.compile(r"[45][0-9][0-9]")
_CODE_NAMES = ("code", "type", "status", "reason", "error_code", "error_type", "error_key")
_DETAIL_NAMES = ("limit_source", "provider_code")


def read_error(status: int, body: bytes, headers: Mapping[str, str], now_s: float) -> ProviderError:
    """Read an error answer of any provider. Never raises: a page of HTML or nothing at all is an answer too."""
    decoded = _decode(body[:_MAX_BODY])
    outer = _first_object(_page_text(body[:_MAX_BODY]) if decoded is None else decoded)
    inner = _first_object(outer.get("error", outer.get("errors", outer.get("detail", outer))))
    message = _message(outer, inner)
    details, hint_s = _details(inner, now_s)
    waits = (header_hint(headers, now_s), hint_s, prose_hint(message))
    return ProviderError(
        status=status,
        message=message[:_MAX_MESSAGE],
        codes=tuple(dict.fromkeys(_codes(outer, inner)))[:_MAX_CODES],
        detail=details,
        param=inner["param"] if isinstance(inner.get("param"), str) else None,
        hint_s=next((wait for wait in waits if wait is not None), None),
        should_retry=_should_retry(headers),
    )


def embedded_status(data: bytes) -> int:
    """The status that an error inside a 200 or a stream stands for: its own numeric code, else 502."""
    outer = _first_object(_decode(data) or {})
    inner = _first_object(outer.get("error", outer))
    for candidate in (inner.get("code"), inner.get("status"), outer.get("status_code"), inner.get("status_code")):
        text = str(candidate) if isinstance(candidate, int | str) else ""
        if _STATUS.fullmatch(text):
            return int(text)
    return 502


def _page_text(body: bytes) -> str:
    """The words of a page of HTML, or of whatever else is no JSON."""
    return _SPACES.sub(" ", _TAGS.sub(" ", body.decode(errors="replace"))).strip()


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except JSON_ERRORS:
        return None


def _first_object(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        value = value[0] if value else {}
    if isinstance(value, str):
        return {"message": value}
    return value if isinstance(value, dict) else {}


def _message(outer: dict[str, Any], inner: dict[str, Any]) -> str:
    candidates = (
        inner.get("message"),
        inner.get("msg"),
        inner.get("error"),
        inner.get("detail"),
        outer.get("message"),
        outer.get("detail"),
        outer.get("title"),
    )
    return next((text for text in candidates if isinstance(text, str) and text), "")


def _codes(outer: dict[str, Any], inner: dict[str, Any]) -> Iterator[str]:
    for holder in (inner, outer, *_objects_below(inner)):
        for name in _CODE_NAMES:
            value = holder.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                yield str(value).lower()[:_MAX_CODE]


def _objects_below(inner: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("details", "metadata", "innererror"):
        below = inner.get(name)
        for item in below if isinstance(below, list) else [below]:
            if isinstance(item, dict):
                yield item


def _details(inner: dict[str, Any], now_s: float) -> tuple[str, float | None]:
    words: list[str] = []
    hint_s: float | None = None
    for holder in _objects_below(inner):
        words += [str(holder[name]) for name in _DETAIL_NAMES if isinstance(holder.get(name), str)]
        metadata = holder.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("consumer"), str):  # Gemini's project
            words.append(metadata["consumer"])
        violations = holder.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                words.append(f"{violation.get('quotaId', '')}={violation.get('quotaValue', '')}")
        if hint_s is None:
            hint_s = _detail_hint(holder, now_s)
    return " ".join(words)[:_MAX_MESSAGE], hint_s


def _detail_hint(holder: dict[str, Any], now_s: float) -> float | None:
    """The wait in Gemini's RetryInfo or OpenRouter's metadata."""
    headers = holder.get("headers")
    reset = headers.get("X-RateLimit-Reset") if isinstance(headers, dict) else None
    for wait in (holder.get("retryDelay"), holder.get("resets_at"), reset):
        wait_s = parse_wait(str(wait), now_s) if isinstance(wait, str | int | float) else None
        if wait_s is not None:
            return clamp(wait_s)
    return None


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", ""))


def encode_error(error: CallerError) -> bytes:
    """An error in OpenAI's shape."""
    body: dict[str, object] = {
        "message": error.message,
        "type": error.kind,
        "param": error.param,
        "code": error.code,
    }
    if error.detail is not None:
        body["keyrelay"] = error.detail
    return msgspec.json.encode({"error": body})


def encode_error_event(error: CallerError) -> bytes:
    """The same as an event of a stream that has begun. No `[DONE]` follows it."""
    return b"data: " + encode_error(error) + b"\n\n"
