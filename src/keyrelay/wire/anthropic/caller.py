"""What Anthropic's SDKs and Claude Code speak to Keyrelay: `POST /v1/messages` and `/v1/messages/count_tokens`.

A request is read just far enough to route it; `caller_request` reads it whole where it has to be translated.
"""

import re
from typing import NoReturn

import msgspec

from keyrelay.core.conversation import Answer, Conversation, Dialect, Embeddings, EmbeddingsAsked, Media
from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Capability, Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.anthropic.caller_answer import write_answer
from keyrelay.wire.anthropic.caller_errors import encode_error, encode_error_event
from keyrelay.wire.anthropic.caller_request import read_conversation
from keyrelay.wire.anthropic.caller_stream import AnthropicWriter
from keyrelay.wire.body import field, read_members
from keyrelay.wire.dialects import AnswerFacts, EmbeddingFacts, EventWriter
from keyrelay.wire.openai import NOTHING, model_name

FORWARDED_HEADERS = ("anthropic-beta", "anthropic-version")
"""Headers of a caller's that go on to a provider that speaks this dialect too."""

_MESSAGES = re.compile(rb"\[\s*\{")
_NULL = b"null"
_PICTURE = b'"image"'  # in words the marks are escaped, so this is a type
_WITHOUT_FORMAT = frozenset({b"", _NULL})


class _Format(msgspec.Struct):
    format: msgspec.Raw = msgspec.Raw()


class AnthropicCaller:
    """Implements `CallerCodec`."""

    __slots__ = ()

    dialect: Dialect = "anthropic"
    whole_type = "application/json"
    stream_type = "text/event-stream; charset=utf-8"

    def request(
        self, operation: Operation, body: bytes, *, max_depth: int, model: str = "", stream: bool | None = None
    ) -> CallRequest:
        """Read a body just far enough to route it. Raise CallerError (400) naming the field."""
        if operation != "chat":
            _refuse(operation)
        request = _read(body, max_depth, model, stream=stream)
        if request.max_output_tokens is None:
            message = "Missing required field 'max_tokens': the most tokens that the answer may have."
            raise CallerError(400, message, param="max_tokens", code="missing_field")
        return request

    def conversation(self, request: CallRequest) -> Conversation:
        """The request in the canonical form. Raise CallerError (400) whose `param` points to the field."""
        return read_conversation(request)

    def shows(self, part: Media, request: CallRequest) -> bool:
        """The assistant of this dialect has words and calls only."""
        del part, request
        return False

    def answer(self, answer: Answer, facts: AnswerFacts) -> bytes:
        """The body of a whole answer."""
        return write_answer(answer, facts)

    def writer(self, facts: AnswerFacts) -> EventWriter:
        """The writer of one streamed answer."""
        return AnthropicWriter(facts)

    def embeddings_asked(self, request: CallRequest) -> EmbeddingsAsked:
        """Raise CallerError: the dialect has none."""
        _refuse(request.operation)

    def embeddings(self, embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
        """Raise CallerError: the dialect has none."""
        del embeddings, facts
        _refuse("embeddings")

    def error(self, error: CallerError, request_id: str) -> tuple[int, bytes]:
        """Status and body of an error."""
        return encode_error(error, request_id)

    def error_event(self, error: CallerError, request_id: str) -> bytes:
        """The same in a stream that has begun; nothing follows it."""
        return encode_error_event(error, request_id)

    def __repr__(self) -> str:
        return "<AnthropicCaller>"


def count_tokens_request(body: bytes, *, max_depth: int) -> CallRequest:
    """A request to count tokens: as one for an answer, but without `max_tokens`. Raise CallerError (400)."""
    return _read(body, max_depth, "", stream=False)


def count_answer(input_tokens: int) -> bytes:
    """The body of the answer to it."""
    return msgspec.json.encode({"input_tokens": input_tokens})


def _refuse(operation: str) -> NoReturn:
    raise CallerError(400, f"Anthropic's dialect has no {operation}.", code="unsupported_operation")


def _read(body: bytes, max_depth: int, model: str, *, stream: bool | None) -> CallRequest:
    fields = read_members(body, max_depth=max_depth)
    _check_messages(fields)
    name = model or model_name(fields)
    streamed = bool(field(fields, "stream", bool)) if stream is None else stream
    return CallRequest(
        operation="chat",
        model=name,
        stream=streamed,
        body=body,
        fields=fields,
        needs=_needs(fields),
        wants_usage=streamed,
        max_output_tokens=_bound(fields),
        dialect="anthropic",
    )


def _check_messages(fields: dict[str, msgspec.Raw]) -> None:
    content = bytes(fields.get("messages", _NULL))
    if content == _NULL:
        message = "Missing required field 'messages': a list of messages."
        raise CallerError(400, message, param="messages", code="missing_field")
    if content[:1] != b"[":
        message = "Invalid type for 'messages': expected a list of messages."
        raise CallerError(400, message, param="messages", code="invalid_type")
    if not _MESSAGES.match(content):
        message = "Invalid value for 'messages': expected at least one message object."
        raise CallerError(400, message, param="messages", code="invalid_value")


def _needs(fields: dict[str, msgspec.Raw]) -> tuple[Capability, ...]:
    needs: tuple[Capability, ...] = ("chat",)
    if bytes(fields.get("tools", _NULL)) not in NOTHING:
        needs += ("tools",)
    if _PICTURE in bytes(fields["messages"]):
        needs += ("vision",)
    if _has_format(fields):
        needs += ("json_schema",)
    return needs


def _has_format(fields: dict[str, msgspec.Raw]) -> bool:
    if bytes(fields.get("output_format", _NULL)) not in NOTHING:
        return True
    config = field(fields, "output_config", _Format)
    return config is not None and bytes(config.format) not in _WITHOUT_FORMAT


def _bound(fields: dict[str, msgspec.Raw]) -> int | None:
    bound = field(fields, "max_tokens", int)
    if bound is not None and bound < 0:
        message = "Invalid value for 'max_tokens': expected a positive number."
        raise CallerError(400, message, param="max_tokens", code="invalid_value")
    return bound
