"""Answers on their way to somebody else than the one for whom they were made: in whole frames, under a new id."""

import re
from collections.abc import Iterator

import msgspec

from keyrelay.wire.body import JSON_ERRORS

PIECE_BYTES = 16 * 1024
"""A stream goes out again in pieces of this size, and of whatever is missing to a whole frame."""

_EVENT_END = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\n")
_EVENTS = "text/event-stream"
_DATA = b"\ndata: "


class _Last(msgspec.Struct):
    response: msgspec.Raw


_last = msgspec.json.Decoder(_Last)


def pieces_of(body: bytes, content_type: str) -> Iterator[bytes]:
    """A stream in pieces of moderate size, each of whole events or, where the stream has no events, whole lines."""
    frame_end = _EVENT_END if content_type.startswith(_EVENTS) else _LINE_END
    start = 0
    while start < len(body):
        found = frame_end.search(body, start + PIECE_BYTES)
        end = found.end() if found is not None else len(body)
        yield body[start:end]
        start = end


def last_response(body: bytes) -> bytes:
    """The `response` object with which a stream of the Responses dialect ends; empty if there is none."""
    try:
        return bytes(_last.decode(body[body.rfind(_DATA) + len(_DATA) :]).response)
    except JSON_ERRORS:
        return b""
