"""Streams as callers of OpenAI's dialect expect them: chunks with one id, usage only where it was asked for, `[DONE]`.

All of a chunk but its delta is the same throughout a stream and is encoded once.
"""

from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Audio,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finish,
    Finished,
    Image,
    Media,
    MediaPiece,
    RefusalPiece,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.chat.answers import (
    FINISH,
    as_sent,
    chat_id,
    completion_id,
    hides_thoughts,
    speaks_of_functions,
    usage,
    write_audio,
    write_call,
    write_images,
)
from keyrelay.wire.chat.thoughts import write_details
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.media import remark, told
from keyrelay.wire.parts import RaisedCalls, custom_names

_DONE = b"data: [DONE]\n\n"
_encoder = msgspec.json.Encoder()


class _Chunks:
    """The frame of all chunks of one stream, and what has been counted in it."""

    def __init__(self, facts: AnswerFacts, chunk_id: str, kind: str) -> None:
        self.facts = facts
        head = {"id": chunk_id, "object": kind, "created": int(facts.created_s), "model": facts.model}
        self._head = b"data: " + _encoder.encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if facts.request.wants_usage else b"]}\n\n"
        self.tokens: Tokens | None = None
        self.written = 0

    def chunk(self, choice: bytes) -> bytes:
        """A chunk with one choice."""
        return self._head + choice + self._tail

    def end(self, left_out: Sequence[str]) -> bytes:
        """Usage, if it was asked for, what was left out, if anything was, and the end."""
        if not self.facts.request.wants_usage:  # nobody expects one more chunk
            return remark(left_out) + _DONE
        last = {"usage": usage(self.tokens, self.facts, self.written), **told(left_out)}
        return self._head + b"]," + _encoder.encode(last)[1:] + b"\n\n" + _DONE

    def note(self, event: Event) -> None:
        """Count what an event says of tokens, or its characters."""
        match event:
            case TextPiece(text=text) | ThinkingPiece(text=text) | RefusalPiece(text=text):
                self.written += len(text)
            case CallBegun(name=text) | CallPiece(arguments=text):
                self.written += len(text)
            case Counted(tokens=tokens):
                self.tokens = tokens
            case _:
                pass

    def __repr__(self) -> str:
        return f"<_Chunks {self.written} characters>"


