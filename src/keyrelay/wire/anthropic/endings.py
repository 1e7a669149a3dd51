"""How an answer ends: why, and what it used.

`input_tokens` does not count what was read from the cache or written to it in this dialect; the canonical form does.
"""

from types import MappingProxyType

import msgspec

from keyrelay.core.conversation import Finish, Tokens
from keyrelay.wire.body import JSON_ERRORS

_WHOLE_NUMBER_LIMIT = 2**53

_FINISHES: MappingProxyType[str, Finish] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop_sequence",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
        "pause_turn": "stop",
    }
)
_STOP_REASONS: MappingProxyType[Finish, str] = MappingProxyType(
    {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "error": "max_tokens",  # the word for an answer that is not whole
    }
)


class StopDetails(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="refusal"):
    """Why the model declined, in words."""

    category: str | None = None
    explanation: str | None = None


class UsageDetails(msgspec.Struct, frozen=True, gc=False):
    """How many tokens of the answer were thoughts."""

    thinking_tokens: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as this dialect counts them."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: UsageDetails


class _Details(msgspec.Struct, frozen=True, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Details | None = None

    @property
    def prompt(self) -> tuple[int, int, int]:
        return self.input_tokens or 0, self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0


_usage = msgspec.json.Decoder(_Usage | None)
_UNSAID = _Usage()


def finish_of(stop_reason: str | None, *, called: bool) -> Finish:
    """Why an answer ended. Where nobody says, it ended with its calls, or by itself."""
    return _FINISHES.get(stop_reason or "", "tool_calls" if called else "stop")


def stop_reason_of(finish: Finish, *, called: bool, refused: bool) -> str:
    """The same in this dialect.

    Some providers say `stop` for an answer with calls or a refusal: here only its own reason makes a client act on it.
    """
    if finish == "stop" and (called or refused):
        return "refusal" if refused else "tool_use"
    return _STOP_REASONS[finish]


def usage_of(tokens: Tokens) -> Usage:
    """Tokens in this dialect."""
    return Usage(
        input_tokens=max(0, tokens.input - tokens.cached - tokens.cache_written),
        cache_creation_input_tokens=tokens.cache_written,
        cache_read_input_tokens=tokens.cached,
        output_tokens=tokens.output,
        output_tokens_details=UsageDetails(tokens.reasoning),
    )


def read_tokens(raw: msgspec.Raw, before: Tokens | None = None) -> Tokens | None:
    """Tokens as reported, on top of those reported before; None when nothing that makes sense ever was.

    Counts are cumulative, and a later one holds, since the first may have been an estimate. A prompt of no tokens at
    all is one that was not reported.
    """
    usage = _decoded(raw)
    if usage is None or usage == _UNSAID:
        return before
    known = before or Tokens()
    fresh, cached, written = usage.prompt
    if not fresh + cached + written:
        cached, written = known.cached, known.cache_written
        fresh = known.input - cached - written
    details = usage.output_tokens_details
    thought = details.thinking_tokens if details is not None else None
    tokens = Tokens(
        input=fresh + cached + written,
        output=known.output if usage.output_tokens is None else usage.output_tokens,
        cached=cached,
        cache_written=written,
        reasoning=known.reasoning if thought is None else thought,
    )
    numbers = (fresh, tokens.input, tokens.output, cached, written, tokens.reasoning)
    return tokens if all(0 <= number < _WHOLE_NUMBER_LIMIT for number in numbers) else before


def _decoded(raw: msgspec.Raw) -> _Usage | None:
    try:
        usage: _Usage | None = _usage.decode(raw)
    except JSON_ERRORS:
        return None
    return usage
