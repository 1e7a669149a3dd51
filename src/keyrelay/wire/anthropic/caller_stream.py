"""A streamed answer as Anthropic's events: a start, blocks one after the other, how it ended, a stop.

Blocks have contiguous indexes from 0 and are closed before the next one opens. Why the answer ended is told at the very
end, together with what it used, because that may be known last.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import msgspec

from keyrelay.core.conversation import (
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finish,
    Finished,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    Tokens,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.anthropic.caller_answer import MessageShape, message_id, shows_thoughts, thinking_signature
from keyrelay.wire.anthropic.endings import StopDetails, Usage, stop_reason_of, usage_of
from keyrelay.wire.anthropic.ids import fitted
from keyrelay.wire.anthropic.shapes import (
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.media import told
from keyrelay.wire.parts import NO_ARGUMENTS, encoded_text, estimated_tokens

_Open = Literal["", "text", "refusal", "thinking", "call", "custom"]

_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_EVENT = b"event: %b\ndata: %b\n\n"
_LAST = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_PIECES_PER_PING = 16
_CUSTOM_BEGIN = '{"input":"'
_CUSTOM_END = '"}'


class _TextDelta(msgspec.Struct, tag="text_delta", tag_field="type", gc=False):
    text: str


class _ThinkingDelta(msgspec.Struct, tag="thinking_delta", tag_field="type", gc=False):
    thinking: str


class _SignatureDelta(msgspec.Struct, tag="signature_delta", tag_field="type", gc=False):
    signature: str


class _InputDelta(msgspec.Struct, tag="input_json_delta", tag_field="type", gc=False):
    partial_json: str


class _MessageStart(msgspec.Struct, tag="message_start", tag_field="type"):
    message: MessageShape


class _Ending(msgspec.Struct, kw_only=True):
    stop_reason: str
    stop_sequence: str | None
    stop_details: StopDetails | msgspec.UnsetType


class _MessageDelta(msgspec.Struct, tag="message_delta", tag_field="type"):
    delta: _Ending
    usage: Usage
    keyrelay: object = msgspec.UNSET


_encode = msgspec.json.Encoder().encode
_OPENINGS: MappingProxyType[_Open, TextBlock | ThinkingBlock] = MappingProxyType(
    {"text": TextBlock(text=""), "refusal": TextBlock(text=""), "thinking": ThinkingBlock(thinking="")}
)


class AnthropicWriter:
    """Implements `EventWriter`."""

    __slots__ = (
        "_begun",
        "_called",
        "_characters",
        "_facts",
        "_finish",
        "_index",
        "_open",
        "_prompt",
        "_refusal",
        "_shown",
        "_stop_sequence",
        "_tokens",
        "_waited",
    )

    def __init__(self, facts: AnswerFacts) -> None:
        self._facts = facts
        self._begun = False
        self._called = False
        self._characters = 0
        self._finish: Finish = "stop"
        self._index = 0
        self._open: _Open = ""
        self._prompt = Tokens(input=facts.input_tokens)
        self._refusal = ""
        self._shown = shows_thoughts(facts)
        self._stop_sequence = ""
        self._waited = 0
        self._tokens: Tokens | None = None

    def write(self, event: Event) -> bytes:
        """The bytes for an event."""
        if self._begun:
            return self._write(event)
        self._begun = True
        if isinstance(event, Begun):
            self._prompt = event.tokens or self._prompt
            return self._start()
        return self._start() + self._write(event)

    def fail(self, error: CallerError) -> bytes:
        """Nothing more than what `error_event` says."""
        del error
        return b""

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """What ends a whole answer; what was left out stands beside what it used."""
        del took_s
        begun = self._close() if self._begun else self._start()
        self._begun = True
        ending = _Ending(
            stop_reason=stop_reason_of(self._finish, called=self._called, refused=bool(self._refusal)),
            stop_sequence=self._stop_sequence or None,
            stop_details=StopDetails(explanation=self._refusal) if self._refusal else msgspec.UNSET,
        )
        said = told(left_out).get("keyrelay", msgspec.UNSET)
        delta = _encode(_MessageDelta(ending, usage_of(self._counted()), said))
        return begun + _EVENT % (b"message_delta", delta) + _LAST

    def _counted(self) -> Tokens:
        if self._tokens is not None:
            return self._tokens
        output = max(self._prompt.output, estimated_tokens(self._characters))
        return msgspec.structs.replace(self._prompt, output=output)

    def _start(self) -> bytes:
        facts = self._facts
        message = MessageShape(id=message_id(facts), model=facts.model, usage=usage_of(self._prompt))
        return _EVENT % (b"message_start", _encode(_MessageStart(message)))

    def _write(self, event: Event) -> bytes:  # noqa: PLR0911  # a case for each kind of event
        match event:
            case TextPiece(text):
                return self._say("text", text, _TextDelta(text))
            case CallPiece(arguments):
                return self._argue(arguments)
            case ThinkingPiece():
                return self._think(event)
            case CallBegun():
                return self._call(event)
            case RefusalPiece(text):
                self._refusal += text
                return self._say("refusal", text, _TextDelta(text))
            case Finished(finish, stop_sequence):
                self._finish, self._stop_sequence = finish, stop_sequence
                return self._close()
            case Counted():
                self._tokens = event.tokens
        return b""

    def _say(self, kind: _Open, text: str, delta: _TextDelta | _ThinkingDelta) -> bytes:
        if not text:
            return b""
        self._characters += len(text)
        return self._enter(kind) + _DELTA % (self._index, _encode(delta))

    def _think(self, piece: ThinkingPiece) -> bytes:
        """Thoughts; a signature, whoever's it is, says that they are complete."""
        if not self._shown:
            return self._wait(piece.text)
        data = self._say("thinking", piece.text, _ThinkingDelta(piece.text))
        signature = thinking_signature(piece.signature, piece.signed_by)
        if signature:
            data += self._enter("thinking") + _DELTA % (self._index, _encode(_SignatureDelta(signature)))
        if piece.redacted and piece.signed_by == "anthropic":
            data += self._close() + _START % (self._index, _encode(RedactedThinkingBlock(data=piece.redacted)))
            self._open = "thinking"
        return data + self._close() if piece.signature or piece.redacted else data

    def _wait(self, text: str) -> bytes:
        """Thoughts that the caller does not see; now and then it hears that they go on."""
        self._characters += len(text)
        self._waited += 1
        return b"" if self._waited % _PIECES_PER_PING else _PING

    def _call(self, call: CallBegun) -> bytes:
        data = self._close()
        self._open = "custom" if call.custom else "call"
        self._called = True
        self._characters += len(call.name)
        block = ToolUseBlock(id=fitted(call.id), name=call.name, input=NO_ARGUMENTS)
        data += _START % (self._index, _encode(block))
        return data + self._input(_CUSTOM_BEGIN) if call.custom else data

    def _argue(self, arguments: str) -> bytes:
        self._characters += len(arguments)
        if not arguments:
            return b""
        return self._input(encoded_text(arguments)[1:-1] if self._open == "custom" else arguments)

    def _input(self, partial_json: str) -> bytes:
        return _DELTA % (self._index, _encode(_InputDelta(partial_json)))

    def _enter(self, kind: _Open) -> bytes:
        if self._open == kind:
            return b""
        data = self._close()
        self._open = kind
        return data + _START % (self._index, _encode(_OPENINGS[kind]))

    def _close(self) -> bytes:
        if not self._open:
            return b""
        data = self._input(_CUSTOM_END) if self._open == "custom" else b""
        data += _STOP % self._index
        self._open = ""
        self._index += 1
        return data

    def __repr__(self) -> str:
        return f"<AnthropicWriter block {self._index} {self._open or 'closed'}>"
