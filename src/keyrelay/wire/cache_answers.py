"""Which answers may be kept: those that are whole, and say what they would say again.

What is kept is what the caller got. In OpenAI's dialect, and in the form of `/v1/generate`, that is read again; of all
others it is known in the canonical form by then, whoever gave it, and what passed through has to end in a word of its
own dialect that is known here: one that is not may mean that the answer goes on.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from keyrelay.core.conversation import Answer, Dialect, Finish, Thinking, ToolCall
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.sse import EventSplitter, event_data

_DONE = b"[DONE]"
_STOP, _LENGTH = "stop", "length"
_CALLS = frozenset({"tool_calls", "function_call"})

_WHOLE: frozenset[Finish] = frozenset({"stop", "stop_sequence"})
_LAST_WORDS: Mapping[Dialect, tuple[re.Pattern[bytes], frozenset[bytes]]] = MappingProxyType(
    {
        "anthropic": (
            re.compile(rb'"stop_reason"\s*:\s*"([^"\\]*)"'),
            frozenset({b"end_turn", b"stop_sequence", b"max_tokens", b"tool_use"}),
        ),
        "gemini": (re.compile(rb'"finishReason"\s*:\s*"([^"\\]*)"'), frozenset({b"STOP", b"MAX_TOKENS"})),
        "ollama": (re.compile(rb'"done_reason"\s*:\s*"([^"\\]*)"'), frozenset({b"stop", b"length"})),
    }
)
"""How answers that may have passed through say why they ended; inside of a text no quotation mark stands alone."""

_WITH_COMMENTS: frozenset[Dialect] = frozenset({"openai", "responses", "anthropic"})
"""Dialects in whose streams comments may stand."""

_SHOWN_SIGNERS: Mapping[Dialect, frozenset[str]] = MappingProxyType(
    {"anthropic": frozenset({"anthropic"}), "gemini": frozenset({"gemini"}), "ollama": frozenset()}
)
"""Whose signatures a dialect gives to its callers; those that are not here give all."""


class NotKept(StrEnum):
    """Why an answer is not kept."""

    TOOL_CALLS = "tool_calls"
    SIGNED = "signed"  # it holds a signature, which means something to the account alone whose key gave it
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


def keepable(request: CallRequest, body: bytes, answer: Answer | None, *, tools: bool) -> bytes | NotKept:
    """What to keep of the answer to a request, or why nothing. `tools`: also answers that call tools.

    `answer` is what `body` says, None where nobody had to know. Comments in a stream are left out: they speak of the
    moment. An answer that ended at its bound of tokens is kept if the caller set that bound.
    """
    if request.operation == "embeddings":
        return body
    events: list[bytes] = []
    if request.stream and request.dialect in _WITH_COMMENTS:
        events = [event for event in _events(body) if event_data(event) is not None]
        body = b"".join(events)
    if answer is not None and _is_signed(answer, request.dialect):
        return NotKept.SIGNED
    if request.dialect == "openai":
        texts = filter(None, map(event_data, events)) if request.stream else (body,)
        return _why_not_openai(request, texts, tools=tools) or body
    return _why_not(request, body, answer, tools=tools) or body


def _is_signed(answer: Answer, dialect: Dialect) -> bool:
    """Whether the caller has got somebody's signature, or thoughts that only who made them can read."""
    shown = _SHOWN_SIGNERS.get(dialect)
    return any(
        isinstance(part, Thinking | ToolCall)
        and bool(part.signature or (isinstance(part, Thinking) and part.redacted))
        and (shown is None or part.signed_by in shown)
        for part in answer.parts
    )


def _why_not(request: CallRequest, body: bytes, answer: Answer | None, *, tools: bool) -> NotKept | None:
    if answer is None:
        return NotKept.BROKEN
    called = answer.finish == "tool_calls" or any(isinstance(part, ToolCall) for part in answer.parts)
    if called and not tools:
        return NotKept.TOOL_CALLS
    bounded = answer.finish == _LENGTH and request.max_output_tokens is not None
    if not (answer.finish in _WHOLE or bounded or answer.finish == "tool_calls"):
        return NotKept.UNFINISHED
    if request.dialect not in _LAST_WORDS:
        return None
    pattern, known = _LAST_WORDS[request.dialect]
    words = pattern.findall(body)
    return None if words and known.issuperset(words) else NotKept.UNFINISHED


def _why_not_openai(request: CallRequest, texts: Iterable[bytes], *, tools: bool) -> NotKept | None:
    try:
        pieces = [_piece.decode(text) for text in texts if text != _DONE]
    except JSON_ERRORS:
        return NotKept.BROKEN
    return _why_not_pieces(pieces, bounded=request.max_output_tokens is not None, tools=tools)


def _events(body: bytes) -> list[bytes]:
    splitter = EventSplitter(len(body))
    events = splitter.feed(body)
    rest = splitter.rest()
    return [*events, rest + b"\n\n"] if rest else events


def _why_not_pieces(pieces: list[_Piece], *, bounded: bool, tools: bool) -> NotKept | None:
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
