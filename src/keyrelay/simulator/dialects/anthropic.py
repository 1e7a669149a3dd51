"""Anthropic's Messages: an answer of blocks, or the events that build it."""

from typing import Any

import msgspec

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.answers import Answer
from keyrelay.simulator.asking import Prompt
from keyrelay.simulator.bodies import Envelope, Events
from keyrelay.simulator.dialects.anthropic_prompt import check_prefill, read_messages
from keyrelay.simulator.dialects.model import Dialect, encode, figures_of
from keyrelay.simulator.http import Request
from keyrelay.simulator.signatures import sign

_FRAGMENT_CHARACTERS = 12
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class AnthropicDialect(Dialect):
    """`/v1/messages` and `/v1/messages/count_tokens`."""

    name = "anthropic"
    voice = "anthropic"
    text_member = b'"type":"text_delta","text":"'
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    done = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def read(self, operation: str, request: Request) -> Prompt:
        """Read and check a request; counting tokens needs no `max_tokens`."""
        return read_messages(operation, request)

    def refusal_of(self, prompt: Prompt, provider: str, model: ModelRow) -> None:  # noqa: ARG002 - the model decides
        """Some models do not go on from their own words."""
        check_prefill(prompt, model.id)

    def answer_id(self, operation: str, digits: str) -> str:  # noqa: ARG002 - all alike
        """`msg_…`."""
        return f"msg_01{digits}"

    def whole(self, answer: Answer, envelope: Envelope) -> dict[str, Any]:
        """A message."""
        return {
            **_message(envelope),
            "content": _blocks(answer, envelope),
            **_end(answer),
            "usage": _usage(answer, envelope),
        }

    def events(self, answer: Answer, envelope: Envelope) -> Events:
        """The message's events; a block's first event carries its beginning and the end of the one before."""
        begun = {**_message(envelope), "content": [], "stop_reason": None, "stop_sequence": None}
        begun["usage"] = _usage(Answer(input_tokens=answer.input_tokens), envelope, first=answer)
        content: list[bytes] = []
        before = b""
        for index, block in enumerate(_blocks(answer, envelope)):
            start, deltas = _pieces(block, answer)
            opening = before + _event("content_block_start", index=index, content_block=start)
            for delta in deltas:
                content.append(opening + _event("content_block_delta", index=index, delta=delta))
                opening = b""
            before = opening + _event("content_block_stop", index=index)
        ended = _event("message_delta", delta=_end(answer), usage=_usage(answer, envelope))
        return Events(
            opening=[_event("message_start", message=begun), self.ping],
            content=content,
            closing=[before + ended],
            done=self.done,
        )

    def ready(self, operation: str, prompt: Prompt, number: int) -> dict[str, Any]:  # noqa: ARG002 - one operation
        """How many tokens a prompt has."""
        return {"input_tokens": prompt.input_tokens}

    def framed(self, data: bytes) -> bytes:
        """A delta with these bytes as its data."""
        return b"event: content_block_delta\ndata: %b\n\n" % data

    def error_event(self, error: Any) -> bytes:
        """An event of its own name."""
        return b"event: error\ndata: %b\n\n" % encode(error)

    def text_event(self, text: str, envelope: Envelope) -> bytes:  # noqa: ARG002 - the first block is the text's
        """More text of the first block."""
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def hollow(self, whole: dict[str, Any]) -> dict[str, Any]:
        """No blocks."""
        return {**whole, "content": []}


def _event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **members}))


def _message(envelope: Envelope) -> dict[str, Any]:
    return {"id": envelope.id, "type": "message", "role": "assistant", "model": envelope.model}


def _end(answer: Answer) -> dict[str, Any]:
    reason = "stop_sequence" if answer.stop_sequence else _STOP_REASONS[answer.finish]
    return {"stop_reason": reason, "stop_sequence": answer.stop_sequence or None}


def _usage(answer: Answer, envelope: Envelope, *, first: Answer | None = None) -> dict[str, Any] | None:
    """Tokens; what was cached is no part of `input_tokens`. In `first`, the answer that has only begun."""
    told = figures_of(first or answer, envelope)
    if told is None:
        return None
    rest = told.input - told.cached - told.written if isinstance(told.input, int) else told.input
    usage: dict[str, Any] = {
        "input_tokens": rest,
        "cache_creation_input_tokens": told.written,
        "cache_read_input_tokens": told.cached,
        "output_tokens": 1 if first is not None else told.output,
        "service_tier": "standard",
    }
    if told.reasoning and first is None:
        usage["output_tokens_details"] = {"thinking_tokens": told.reasoning}
    return usage


def _blocks(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        thoughts = answer.thoughts if envelope.shows_thoughts else ""
        blocks.append({"type": "thinking", "thinking": thoughts, "signature": sign("anthropic", thoughts)})
    if answer.tokens:
        blocks.append({"type": "text", "text": answer.text})
    for call in answer.tool_calls:
        arguments = msgspec.Raw(call.arguments.encode())
        blocks.append({"type": "tool_use", "id": f"toolu_01{call.id}", "name": call.name, "input": arguments})
    return blocks


def _pieces(block: dict[str, Any], answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins, and the deltas that fill it."""
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": token} for token in answer.tokens]
    if block["type"] == "thinking":
        thoughts = answer.reasoning if block["thinking"] else []
        deltas = [{"type": "thinking_delta", "thinking": token} for token in thoughts]
        return (
            {"type": "thinking", "thinking": "", "signature": ""},
            [*deltas, {"type": "signature_delta", "signature": block["signature"]}],
        )
    text = bytes(block["input"]).decode()
    parts = ["", *(text[at : at + _FRAGMENT_CHARACTERS] for at in range(0, len(text), _FRAGMENT_CHARACTERS))]
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return {**block, "input": {}}, deltas
