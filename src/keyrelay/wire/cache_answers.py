"""Which answers may be kept: those that are whole, and say what they would say again.

An answer in the form of `/v1/generate` is read as well as OpenAI's own, whole or streamed: what is kept is what the
caller got.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.sse import EventSplitter, event_data

_DONE = b"[DONE]"
_STOP, _LENGTH = "stop", "length"
_CALLS = frozenset({"tool_calls", "function_call"})


class NotKept(StrEnum):
    """Why an answer is not kept."""

    TOOL_CALLS = "tool_calls"
    UNFINISHED = "unfinished"  # cut off, filtered, or without a word on how it ended
    BROKEN = "broken"  # an error, or what is no answer
    TOO_LARGE = "too_large"
    NO_ROOM = "no_room"  # the cache takes nothing now, or nothing of that size
    FALLBACK = "fallback"  # given by a last resort, in the place of what was asked for
    UNWANTED = "unwanted"  # the caller said so, or the cache was emptied meanwhile


class _Said(msgspec.Struct, gc=False):
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    function_call: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def calls(self) -> bool:
        """Whether a tool is called."""
        return bytes(self.tool_calls) not in NOTHING or bytes(self.function_call) not in NOTHING


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    finish_reason: str | None = None
    message: _Said | None = None
    delta: _Said | None = None


class _Piece(msgspec.Struct, gc=False):
    """A whole answer, or an event of a streamed one; `finish_reason` stands here in the form of `/v1/generate`."""

    choices: list[_Choice] | None = None
    finish_reason: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_piece = msgspec.json.Decoder(_Piece)


def keepable(request: CallRequest, body: bytes, *, tools: bool) -> bytes | NotKept:
    """What to keep of the answer to a request, or why nothing. `tools`: also answers that call tools.

    Comments in a stream are left out: they speak of the moment. An answer that ended at its bound of tokens is kept if
    the caller set that bound.
    """
    if request.operation == "embeddings":
        return body
    data: Iterable[bytes] = (body,)
    if request.stream:
        events = [event for event in _events(body) if event_data(event) is not None]
        data = [text for event in events if (text := event_data(event)) and text != _DONE]
        body = b"".join(events)
    try:
        pieces = [_piece.decode(text) for text in data]
    except JSON_ERRORS:
        return NotKept.BROKEN
    return _why_not(pieces, bounded=request.max_output_tokens is not None, tools=tools) or body


def _events(body: bytes) -> list[bytes]:
    splitter = EventSplitter(len(body))
    events = splitter.feed(body)
    rest = splitter.rest()
    return [*events, rest + b"\n\n"] if rest else events


def _why_not(pieces: list[_Piece], *, bounded: bool, tools: bool) -> NotKept | None:
    reasons: dict[int, str] = {}
    called = False
    for piece in pieces:
        if bytes(piece.error) not in NOTHING:
            return NotKept.BROKEN
        if piece.finish_reason:
            reasons[0] = piece.finish_reason
        for choice in piece.choices or ():
            said = choice.message or choice.delta
            called = called or (said is not None and said.calls)
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index, "")
    if (called or not _CALLS.isdisjoint(reasons.values())) and not tools:
        return NotKept.TOOL_CALLS
    good = {_STOP, *((_LENGTH,) if bounded else ()), *(_CALLS if tools else ())}
    return None if reasons and good.issuperset(reasons.values()) else NotKept.UNFINISHED
