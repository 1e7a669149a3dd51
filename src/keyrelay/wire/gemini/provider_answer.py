"""A Gemini model's answer, whole or streamed, read into the canonical form."""

from collections.abc import Iterator, Sequence

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finish,
    Finished,
    Media,
    MediaPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
    Unheld,
)
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.dialects import StreamEnded, StreamFailure, Unreadable
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.common import DIALECT, media_from_blob, media_from_file, one_line, said, words_of
from keyrelay.wire.media import fenced
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import tool_id
from keyrelay.wire.sse import event_data

ACCOUNT_LIMITED = "PUP_LIMITED_DISABLED"
"""The finish reason of an account that was limited for what it was used for."""

ACCOUNT_ERROR = msgspec.json.encode(
    {
        "error": {
            "code": 403,
            "message": f"The account is limited or disabled for violations of the terms of use ({ACCOUNT_LIMITED}).",
            "status": "PERMISSION_DENIED",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": ACCOUNT_LIMITED}],
        }
    }
)
_FINISHES: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""What is missing (MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, MISSING_THOUGHT_SIGNATURE, OTHER …) is a failure."""

_UNHELD = (("function_response", "functionResponse"), ("tool_call", "toolCall"), ("tool_response", "toolResponse"))
_METADATA = (
    ("citation_metadata", "citationMetadata"),
    ("grounding_metadata", "groundingMetadata"),
    ("url_context_metadata", "urlContextMetadata"),
)
_Found = Text | Thinking | ToolCall | Media | Unheld
_DONE = b"[DONE]"  # not Google's, but that of some who speak its dialect
_NOT_JSON = "an event is not the JSON that was expected"
_WHOLE_NUMBER_LIMIT = 2**53
_chunk = msgspec.json.Decoder(shapes.Chunk)
_chunks = msgspec.json.Decoder(list[shapes.Chunk])
_usage = msgspec.json.Decoder(shapes.Usage)


def read_answer(body: bytes) -> Answer | Unreadable:
    """Read the body of a 200; a prompt that was blocked is an answer without parts."""
    try:
        chunks = _read(body)
    except JSON_ERRORS:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    if len(chunks) != 1:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    chunk = chunks[0]
    if said(chunk.error):
        return Unreadable(problem="the answer holds an error although its status is 200", is_error=True)
    candidate = _first(chunk)
    if candidate is None and _blocked(chunk) is None:
        return Unreadable(problem="the answer is empty")
    reason = "" if candidate is None else candidate.finish_reason or "STOP"
    if reason == ACCOUNT_LIMITED:
        problem = f"the account is limited or disabled ({ACCOUNT_LIMITED})"
        return Unreadable(problem=problem, is_error=True, error=ACCOUNT_ERROR)
    found = tuple(_parts(candidate, chunk.response_id or "", calls=0))
    parts = tuple(part for part in found if not isinstance(part, Unheld))
    calls = any(isinstance(part, ToolCall) for part in parts)
    return Answer(
        parts=parts,
        finish=_finish(reason, calls=calls) if candidate is not None else "content_filter",
        tokens=read_tokens(chunk.usage_metadata),
        id=chunk.response_id or "",
        model=chunk.model_version or "",
        left_out=tuple(dict.fromkeys(part.name for part in found if isinstance(part, Unheld))),
    )


def read_tokens(raw: msgspec.Raw) -> Tokens | None:
    """Tokens as reported; None when absent or absurd."""
    if not said(raw):
        return None
    try:
        usage = _usage.decode(raw)
    except JSON_ERRORS:
        return None
    used_in = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    thoughts = usage.thoughts_token_count or 0
    if usage.candidates_token_count is None and usage.total_token_count is not None:
        used_out = max(usage.total_token_count - used_in, thoughts)  # an answer cut off says only the sum
    else:
        used_out = (usage.candidates_token_count or 0) + thoughts
    tokens = Tokens(input=used_in, output=used_out, cached=usage.cached_content_token_count or 0, reasoning=thoughts)
    numbers = (tokens.input, tokens.output, tokens.cached, tokens.reasoning)
    return tokens if any(numbers) and all(0 <= number < _WHOLE_NUMBER_LIMIT for number in numbers) else None


class GeminiEventReader:
    """Reads one streamed answer. The prompt's tokens are in `Begun`, and `Counted` comes whenever a count changes.

    An error may stand in an event or, as Google writes it, bare and indented between events, even in a list.
    """

    __slots__ = ("_begun", "_calls", "_finished", "_id", "_tokens")

    def __init__(self) -> None:
        self._begun = self._finished = False
        self._calls = 0
        self._id = ""
        self._tokens: Tokens | None = None

    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        """What one framed event says; never raises."""
        data = event_data(event) or event.strip()
        if data == _DONE:
            return [StreamEnded()]
        if data[:1] not in {b"{", b"["}:
            return () if data == event.strip() else [StreamFailure(problem=_NOT_JSON)]
        try:
            chunks = _read(data)
        except JSON_ERRORS:
            return [StreamFailure(problem=_NOT_JSON)]
        events: list[Event | StreamEnded | StreamFailure] = []
        for chunk in chunks:
            if said(chunk.error):
                events.append(StreamFailure(problem="the stream holds an error", error=data))
                break
            events += self._chunk(chunk)
        return events

    def _chunk(self, chunk: shapes.Chunk) -> Iterator[Event | StreamFailure]:
        tokens = read_tokens(chunk.usage_metadata)
        if not self._begun:
            self._begun = True
            self._id = chunk.response_id or ""
            prompt = None if tokens is None else Tokens(input=tokens.input, cached=tokens.cached)
            yield Begun(id=self._id, model=chunk.model_version or "", tokens=prompt)
        if not self._finished:
            yield from self._candidate(chunk)
        if tokens is not None and tokens != self._tokens:
            self._tokens = tokens
            yield Counted(tokens=tokens)

    def _candidate(self, chunk: shapes.Chunk) -> Iterator[Event | StreamFailure]:
        candidate = _first(chunk)
        if candidate is not None and candidate.finish_reason == ACCOUNT_LIMITED:
            yield StreamFailure(problem="the account is limited or disabled", error=ACCOUNT_ERROR)
            return
        for part in _parts(candidate, self._id, calls=self._calls):
            yield from self._pieces(part)
        finish = _blocked(chunk)
        if candidate is not None and candidate.finish_reason:
            finish = _finish(candidate.finish_reason, calls=self._calls > 0)
        if finish is not None:
            self._finished = True
            yield Finished(finish=finish)

    def _pieces(self, part: _Found) -> Iterator[Event]:
        if isinstance(part, Text):
            yield TextPiece(text=part.text)
        elif isinstance(part, Media):
            yield MediaPiece(part)
        elif isinstance(part, Unheld):
            yield part
        elif isinstance(part, Thinking):
            yield ThinkingPiece(text=part.text, signature=part.signature, signed_by=part.signed_by)
        else:
            self._calls += 1
            yield CallBegun(id=part.id, name=part.name, signature=part.signature, signed_by=part.signed_by)
            yield CallPiece(arguments=part.arguments)

    def __repr__(self) -> str:
        state = "finished" if self._finished else "open" if self._begun else "not begun"
        return f"<GeminiEventReader {state} {self._calls} calls>"


def _read(data: bytes) -> list[shapes.Chunk]:
    """The answers in a body or an event; a list of them where Google writes one."""
    chunks = _chunks.decode(data) if data.lstrip()[:1] == b"[" else [_chunk.decode(data)]
    if not data.isascii():
        data.decode()  # values that are skipped over are not looked into
    return chunks


def _first(chunk: shapes.Chunk) -> shapes.Candidate | None:
    """The first answer; only one was asked for."""
    return next((candidate for candidate in chunk.candidates or () if not candidate.index), None)


def _blocked(chunk: shapes.Chunk) -> Finish | None:
    feedback = chunk.prompt_feedback
    return "content_filter" if feedback is not None and feedback.block_reason else None


def _finish(reason: str, *, calls: bool) -> Finish:
    finish = _FINISHES.get(reason, "error")
    return "tool_calls" if finish == "stop" and calls else finish


def _parts(candidate: shapes.Candidate | None, answer_id: str, *, calls: int) -> Iterator[_Found]:
    """The parts of a candidate; `calls` is how many calls the answer held before."""
    if candidate is None:
        return
    content = candidate.content
    for part in (content.parts or ()) if content is not None else ():
        signature = part.thought_signature or ""
        if part.function_call is not None:
            yield _call(part.function_call, signature, answer_id, calls)
            calls += 1
            continue
        if part.text is None:
            yield from _beyond_words(part)
        yield from words_of(part.text or "", signature, thought=bool(part.thought))
    for name, wire_name in _METADATA:
        if bytes(getattr(candidate, name)) not in NOTHING:
            yield Unheld(wire_name)


def _beyond_words(part: shapes.AnswerPart) -> Iterator[Text | Media | Unheld]:
    """What a part holds that is neither words nor a call; code and what came of it are told in words."""
    code, result = part.executable_code, part.code_execution_result
    if part.thought and (part.inline_data is not None or part.file_data is not None):
        yield Unheld("data in thoughts")  # sketches of a picture that is still to come
    elif part.inline_data is not None:
        yield media_from_blob(part.inline_data)
    elif part.file_data is not None:
        yield media_from_file(part.file_data)
    if code is not None:
        yield Text(fenced(code.code or "", code.language or ""))
        yield Unheld("executableCode: told as text")
    if result is not None:
        failed = "" if result.outcome in {None, "OUTCOME_OK"} else f"{result.outcome}\n"
        yield Text(fenced(failed + (result.output or "")))
        yield Unheld("codeExecutionResult: told as text")
    for name, wire_name in _UNHELD:
        if said(getattr(part, name)):
            yield Unheld(wire_name)


def _call(call: shapes.FunctionCall, signature: str, answer_id: str, number: int) -> ToolCall:
    name = call.name or ""
    arguments = one_line(call.args) if said(call.args) else "{}"
    return ToolCall(
        id=call.id or tool_id(answer_id, number, name, arguments),
        name=name,
        arguments=arguments,
        signature=signature,
        signed_by=DIALECT if signature else "",
    )
