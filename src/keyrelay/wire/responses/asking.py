"""A whole request in the canonical form."""

from collections.abc import Iterator, Sequence

import msgspec

from keyrelay.core.conversation import Conversation, Format, Message, Reasoning, Sampling, Text
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import field
from keyrelay.wire.parts import decode_caller, raw_text
from keyrelay.wire.responses.choices import read_choice
from keyrelay.wire.responses.items import read_items
from keyrelay.wire.responses.reading import ABSENT, missing, unsupported, wrong
from keyrelay.wire.responses.shapes import INPUT, REASONING, TEXT, FormatShape, Item, ReasoningShape, TextShape
from keyrelay.wire.responses.tools import read_tools

Fields = dict[str, msgspec.Raw]

IMPOSSIBLE = {
    "background": "answers are given while the caller waits",
    "conversation": "conversations are kept by previous_response_id only",
    "prompt": "templates are kept at OpenAI; send the words themselves",
    "previous_response_id": "nothing is known of the answers before",
}
"""Members whose being there cannot be overlooked, and why nothing can be made of them."""

_LEFT_OUT = ("context_management", "moderation", "top_logprobs")
_FALSE = b"false"
_ABSENT = msgspec.Raw()


def read_conversation(request: CallRequest) -> Conversation:
    """The request in the canonical form. Raise CallerError (400) that points to the field."""
    fields = request.fields
    for name, reason in IMPOSSIBLE.items():
        if bytes(fields.get(name, b"")) not in ABSENT | {_FALSE}:
            raise unsupported(name, reason)
    held = fields.get("input", _ABSENT)
    said = "" if bytes(held) in ABSENT else decode_caller(INPUT, held, "input")
    items: Sequence[Item] = () if isinstance(said, str) else said
    tools = read_tools(fields.get("tools", _ABSENT), items)
    chosen = read_choice(
        fields.get("tool_choice", _ABSENT), tools.names, parallel=field(fields, "parallel_tool_calls", bool)
    )
    turns, items_left_out = read_items(items, tools.names)
    if isinstance(said, str) and said:
        turns = (Message(role="user", parts=(Text(said),)),)
    text = read_text(fields)
    return Conversation(
        messages=_instructions(fields) + turns,
        tools=tools.tools,
        tool_choice=chosen.choice if tools.tools else None,
        format=_format(text.format),
        reasoning=_reasoning(fields),
        sampling=Sampling(temperature=field(fields, "temperature", float), top_p=field(fields, "top_p", float)),
        max_output_tokens=request.max_output_tokens,
        stream=request.stream,
        user=field(fields, "user", str) or field(fields, "safety_identifier", str) or "",
        tier=field(fields, "service_tier", str) or "",
        cache_key=field(fields, "prompt_cache_key", str) or "",
        left_out=tools.left_out + items_left_out + chosen.left_out + tuple(_settings_left_out(fields, text)),
    )


def _instructions(fields: Fields) -> tuple[Message, ...]:
    said = field(fields, "instructions", str)
    return (Message(role="system", parts=(Text(said),)),) if said else ()


def read_text(fields: Fields) -> TextShape:
    """The member `text`. Raise CallerError (400)."""
    held = fields.get("text", _ABSENT)
    return TextShape() if bytes(held) in ABSENT else decode_caller(TEXT, held, "text")


def _format(said: FormatShape | None) -> Format | None:
    if said is None or said.type == "text":
        return None
    if said.type == "json_object":
        return Format()
    if said.type != "json_schema":
        raise wrong("text.format.type", f"expected 'text', 'json_object' or 'json_schema', got '{said.type}'")
    schema = raw_text(said.schema)
    if not schema:
        raise missing("text.format.schema", "a JSON schema")
    return Format(schema=schema, name=said.name or "", description=said.description or "", strict=said.strict)


def _reasoning(fields: Fields) -> Reasoning | None:
    said = _reasoning_said(fields)
    if said is None:
        return None
    shown = True if said.summary or said.generate_summary else None
    return None if said.effort is None and shown is None else Reasoning(effort=said.effort, shown=shown)


def _reasoning_said(fields: Fields) -> ReasoningShape | None:
    held = fields.get("reasoning", _ABSENT)
    return None if bytes(held) in ABSENT else decode_caller(REASONING, held, "reasoning")


def _settings_left_out(fields: Fields, text: TextShape) -> Iterator[str]:
    """Settings that would have changed the answer."""
    for name in _LEFT_OUT:
        if bytes(fields.get(name, b"")) not in ABSENT:
            yield name
    if text.verbosity not in {None, "medium"}:
        yield "text.verbosity"
    if field(fields, "truncation", str) == "auto":
        yield "truncation"
    if "message.output_text.logprobs" in (field(fields, "include", list[str]) or ()):
        yield "include: message.output_text.logprobs"
    said = _reasoning_said(fields)
    if said is not None and said.mode not in {None, "standard"}:
        yield "reasoning.mode"