class ChatWriter:
    """Writes the chunks of a `chat.completion`."""

    __slots__ = ("_calls", "_chunks", "_hides_thoughts", "_images", "_legacy", "_raised", "_thought", "_thoughts")

    def __init__(self, facts: AnswerFacts) -> None:
        self._chunks = _Chunks(facts, chat_id(facts), "chat.completion.chunk")
        customs = custom_names(facts.conversation.tools)
        self._raised = RaisedCalls(customs) if customs else None
        self._legacy = speaks_of_functions(facts.request)
        self._hides_thoughts = hides_thoughts(facts.conversation)
        self._calls: list[CallBegun] = []
        self._thoughts = 0
        self._images = 0
        self._thought: list[str] = []

    def write(self, event: Event) -> bytes:
        """The chunk for an event."""
        if self._raised is None:
            return self._write(event)
        return b"".join(map(self._write, self._raised.passed(event)))

    def _write(self, event: Event) -> bytes:
        self._chunks.note(event)
        match event:
            case TextPiece(text=text):
                self._thought.clear()
                delta = b'{"content":' + _encoder.encode(text) + b"}" if text else b""
            case CallPiece(arguments=arguments):
                delta = self._arguments(arguments) if arguments else b""
            case ThinkingPiece():
                delta = b"" if self._hides_thoughts else self._thinking(event)
            case RefusalPiece(text=text):
                delta = _encoder.encode({"refusal": text}) if text else b""
            case CallBegun():
                delta = self._call(event)
            case MediaPiece(part=part):
                delta = self._media(part)
            case Begun():
                delta = b'{"role":"assistant","content":""}'
            case Finished(finish=finish):
                return self._finished(finish)
            case _:
                return b""
        if not delta:
            return b""
        return self._chunks.chunk(b'{"index":0,"delta":' + delta + b',"logprobs":null,"finish_reason":null}')

    def fail(self, error: CallerError) -> bytes:
        """Nothing more than what `error_event` says."""
        del error
        return b""

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """Usage, if it was asked for, what was left out, and `[DONE]`."""
        del took_s
        return self._chunks.end(left_out)

    def _media(self, part: Media) -> bytes:
        if isinstance(part, Audio):
            return _encoder.encode({"audio": write_audio(part, self._chunks.facts)})
        if not isinstance(part, Image):
            return b""
        self._images += 1
        return _encoder.encode({"images": write_images((part,), self._images - 1)})

    def _finished(self, finish: Finish) -> bytes:
        word = FINISH[finish]
        if self._legacy and word == "tool_calls":
            word = "function_call"
        return self._chunks.chunk(b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"%b"}' % word.encode())

    def _thinking(self, piece: ThinkingPiece) -> bytes:
        delta: dict[str, object] = {}
        if piece.text:
            delta["reasoning_content"] = piece.text
            self._thought.append(piece.text)
        if piece.signature or piece.redacted:
            text = "".join(self._thought)  # what is proved, as a whole: clients put details together, not pieces
            thought = Thinking(text=text, signature=piece.signature, redacted=piece.redacted, signed_by=piece.signed_by)
            (detail,) = write_details((thought,))
            delta["reasoning_details"] = [{**detail, "index": self._thoughts}]
            self._thoughts += 1
            self._thought.clear()
        return _encoder.encode(delta) if delta else b""

    def _call(self, begun: CallBegun) -> bytes:
        begun = as_sent(begun, self._chunks.facts.request)
        self._calls.append(begun)
        self._thought.clear()
        if self._legacy:
            if len(self._calls) > 1:
                return b""  # its form holds one call
            return _encoder.encode({"function_call": {"name": begun.name, "arguments": ""}})
        call = ToolCall(
            id=begun.id,
            name=begun.name,
            arguments="",
            custom=begun.custom,
            signature=begun.signature,
            signed_by=begun.signed_by,
        )
        written = {"index": len(self._calls) - 1, **write_call(call, "")}
        return _encoder.encode({"tool_calls": [written]})

    def _arguments(self, arguments: str) -> bytes:
        count = len(self._calls)
        if self._legacy:
            return _encoder.encode({"function_call": {"arguments": arguments}}) if count == 1 else b""
        member, name = ("custom", "input") if self._calls and self._calls[-1].custom else ("function", "arguments")
        piece = {"index": max(count - 1, 0), member: {name: arguments}}
        return _encoder.encode({"tool_calls": [piece]})

    def __repr__(self) -> str:
        return f"<ChatWriter {self._chunks.written} characters, {len(self._calls)} calls>"


class CompletionWriter:
    """Writes the chunks of a `text_completion`: its words, nothing else."""

    __slots__ = ("_chunks",)

    def __init__(self, facts: AnswerFacts) -> None:
        self._chunks = _Chunks(facts, completion_id(facts), "text_completion")

    def write(self, event: Event) -> bytes:
        """The chunk for an event; nothing for thoughts and calls."""
        self._chunks.note(event)
        match event:
            case TextPiece(text=text) | RefusalPiece(text=text):
                return self._piece(text, None) if text else b""
            case Finished(finish=finish):
                word = FINISH[finish]
                return self._piece("", "stop" if word == "tool_calls" else word)
            case _:
                return b""

    def fail(self, error: CallerError) -> bytes:
        """Nothing more than what `error_event` says."""
        del error
        return b""

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """Usage, if it was asked for, what was left out, and `[DONE]`."""
        del took_s
        return self._chunks.end(left_out)

    def _piece(self, text: str, finish: str | None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return self._chunks.chunk(_encoder.encode(choice))

    def __repr__(self) -> str:
        return f"<CompletionWriter {self._chunks.written} characters>"
