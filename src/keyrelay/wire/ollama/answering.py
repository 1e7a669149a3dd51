"""Answers in Ollama's dialect: one object, or lines of which the last one has `"done": true`.

Calls of tools come whole, so a streamed one is held until it is complete. Thoughts go only to callers who asked with
`think`. A call that the answer's bound cut through is left out, as `"done_reason": "length"` says; other arguments that
are no JSON object, and the free text of custom tools, become `{"input": text}`.

Nobody here loads models, so `load_duration` and `prompt_eval_duration` are 0; `eval_duration` is all of the time, and
never 0, since clients divide by it.
"""

import datetime as dt
from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Embeddings,
    Event,
    Finish,
    Finished,
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
from keyrelay.wire.dialects import AnswerFacts, EmbeddingFacts
from keyrelay.wire.media import told
from keyrelay.wire.ollama.shapes import Call, CalledFunction, on_one_line
from keyrelay.wire.parts import encoded_text, estimated_tokens, json_object, lowered_arguments

_CONTENT = (TextPiece, RefusalPiece)
_LEAST_NS = 1
"""Clients divide by the time that an answer took."""
_encode = msgspec.json.Encoder().encode


class _Metrics(msgspec.Struct):
    total_duration: int
    load_duration: int
    prompt_eval_count: int
    prompt_eval_duration: int
    eval_count: int
    eval_duration: int


class _Embedded(msgspec.Struct):
    model: str
    embeddings: tuple[tuple[float, ...], ...]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class _Form:
    """The objects of one answer: what they have in common is encoded once."""

    __slots__ = ("_end", "_head", "_last", "_tail")

    def __init__(self, facts: AnswerFacts, *, generate: bool) -> None:
        start = b'{"model":%b,"created_at":"%b",' % (_encode(facts.model), rfc3339(facts.created_s).encode())
        self._head = start + (b'"response":' if generate else b'"message":{"role":"assistant","content":')
        end = b"" if generate else b"}"
        self._tail = end + b',"done":false}\n'
        self._end = end + b',"done":true,"done_reason":'
        self._last = b',"context":[]' if generate else b""

    def piece(self, said: bytes) -> bytes:
        """One line of a stream."""
        return self._head + said + self._tail

    def last(self, said: bytes, finish: Finish | None, tokens: Tokens, took_s: float) -> bytes:
        """A whole answer, or the last line of a stream, without its line end."""
        took_ns = max(int(took_s * 1e9), _LEAST_NS)
        metrics = _Metrics(took_ns, 0, tokens.input, 0, tokens.output, took_ns)
        reason = b'"length"' if finish == "length" else b'"stop"'
        return self._head + said + self._end + reason + self._last + b"," + _encode(metrics)[1:]


def rfc3339(epoch_s: float) -> str:
    """A moment as Ollama writes it."""
    return dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def shows_thoughts(facts: AnswerFacts) -> bool:
    """Whether the caller asked to see what the model thought."""
    reasoning = facts.conversation.reasoning
    return reasoning is not None and bool(reasoning.shown)


def whole_answer(answer: Answer, facts: AnswerFacts, *, generate: bool) -> bytes:
    """The body of a whole answer."""
    texts, thoughts, calls = list[str](), list[str](), list[ToolCall]()
    for part in answer.parts:
        if isinstance(part, ToolCall):
            calls.append(part)
        elif isinstance(part, Thinking):
            thoughts.append(part.text)
        elif isinstance(part, Text | Refusal):
            texts.append(part.text)
    said = _encode("".join(texts))
    if shows_thoughts(facts) and any(thoughts):
        said += b',"thinking":' + _encode("".join(thoughts))
    written = [call for call in (_call(call, answer.finish) for call in calls) if call is not None]
    if written:
        said += _calls(written, 0)
    arguments = [call.arguments for call in calls]
    tokens = answer.tokens or _estimated(facts, None, sum(map(len, (*texts, *thoughts, *arguments))))
    form = _Form(facts, generate=generate)
    return form.last(said, answer.finish, tokens, facts.took_s)


def _call(call: ToolCall, finish: Finish | None) -> Call | None:
    """A call as it is written, None for one that the answer's bound cut through."""
    arguments = json_object(lowered_arguments(call))
    if arguments is None:
        if finish == "length":
            return None
        arguments = msgspec.Raw(_encode({"input": call.arguments}))
    return Call(id=call.id, function=CalledFunction(name=call.name, arguments=on_one_line(arguments)))


