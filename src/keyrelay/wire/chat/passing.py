"""What changes in the messages of a caller of this very dialect, on their way to a provider of it.

Callers send back what they were given: the thoughts of one provider, the signatures of another, and ids that a third
does not take. Only such members change, and only for providers that are known to mind.
"""

import msgspec

from keyrelay.core.conversation import Text, Thinking
from keyrelay.core.providers import HabitsRow
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.chat.choices import content_parts
from keyrelay.wire.chat.history import fitting
from keyrelay.wire.chat.shapes import ChatMessage
from keyrelay.wire.chat.thoughts import joined_thoughts, read_thoughts

_MARKS = (b'"reasoning', b'"extra_content"')
_THINKING_PART = b'"thinking"'
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")

_Members = dict[str, msgspec.Raw]
_messages = msgspec.json.Decoder(list[_Members])
_shapes = msgspec.json.Decoder(list[ChatMessage])
_calls = msgspec.json.Decoder(list[_Members])
_id = msgspec.json.Decoder(str | None)
_encoder = msgspec.json.Encoder()


def adapted_messages(fields: dict[str, msgspec.Raw], habits: HabitsRow) -> dict[str, msgspec.Raw]:
    """The members of a body with messages as the provider takes them; the same object when nothing changes."""
    raw = fields["messages"]
    text = bytes(raw)
    strips = habits.strict and any(mark in text for mark in _MARKS)
    fills = habits.needs_thoughts and b'"assistant"' in text
    shortens = habits.short_ids and b"tool_call" in text
    splits = habits.thoughts != "content" and _THINKING_PART in text
    if not (strips or fills or shortens or splits):
        return fields
    try:
        messages = _messages.decode(raw)
        changed = [
            _adapted(message, shape, habits) for message, shape in zip(messages, _shapes.decode(raw), strict=True)
        ]
    except JSON_ERRORS:
        return fields  # the provider's to refuse
    if all(new is old for new, old in zip(changed, messages, strict=True)):
        return fields
    return {**fields, "messages": msgspec.Raw(_encoder.encode(changed))}


def _adapted(message: _Members, shape: ChatMessage, habits: HabitsRow) -> _Members:
    """A message as the provider takes it; the same object when nothing changes."""
    changed: _Members = {}
    if shape.tool_calls:
        calls = _calls.decode(message["tool_calls"])
        kept = [_adapted_call(call, habits) for call in calls]
        if any(new is not old for new, old in zip(kept, calls, strict=True)):
            changed["tool_calls"] = msgspec.Raw(_encoder.encode(kept))
    if shape.tool_call_id and habits.short_ids:
        changed["tool_call_id"] = _shortened(shape.tool_call_id, habits)
    if shape.role == "assistant":
        changed |= _thoughts(shape, habits)
    dropped = [name for name in _THOUGHTS if habits.strict and name != habits.thoughts and name in message]
    if not changed and not dropped:
        return message
    return {name: raw for name, raw in {**message, **changed}.items() if name not in dropped}


def _thoughts(shape: ChatMessage, habits: HabitsRow) -> _Members:
    """An assistant's thoughts where the provider takes them, and no thoughts in the content but at Mistral."""
    changed: _Members = {}
    thoughts = list(read_thoughts(shape))
    if habits.thoughts != "content" and isinstance(shape.content, list):
        parts = content_parts(shape)
        beside = [part for part in parts if isinstance(part, Thinking)]
        if beside:
            words = "".join(part.text for part in parts if isinstance(part, Text))
            changed["content"] = msgspec.Raw(_encoder.encode(words))
        thoughts += beside
    member = habits.thoughts
    if member in {"reasoning", "reasoning_content"} and not getattr(shape, member):
        text = joined_thoughts(thoughts)
        if text or habits.needs_thoughts:
            changed[member] = msgspec.Raw(_encoder.encode(text or " "))
    return changed


def _adapted_call(call: _Members, habits: HabitsRow) -> _Members:
    changed = dict(call)
    if habits.strict and not habits.signs_calls:
        changed.pop("extra_content", None)
    if habits.short_ids and "id" in call:
        changed["id"] = _shortened(_id.decode(call["id"]) or "", habits)
    return call if changed == call else changed


def _shortened(call_id: str, habits: HabitsRow) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(fitting(call_id, habits)))
