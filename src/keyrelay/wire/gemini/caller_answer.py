"""An answer, written for a caller of `generateContent`: whole, or event by event for `streamGenerateContent`."""

from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Answer,
    AnswerPart,
    Audio,
    CallBegun,
    CallPiece,
    Counted,
    Document,
    Event,
    Finish,
    Finished,
    Media,
    MediaPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.common import DIALECT, arguments_of, media_type_of, one_line
from keyrelay.wire.gemini.errors import encode_error
from keyrelay.wire.parts import characters_of, estimated_tokens

_REASONS: dict[Finish, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "OTHER",
}
_BROKEN_CALL = "MALFORMED_FUNCTION_CALL"

# The official client for Python splits lines where Python does: also at these three, which JSON leaves as they are.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
_encoder = msgspec.json.Encoder()


def write_answer(answer: Answer, facts: AnswerFacts) -> bytes:
    """The body of a whole answer; a call whose arguments are no JSON object is not in it."""
    shown = _shows_thoughts(facts)
    parts: list[shapes.AnswerPart] = []
    broken = False
    for part in answer.parts:
        written = _part(part, shown=shown)
        if written is None:
            broken = broken or isinstance(part, ToolCall)
        elif parts and _is_signature_only(written) and _is_unsigned_text(parts[-1]):
            parts[-1].thought_signature = written.thought_signature
        else:
            parts.append(written)
    chunk = shapes.Chunk(
        candidates=[
            shapes.Candidate(
                content=shapes.AnswerContent(parts=parts, role="model"),
                finish_reason=_reason(answer.finish, broken=broken),
                index=0,
            )
        ],
        usage_metadata=_usage(answer.tokens or _estimated(answer, facts)),
        model_version=facts.model,
        response_id=facts.id,
    )
    return _encoder.encode(chunk)


class GeminiEventWriter:
    """Writes one stream, as server-sent events or as one JSON array.

    A call goes out when its arguments are complete, the reason and the tokens in the last chunk. In the array each
    chunk but the last ends with a comma, so that an error may take the place of the last one at any time.
    """

    __slots__ = ("_broken", "_call", "_characters", "_facts", "_finish", "_head", "_shown", "_sse", "_tail", "_tokens")

    def __init__(self, facts: AnswerFacts, *, sse: bool) -> None:
        self._facts = facts
        self._sse = sse
        self._shown = _shows_thoughts(facts)
        self._head = b"data: " if sse else b"["
        about = _encoder.encode({"modelVersion": facts.model, "responseId": facts.id})
        self._tail = b'],"role":"model"},"index":0}],' + about[1:]
        self._call: tuple[CallBegun, list[str]] | None = None
        self._broken = False
        self._characters = 0
        self._finish: Finish = "stop"
        self._tokens: Tokens | None = None

    def write(self, event: Event) -> bytes:
        """The bytes for an event; none while a call is not complete, and for what the last chunk says."""
        if isinstance(event, CallPiece):
            if self._call is not None:
                self._call[1].append(event.arguments)
            return b""
        if isinstance(event, Counted):
            self._tokens = event.tokens
            return b""
        parts = [part for part in (self._complete_call(), self._piece(event)) if part is not None]
        return self._chunk(b",".join(map(_encoder.encode, parts))) if parts else self._opening()

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """The last chunk, which says what was left out, and, of an array, its end."""
        del took_s
        call = self._complete_call()
        parts = [call] if call is not None else [shapes.AnswerPart(text="")]  # clients look at the first part of each
        estimate = Tokens(input=self._facts.input_tokens, output=estimated_tokens(self._characters))
        chunk = shapes.Chunk(
            candidates=[
                shapes.Candidate(
                    content=shapes.AnswerContent(parts=parts, role="model"),
                    finish_reason=_reason(self._finish, broken=self._broken),
                    finish_message=f"Left out: {', '.join(left_out)}" if left_out else None,
                    index=0,
                )
            ],
            usage_metadata=_usage(self._tokens or estimate),
            model_version=self._facts.model,
            response_id=self._facts.id,
        )
        return self._opening() + self._framed(_encoder.encode(chunk), b"\n\n" if self._sse else b"]")

    def fail(self, error: CallerError) -> bytes:
        """The error as the last of the array, even when nothing was written before; events have no state to end."""
        if self._sse:
            return b""
        return self._opening() + encode_error(error, f"req_{self._facts.id}") + b"]"

    def _piece(self, event: Event) -> shapes.AnswerPart | None:
        """What an event says right away."""
        if isinstance(event, TextPiece | RefusalPiece):
            self._characters += len(event.text)
            return shapes.AnswerPart(text=event.text) if event.text else None
        if isinstance(event, ThinkingPiece):
            self._characters += len(event.text)
            signature = event.signature if event.signed_by == DIALECT else ""
            return _thinking(event.text if self._shown else "", signature)
        if isinstance(event, MediaPiece):
            return _media(event.part)
        if isinstance(event, CallBegun):
            self._call = (event, [])
        elif isinstance(event, Finished):
            self._finish = event.finish
        return None

    def _complete_call(self) -> shapes.AnswerPart | None:
        if self._call is None:
            return None
        begun, pieces = self._call
        self._call = None
        text = "".join(pieces)
        self._characters += len(begun.name) + len(text)
        call = ToolCall(
            id=begun.id,
            name=begun.name,
            arguments=text,
            custom=begun.custom,
            signature=begun.signature,
            signed_by=begun.signed_by,
        )
        part = _part(call, shown=self._shown)
        self._broken = self._broken or part is None
        return part

    def _chunk(self, parts: bytes) -> bytes:
        data = b'{"candidates":[{"content":{"parts":[' + parts + self._tail
        return self._opening() + self._framed(data, b"\n\n" if self._sse else b",\n")

    def _opening(self) -> bytes:
        """The bracket that begins an array, once."""
        if self._sse or not self._head:
            return b""
        opening, self._head = self._head, b""
        return opening

    def _framed(self, data: bytes, end: bytes) -> bytes:
        if not data.isascii():
            for raw, escaped in _LINE_ENDS:
                data = data.replace(raw, escaped)
        return self._head + data + end

    def __repr__(self) -> str:
        form = "events" if self._sse else "array"
        return f"<GeminiEventWriter {form} {self._finish} {self._characters} characters>"


