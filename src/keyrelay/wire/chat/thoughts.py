"""Thoughts in messages: plain text in one of two members, or with what proves them in `reasoning_details`.

`reasoning_details` (OpenRouter's) is the one place in this dialect for signatures. Its `format` says whose they are.
"""

from collections.abc import Iterable, Sequence

import msgspec

from keyrelay.core.conversation import Thinking
from keyrelay.wire.chat.shapes import ChatMessage, ContentPart, ThoughtDetail

_FORMATS = {"anthropic": "anthropic-claude-v1", "gemini": "google-gemini-v1", "responses": "openai-responses-v1"}
_SIGNERS = {form: dialect for dialect, form in _FORMATS.items()}
_FAMILIES = {"anthropic": "anthropic/", "gemini": "google/", "responses": "openai/"}


def read_thoughts(message: ChatMessage) -> Sequence[Thinking]:
    """The thoughts of a whole message, without those in its content; details say more than the plain text does."""
    text = message.reasoning_content or message.reasoning or ""
    details = _details(message)
    if len(details) == 1 and text and not (details[0].text or details[0].redacted):
        return [msgspec.structs.replace(details[0], text=text)]  # a client put the pieces of a stream together so
    return details or ([Thinking(text=text)] if text else ())


def read_thought_pieces(delta: ChatMessage, *, plain: bool) -> Sequence[Thinking]:
    """The thoughts of a delta.

    In a stream that has `plain` text, details say the same again, so that only what proves it is taken from them.
    """
    text = delta.reasoning_content or delta.reasoning or ""
    details = _details(delta)
    if plain:
        details = [thought for thought in details if thought.signature or thought.redacted]
        texts = (text, *("" for _ in details))
        details = [msgspec.structs.replace(thought, text=words) for thought, words in zip(details, texts, strict=False)]
    return details or ([Thinking(text=text)] if text else ())


def _details(message: ChatMessage) -> list[Thinking]:
    details = message.reasoning_details
    return [thought for detail in details if (thought := _read_detail(detail)) is not None] if details else []


def _read_detail(detail: ThoughtDetail) -> Thinking | None:
    text = detail.text or detail.summary or ""
    signature = detail.signature or ""
    redacted = detail.data or ""
    if not (text or signature or redacted):
        return None
    signed_by = _SIGNERS.get(detail.format or "", "openai") if signature or redacted else ""
    return Thinking(text=text, signature=signature, redacted=redacted, signed_by=signed_by)


def thought_text(part: ContentPart) -> str:
    """The words of Mistral's thinking part."""
    thinking = part.thinking
    return "".join(piece.text for piece in thinking) if isinstance(thinking, list) else thinking or ""


def joined_thoughts(thoughts: Iterable[Thinking]) -> str:
    """The words of thoughts."""
    return "".join(thought.text for thought in thoughts)


def write_details(thoughts: Iterable[Thinking]) -> list[dict[str, object]]:
    """Thoughts as `reasoning_details`."""
    details = []
    for index, thought in enumerate(thoughts):
        detail: dict[str, object] = {"type": "reasoning.text", "text": thought.text}
        if thought.redacted:
            detail = {"type": "reasoning.encrypted", "data": thought.redacted}
        elif thought.signature:
            detail["signature"] = thought.signature
        if thought.signed_by:
            detail["format"] = _FORMATS.get(thought.signed_by, "unknown")
        details.append({**detail, "index": index})
    return details


def takes_signature(thought: Thinking, model: str) -> bool:
    """Whether a model behind OpenRouter can be given a signature: one of its own maker, or that OpenRouter made."""
    return thought.signed_by == "openai" or model.startswith(_FAMILIES.get(thought.signed_by, "\0"))
