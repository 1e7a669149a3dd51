"""An answer on the wire in OpenAI's format: whole, or as the events of a stream."""

from typing import Any, Literal

import msgspec

from keyrelay.simulator.answers import Answer, ToolCall
from keyrelay.simulator.signatures import seal
from keyrelay.simulator.styles import Style

_encode = msgspec.json.encode
_FRAGMENT_CHARACTERS = 12

DONE = b"data: [DONE]\n\n"


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around an answer.

    `usage` says where a stream's usage goes: into an event of its own (`event`), onto the last one (`last`), or
    nowhere. `forced_usage` replaces the true figures. `shows_thoughts` is whether the caller wants to read them.
    """

    id: str
    created: int
    model: str
    operation: str
    style: Style
    usage: Literal["event", "last", "none"] = "none"
    forced_usage: Any = msgspec.UNSET
    shows_thoughts: bool = True


class Events(msgspec.Struct, kw_only=True):
    """A stream's events in order: what opens it, its content one token each, what closes it, the terminator."""

    opening: list[bytes]
    content: list[bytes]
    closing: list[bytes]
    done: bytes = DONE

    def all(self) -> list[bytes]:
        """Every event in order."""
        return [*self.opening, *self.content, *self.closing, self.done]


def usage_of(answer: Answer, envelope: Envelope) -> Any:
    """The usage member, consistent with what is sent unless it is forced."""
    if envelope.forced_usage is not msgspec.UNSET:
        return envelope.forced_usage
    reasoning = len(answer.reasoning)
    output = answer.output_tokens - (reasoning if envelope.style.reasoning_apart else 0)
    usage: dict[str, Any] = {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": output,
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
    if reasoning or envelope.style.details:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    if answer.cached_tokens or envelope.style.details:
        usage["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens}
    if envelope.style.cache_counts:
        usage["prompt_cache_hit_tokens"] = answer.cached_tokens
        usage["prompt_cache_miss_tokens"] = answer.input_tokens - answer.cached_tokens
    return usage


def whole(answer: Answer, envelope: Envelope, *, body_bytes: int = 0) -> dict[str, Any]:
    """The body of a whole answer, its text stretched so that the encoded body has `body_bytes` (0: as it comes)."""
    body: dict[str, Any] = {
        "id": envelope.id,
        "object": "text_completion" if envelope.operation == "completions" else "chat.completion",
        "created": envelope.created,
        "model": envelope.model,
        "choices": [_choice(answer, envelope)],
        "usage": usage_of(answer, envelope),
    }
    if envelope.style.x_groq:
        body["x_groq"] = {"id": envelope.id}
    missing = body_bytes - len(_encode(body)) if body_bytes else 0
    if missing:
        _stretch(body["choices"][0], missing)
    return body


def _choice(answer: Answer, envelope: Envelope) -> dict[str, Any]:
    if envelope.operation == "completions":
        return {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": answer.finish}
    message: dict[str, Any] = {"role": "assistant", "content": None if answer.tool_calls else answer.text}
    thoughts = answer.thoughts if envelope.shows_thoughts else ""
    if thoughts and envelope.style.reasoning_field:
        message[envelope.style.reasoning_field] = thoughts
    if thoughts and envelope.style.thinking_parts:
        text = [{"type": "text", "text": answer.text}] if answer.tokens else []
        message["content"] = [thinking_part(thoughts), *text]
    if answer.tool_calls:
        message["tool_calls"] = [call_of(call, at, envelope) for at, call in enumerate(answer.tool_calls)]
    return {"index": 0, "message": message, "finish_reason": answer.finish}


def thinking_part(text: str) -> dict[str, Any]:
    """Thoughts as a part of a content (Mistral)."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def call_of(call: ToolCall, at: int, envelope: Envelope) -> dict[str, Any]:
    """A whole call of a tool."""
    made: dict[str, Any] = {"id": envelope.style.call_id.format(call.id)}
    if call.custom:
        return {**made, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    made |= {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    if envelope.style.signs_calls and not at:
        made["extra_content"] = {"google": {"thought_signature": seal("gemini", call.id)}}
    return made


def _stretch(choice: dict[str, Any], missing: int) -> None:
    holder, name = (choice["message"], "content") if "message" in choice else (choice, "text")
    text = holder[name] or ""
    holder[name] = text + "." * missing if missing > 0 else text[:missing]


def events(answer: Answer, envelope: Envelope) -> Events:
    """The answer as server-sent events."""
    frame = _Frame(envelope)
    opening = [b": %b\n\n" % envelope.style.opening_comment.encode()] if envelope.style.opening_comment else []
    if envelope.operation == "completions":
        content = [frame.event(b'"text":%b' % _encode(token)) for token in answer.tokens]
        last = frame.event(b'"text":""', finish=answer.finish, usage=_last_usage(answer, envelope))
    else:
        opening.append(frame.delta({"role": "assistant", "content": ""}))
        content = _content_events(answer, frame, envelope)
        last = frame.event(b'"delta":{}', finish=answer.finish, usage=_last_usage(answer, envelope))
    closing = [last]
    if envelope.usage == "event":
        closing.append(frame.usage(usage_of(answer, envelope)))
    return Events(opening=opening, content=content, closing=closing)


def _last_usage(answer: Answer, envelope: Envelope) -> dict[str, Any] | None:
    members: dict[str, Any] = {}
    if envelope.usage == "last":
        members["usage"] = usage_of(answer, envelope)
    if envelope.style.x_groq:
        members["x_groq"] = {"id": envelope.id, "usage": usage_of(answer, envelope)}
    return members or None


def _content_events(answer: Answer, frame: "_Frame", envelope: Envelope) -> list[bytes]:
    style = envelope.style
    thoughts = answer.reasoning if envelope.shows_thoughts else []
    sent = [frame.delta({style.reasoning_field: token}) for token in thoughts if style.reasoning_field]
    sent += [frame.delta({"content": [thinking_part(token)]}) for token in thoughts if style.thinking_parts]
    sent += [frame.event(b'"delta":{"content":%b}' % _encode(token)) for token in answer.tokens]
    for index, call in enumerate(answer.tool_calls):
        sent += _call_events(call_of(call, index, envelope), index, frame)
    return sent


def _call_events(call: dict[str, Any], index: int, frame: "_Frame") -> list[bytes]:
    """A call piece by piece: first all but its arguments."""
    kind, member = ("custom", "input") if call["type"] == "custom" else ("function", "arguments")
    text = call[kind][member]
    sent = [frame.delta({"tool_calls": [{"index": index, **call, kind: {**call[kind], member: ""}}]})]
    for at in range(0, len(text), _FRAGMENT_CHARACTERS):
        part = {member: text[at : at + _FRAGMENT_CHARACTERS]}
        sent.append(frame.delta({"tool_calls": [{"index": index, kind: part}]}))
    return sent


class _Frame:
    """The bytes that all events of one stream share."""

    def __init__(self, envelope: Envelope) -> None:
        kind = "text_completion" if envelope.operation == "completions" else "chat.completion.chunk"
        shared = {"id": envelope.id, "object": kind, "created": envelope.created, "model": envelope.model}
        self._start = b"data: " + _encode(shared)[:-1] + b',"choices":['
        self._no_usage = b',"usage":null' if envelope.usage == "event" else b""

    def event(self, payload: bytes, *, finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
        members = self._no_usage
        if usage:
            members += b"," + _encode(usage)[1:-1]
        return b'%b{"index":0,%b,"finish_reason":%b}]%b}\n\n' % (self._start, payload, _encode(finish), members)

    def delta(self, delta: dict[str, Any]) -> bytes:
        return self.event(b'"delta":' + _encode(delta))

    def usage(self, usage: Any) -> bytes:
        return b'%b],"usage":%b}\n\n' % (self._start, _encode(usage))