def _shows_thoughts(facts: AnswerFacts) -> bool:
    reasoning = facts.conversation.reasoning
    return reasoning is not None and reasoning.shown is True


def _media(part: Media) -> shapes.AnswerPart:
    name = part.name if isinstance(part, Document) else ""
    if part.data or isinstance(part, Audio):
        blob = shapes.Blob(mime_type=part.media_type or None, data=part.data, display_name=name or None)
        return shapes.AnswerPart(inline_data=blob)
    kind = part.media_type or media_type_of(part.url)
    file = shapes.FileData(mime_type=kind or None, file_uri=part.url, display_name=name or None)
    return shapes.AnswerPart(file_data=file)


def _part(part: AnswerPart, *, shown: bool) -> shapes.AnswerPart | None:
    """The part for a caller; None for what it does not see."""
    signature = part.signature if isinstance(part, Thinking | ToolCall) and part.signed_by == DIALECT else ""
    if isinstance(part, Thinking):
        return _thinking(part.text if shown else "", signature)
    if isinstance(part, Text | Refusal):
        return shapes.AnswerPart(text=part.text) if part.text else None
    if isinstance(part, Media):
        return _media(part)
    arguments = arguments_of(part.arguments, custom=part.custom)
    if arguments is None:
        return None
    call = shapes.FunctionCall(id=part.id or None, name=part.name, args=msgspec.Raw(one_line(arguments).encode()))
    return shapes.AnswerPart(function_call=call, thought_signature=signature or None)


def _thinking(text: str, signature: str) -> shapes.AnswerPart | None:
    if text:
        return shapes.AnswerPart(text=text, thought=True, thought_signature=signature or None)
    return shapes.AnswerPart(text="", thought_signature=signature) if signature else None


def _is_signature_only(part: shapes.AnswerPart) -> bool:
    return part.text == "" and part.thought_signature is not None


def _is_unsigned_text(part: shapes.AnswerPart) -> bool:
    """Or data, which may be signed as well."""
    words = bool(part.text) and not part.thought
    return (words or part.inline_data is not None) and part.thought_signature is None


def _reason(finish: Finish, *, broken: bool) -> str:
    """The reason; a call that could not be written makes a failure of what else were a whole answer."""
    return _BROKEN_CALL if broken and finish in {"stop", "tool_calls"} else _REASONS[finish]


def _usage(tokens: Tokens) -> msgspec.Raw:
    """Tokens in Google's names, zeros included."""
    usage = shapes.Usage(
        prompt_token_count=tokens.input,
        candidates_token_count=max(0, tokens.output - tokens.reasoning),
        thoughts_token_count=tokens.reasoning,
        cached_content_token_count=tokens.cached,
        total_token_count=tokens.input + tokens.output,
    )
    return msgspec.Raw(_encoder.encode(usage))


def _estimated(answer: Answer, facts: AnswerFacts) -> Tokens:
    characters = sum(map(characters_of, answer.parts))
    return Tokens(input=facts.input_tokens, output=estimated_tokens(characters))
