"""Whole answers: the `response` object, made of the parts of an answer and of what was asked."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from keyrelay.core.conversation import Answer, Finish, Tokens
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.parts import estimated_tokens
from keyrelay.wire.responses.building import OutputBuilder, events_of, last_status
from keyrelay.wire.responses.events import ResponseEvent, frame
from keyrelay.wire.responses.outputs import (
    ErrorOut,
    Incomplete,
    InputDetails,
    OutputDetails,
    OutputItem,
    ResponseOut,
    UsageOut,
)
from keyrelay.wire.responses.reading import ABSENT, one_line
from keyrelay.wire.responses.shapes import RESOLVED

BROKEN_OFF = ErrorOut(code="server_error", message="The model broke its answer off.")

_PARTIAL: Mapping[Finish, Incomplete] = {
    "length": Incomplete(reason="max_output_tokens"),
    "content_filter": Incomplete(reason="content_filter"),
}
_CODES = frozenset({"context_length_exceeded", "insufficient_quota", "rate_limit_exceeded"})
"""Codes on which Codex acts by itself."""

_NULL = msgspec.Raw(b"null")
_DEFAULTS = {
    "metadata": msgspec.Raw(b"{}"),
    "parallel_tool_calls": msgspec.Raw(b"true"),
    "reasoning": msgspec.Raw(b'{"effort":null,"summary":null}'),
    "service_tier": msgspec.Raw(b'"default"'),
    "store": msgspec.Raw(b"true"),
    "temperature": msgspec.Raw(b"1.0"),
    "text": msgspec.Raw(b'{"format":{"type":"text"}}'),
    "tool_choice": msgspec.Raw(b'"auto"'),
    "tools": msgspec.Raw(b"[]"),
    "top_p": msgspec.Raw(b"1.0"),
    "truncation": msgspec.Raw(b'"disabled"'),
}
_ECHOED = (
    *_DEFAULTS,
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "user",
)
_AUTO = b'"auto"'
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500

_encoder = msgspec.json.Encoder()


def encode_answer(answer: Answer, facts: AnswerFacts) -> bytes:
    """The body of a whole answer."""
    builder = OutputBuilder(facts)
    for event in events_of(answer.parts):
        builder.add(event)
    builder.close(last_status(answer.finish))
    usage = usage_out(answer.tokens, facts, builder.written)
    return _encoder.encode(closed(opened(facts), answer.finish, builder.items, usage))


def opened(facts: AnswerFacts) -> ResponseOut:
    """The `response` object as an answer begins, with the caller's settings as OpenAI gives them back."""
    fields = facts.request.fields
    said: dict[str, Any] = {}  # all of them Raw
    for name in _ECHOED:
        value = bytes(fields.get(name, b""))
        said[name] = _DEFAULTS.get(name, _NULL) if value in ABSENT else one_line(value)
    if bytes(said["service_tier"]) == _AUTO:
        said["service_tier"] = _DEFAULTS["service_tier"]
    return ResponseOut(
        id=f"resp_{facts.id}",
        created_at=int(facts.created_s),
        status="in_progress",
        model=facts.model,
        previous_response_id=fields.get(RESOLVED, _NULL),
        **said,
    )


def closed(response: ResponseOut, finish: Finish, output: Sequence[OutputItem], usage: UsageOut) -> ResponseOut:
    """The same as it has ended."""
    if finish == "error":
        return replace(response, status="failed", error=BROKEN_OFF, output=tuple(output), usage=usage)
    partial = _PARTIAL.get(finish)
    status = "completed" if partial is None else "incomplete"
    return replace(response, status=status, incomplete_details=partial, output=tuple(output), usage=usage)


def failed(response: ResponseOut, error: CallerError, output: Sequence[OutputItem]) -> ResponseOut:
    """The same as an error has ended it."""
    return replace(response, status="failed", error=error_out(error), output=tuple(output))


def usage_out(tokens: Tokens | None, facts: AnswerFacts, written: int) -> UsageOut:
    """Usage as the provider counted it, else as estimated from the request and what was written."""
    if tokens is None:
        tokens = Tokens(input=facts.input_tokens, output=estimated_tokens(written))
    return UsageOut(
        input_tokens=tokens.input,
        input_tokens_details=InputDetails(cached_tokens=tokens.cached, cache_write_tokens=tokens.cache_written),
        output_tokens=tokens.output,
        output_tokens_details=OutputDetails(reasoning_tokens=tokens.reasoning),
        total_tokens=tokens.input + tokens.output,
    )


def error_out(error: CallerError) -> ErrorOut:
    """An error as the `error` of a response, with a code on which clients act.

    Codex reads from the message how long it has to wait.
    """
    message = error.message
    if error.code in _CODES:
        code = error.code
    elif error.status == _TOO_MANY_REQUESTS:
        code = "rate_limit_exceeded"
    else:
        code = "invalid_prompt" if error.status < _SERVER_ERRORS else "server_error"
    wait_s = dict(error.headers).get("retry-after")
    if code == "rate_limit_exceeded" and wait_s is not None and "try again in" not in message.lower():
        message = f"{message} Please try again in {wait_s}s."
    return ErrorOut(code=code, message=message)


def encode_failure(error: CallerError, request_id: str) -> bytes:
    """`response.failed` where nothing of the answer is known but the request's id."""
    said: dict[str, Any] = {name: _DEFAULTS.get(name, _NULL) for name in _ECHOED}
    response = ResponseOut(
        id=f"resp_{request_id.removeprefix('req_')}",
        created_at=0,
        status="failed",
        error=error_out(error),
        model="",
        previous_response_id=_NULL,
        **said,
    )
    return frame(ResponseEvent(type="response.failed", response=response), 0)