def _calls(calls: Sequence[Call], start: int) -> bytes:
    for index, call in enumerate(calls, start):
        call.function.index = index
    return b',"tool_calls":' + _encode(calls)


def _estimated(facts: AnswerFacts, begun: Tokens | None, characters: int) -> Tokens:
    known = begun.input if begun is not None else facts.input_tokens
    return Tokens(input=known, output=estimated_tokens(characters))


class OllamaWriter:
    """Writes one streamed answer."""

    __slots__ = (
        "_begun",
        "_call",
        "_calls",
        "_characters",
        "_facts",
        "_finish",
        "_form",
        "_shown",
        "_tokens",
    )

    def __init__(self, facts: AnswerFacts, *, generate: bool) -> None:
        self._facts = facts
        self._form = _Form(facts, generate=generate)
        self._shown = shows_thoughts(facts)
        self._begun: Tokens | None = None
        self._tokens: Tokens | None = None
        self._finish: Finish | None = None
        self._call: tuple[CallBegun, list[str]] | None = None
        self._calls = 0
        self._characters = 0

    def write(self, event: Event) -> bytes:
        """The line for an event; none for what is only known at the end."""
        if isinstance(event, Counted):
            self._tokens = event.tokens
            return b""
        if self._call is not None and isinstance(event, CallPiece):
            self._call[1].append(event.arguments)
            return b""
        if isinstance(event, Finished):
            self._finish = event.finish
        held = self._called() if self._call is not None else b""
        if isinstance(event, _CONTENT):
            self._characters += len(event.text)
            return held + self._form.piece(_encode(event.text)) if event.text else held
        if isinstance(event, ThinkingPiece):
            self._characters += len(event.text)
            shown = self._shown and event.text
            return held + self._form.piece(b'"","thinking":' + _encode(event.text)) if shown else held
        if isinstance(event, CallBegun):
            self._call = (event, [])
        elif isinstance(event, Begun):
            self._begun = event.tokens
        return held

    def fail(self, error: CallerError) -> bytes:
        """Nothing more than what `error_event` says."""
        del error
        return b""

    def end(self, left_out: Sequence[str] = (), took_s: float = 0.0) -> bytes:
        """The last line, with the counts and what was left out."""
        held = self._called() if self._call is not None else b""
        tokens = self._tokens or _estimated(self._facts, self._begun, self._characters)
        last = self._form.last(b'""', self._finish, tokens, took_s)
        return held + (last[:-1] + b"," + _encode(told(left_out))[1:] if left_out else last) + b"\n"

    def _called(self) -> bytes:
        """The line of the call that is complete now."""
        assert self._call is not None  # noqa: S101 - the callers looked
        begun, pieces = self._call
        self._call = None
        arguments = "".join(pieces)
        self._characters += len(arguments)
        call = _call(ToolCall(id=begun.id, name=begun.name, arguments=arguments, custom=begun.custom), self._finish)
        if call is None:
            return b""
        self._calls += 1
        return self._form.piece(b'""' + _calls([call], self._calls - 1))

    def __repr__(self) -> str:
        state = "open" if self._finish is None else self._finish
        return f"<OllamaWriter {state} {self._characters} characters {self._calls} calls>"


def embeddings_body(embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
    """The body of an answer with embeddings, in the older form where that was asked for."""
    if facts.asked.single:
        return _encode({"embedding": embeddings.vectors[0] if embeddings.vectors else ()})
    used = embeddings.tokens.input if embeddings.tokens is not None else facts.input_tokens
    return _encode(_Embedded(facts.model, embeddings.vectors, 0, 0, used))


def error_body(error: CallerError) -> bytes:
    """An error: its text, and what Keyrelay has to say beyond it in a member of its own."""
    body: dict[str, object] = {"error": error.message}
    if error.detail is not None:
        body["keyrelay"] = error.detail
    return _encode(body)


def loaded_body(model: str, created_s: float, reason: str, *, generate: bool) -> bytes:
    """The answer to a request that only loads a model, or lets go of it."""
    said: dict[str, object] = {"response": ""} if generate else {"message": {"role": "assistant", "content": ""}}
    head: dict[str, object] = {"model": model, "created_at": rfc3339(created_s)}
    return encoded_text({**head, **said, "done": True, "done_reason": reason}).encode()
