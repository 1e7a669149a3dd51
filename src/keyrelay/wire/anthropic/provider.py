"""What Keyrelay speaks to Anthropic and to servers with its Messages API."""

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Conversation,
    Dialect,
    Embeddings,
    EmbeddingsAsked,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    Unheld,
)
from keyrelay.core.providers import QuirksRow
from keyrelay.core.requests import CallRequest
from keyrelay.wire.anthropic import shapes
from keyrelay.wire.anthropic.endings import finish_of, read_tokens
from keyrelay.wire.anthropic.provider_request import prefixed, write_request
from keyrelay.wire.anthropic.provider_stream import AnthropicReader
from keyrelay.wire.anthropic.unsigned import has_unsigned, without_unsigned
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.dialects import EventReader, Splitter, Target, Unreadable, UntranslatableError, Written
from keyrelay.wire.openai import NOTHING, apply_quirks
from keyrelay.wire.parts import raw_text
from keyrelay.wire.sse import EventSplitter

_NO_QUIRKS = QuirksRow()
_encoder = msgspec.json.Encoder()


class _Details(msgspec.Struct):
    explanation: str | None = None


class _Message(msgspec.Struct):
    type: str = ""
    id: str = ""
    model: str = ""
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _Details | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(_Message)


class AnthropicProvider:
    """Implements `ProviderCodec`."""

    __slots__ = ()

    dialect: Dialect = "anthropic"

    def request(self, conversation: Conversation, target: Target) -> Written:
        """The body for a provider. Raise UntranslatableError."""
        return write_request(conversation, target)

    def passed(self, request: CallRequest, target: Target) -> Written:
        """The caller's own bytes, but for the model, the provider's quirks, and thoughts that nobody signed."""
        name = prefixed(target.model, target.quirks)
        fields = without_unsigned(request.fields) if has_unsigned(request.body) else request.fields
        if target.quirks != _NO_QUIRKS:
            fields = apply_quirks(request.operation, fields, target.quirks)
        if name == request.model and (fields is request.fields or fields == request.fields):
            return Written(body=request.body)
        left_out = tuple(member for member in request.fields if member not in fields)
        body = _encoder.encode({**fields, "model": msgspec.Raw(_encoder.encode(name))})
        return Written(body=body, left_out=left_out)

    def answer(self, body: bytes) -> Answer | Unreadable:
        """Read the body of a 200. Never raises."""
        try:
            message = _message.decode(body)
            if not body.isascii():
                body.decode()  # values that are skipped over are not looked into
            return _answer(message)
        except JSON_ERRORS:
            return Unreadable(problem="the answer is not the JSON object that was expected")

    def splitter(self, max_event_bytes: int) -> Splitter:
        """How its streams are framed: server-sent events."""
        return EventSplitter(max_event_bytes)

    def reader(self) -> EventReader:
        """The reader of one stream."""
        return AnthropicReader()

    def embeddings_request(self, asked: EmbeddingsAsked, target: Target) -> Written:
        """Raise UntranslatableError: the dialect has none."""
        del asked, target
        raise UntranslatableError("embeddings", "it has none")

    def embeddings(self, body: bytes) -> Embeddings | Unreadable:
        """There are none to be read."""
        del body
        return Unreadable(problem="this dialect has no embeddings")

    def __repr__(self) -> str:
        return "<AnthropicProvider>"


def _answer(message: _Message) -> Answer | Unreadable:
    if message.type == "error" or bytes(message.error) not in NOTHING:
        return Unreadable(problem="the answer holds an error although its status is 200", is_error=True)
    if not message.content and message.stop_reason is None:
        return Unreadable(problem="the answer is empty")
    found = [part for raw in message.content or () for part in _parts(raw)]
    parts = [part for part in found if not isinstance(part, Unheld)]
    finish = finish_of(message.stop_reason, called=any(isinstance(part, ToolCall) for part in parts))
    explanation = message.stop_details.explanation if message.stop_details is not None else None
    if explanation and finish == "content_filter" and not any(isinstance(part, Text) for part in parts):
        parts.append(Refusal(explanation))
    return Answer(
        parts=tuple(parts),
        finish=finish,
        tokens=read_tokens(message.usage),
        stop_sequence=message.stop_sequence or "",
        id=message.id,
        model=message.model,
        left_out=tuple(dict.fromkeys(part.name for part in found if isinstance(part, Unheld))),
    )


def _parts(raw: msgspec.Raw) -> tuple[Text | Thinking | Refusal | ToolCall | Unheld, ...]:
    """The part of a block; the name of blocks of tools that the provider runs itself, and whatever is not known."""
    unknown = shapes.unknown_type(raw)
    if unknown:
        return (shapes.unheld(unknown),)
    block = shapes.blocks.decode(raw)
    match block:
        case shapes.TextBlock(text):
            return (Text(text), shapes.CITATIONS) if shapes.is_cited(raw) else (Text(text),)
        case shapes.ToolUseBlock():
            return (ToolCall(id=block.id, name=block.name, arguments=raw_text(block.input)),)
        case shapes.ThinkingBlock(thinking, signature):
            return (Thinking(text=thinking, signature=signature, signed_by="anthropic" if signature else ""),)
        case shapes.RedactedThinkingBlock(data):
            return (Thinking(redacted=data, signed_by="anthropic"),)
        case _:
            return (shapes.unheld(shapes.type_of(raw)),)
