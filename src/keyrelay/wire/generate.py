"""`POST /v1/generate`: one prompt in, one text out, for callers that want no more than that.

    {"prompt": "…", "model": "auto", "system": "…", "temperature": 0.2, "max_tokens": 200, "stream": false}

answers `{"text": …, "provider": …, "model": …, "usage": {…}, "finish_reason": …}`, or as a stream events
`{"text": "…"}`, a last one with everything but the text and `"done": true`, and `[DONE]`.
"""

from typing import Any

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.wire.body import JSON_ERRORS, field, read_members
from keyrelay.wire.openai import decode_request
from keyrelay.wire.sse import EventSplitter, event_data

_PASSED_ON = ("temperature", "max_tokens", "top_p", "stop", "seed", "stream")


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Chat(msgspec.Struct):
    choices: list[_Choice] = []


_chat = msgspec.json.Decoder(_Chat)
_content = msgspec.json.Decoder(str | list[_Part] | None)


def decode_request_generate(body: bytes, *, max_depth: int) -> CallRequest:
    """Read the body into a chat request; without a model it is `auto`. Raise CallerError (400) naming the field."""
    members = read_members(body, max_depth=max_depth)
    prompt = field(members, "prompt", str)
    if not prompt:
        message = "Missing required field 'prompt': the text to answer."
        raise CallerError(400, message, param="prompt", code="missing_field")
    system = field(members, "system", str)
    field(members, "temperature", float)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    chat: dict[str, Any] = {"model": field(members, "model", str) or "auto", "messages": messages}
    chat |= {name: members[name] for name in _PASSED_ON if name in members}
    if bytes(members.get("stream", b"")) == b"true":
        chat["stream_options"] = {"include_usage": True}
    return decode_request("chat", msgspec.json.encode(chat), max_depth=max_depth)


def encode_answer_generate(body: bytes, *, provider: str, model: str, usage: Usage | None) -> bytes:
    """Turn a chat completion into the short answer."""
    choice = _first_choice(body)
    return msgspec.json.encode({"text": _text(choice.message), **_about(provider, model, usage, choice.finish_reason)})


def _about(provider: str, model: str, usage: Usage | None, finish_reason: str | None) -> dict[str, Any]:
    used = usage or Usage(estimated=True)
    return {
        "provider": provider,
        "model": model,
        "usage": {
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.total_tokens,
        },
        "finish_reason": finish_reason,
    }


def _first_choice(data: bytes) -> _Choice:
    try:
        choices = _chat.decode(data).choices
    except JSON_ERRORS:
        choices = []
    return choices[0] if choices else _Choice()


def _text(message: _Message | None) -> str:
    """The words of a message: its content, or the texts in it (Mistral puts thoughts beside them)."""
    if message is None:
        return ""
    try:
        content = _content.decode(message.content)
    except JSON_ERRORS:
        return ""
    return "".join(part.text for part in content) if isinstance(content, list) else content or ""


class GenerateStream:
    """Turns a chat stream into the short one."""

    __slots__ = ("_ended", "_finish_reason", "_splitter")

    def __init__(self, max_event_bytes: int) -> None:
        self._splitter = EventSplitter(max_event_bytes)
        self._finish_reason: str | None = None
        self._ended = False

    def feed(self, chunk: bytes, *, provider: str, model: str, usage: Usage | None) -> bytes:
        """The events of the short stream for a piece of the long one."""
        return b"".join(self._event(event, provider, model, usage) for event in self._splitter.feed(chunk))

    def end(self, *, provider: str, model: str, usage: Usage | None) -> bytes:
        """The last events, for a whole answer that ended without `[DONE]`; nothing when they have been."""
        if self._ended:
            return b""
        self._ended = True
        last = {"done": True, **_about(provider, model, usage, self._finish_reason)}
        return b"data: " + msgspec.json.encode(last) + b"\n\ndata: [DONE]\n\n"

    def _event(self, event: bytes, provider: str, model: str, usage: Usage | None) -> bytes:
        data = event_data(event)
        if data is None:
            return event
        if data == b"[DONE]":
            return self.end(provider=provider, model=model, usage=usage)
        choice = _first_choice(data)
        self._finish_reason = choice.finish_reason or self._finish_reason
        text = _text(choice.delta)
        return b"data: " + msgspec.json.encode({"text": text}) + b"\n\n" if text else b""

    def __repr__(self) -> str:
        return f"<GenerateStream finish_reason={self._finish_reason}>"
