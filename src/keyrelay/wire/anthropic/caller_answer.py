"""A whole answer as Anthropic's message, and what a streamed one has in common with it."""

from collections.abc import Iterator, Sequence

import msgspec

from keyrelay.core.conversation import Answer, Refusal, Text, Thinking, Tokens, ToolCall
from keyrelay.wire.anthropic.endings import StopDetails, Usage, stop_reason_of, usage_of
from keyrelay.wire.anthropic.ids import fitted
from keyrelay.wire.anthropic.shapes import RedactedThinkingBlock, TextBlock, ThinkingBlock, ToolUseBlock
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.parts import characters_of, encoded_text, estimated_tokens, json_object, lowered_arguments

AnswerBlock = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock

_encoder = msgspec.json.Encoder()


class MessageShape(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the assistant's."""

    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: Sequence[AnswerBlock] = ()
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | msgspec.UnsetType = msgspec.UNSET
    usage: Usage


def write_answer(answer: Answer, facts: AnswerFacts) -> bytes:
    """The body of a whole answer."""
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    refusal = "".join(part.text for part in answer.parts if isinstance(part, Refusal))
    tokens = answer.tokens
    if tokens is None:
        tokens = Tokens(input=facts.input_tokens, output=estimated_tokens(sum(map(characters_of, answer.parts))))
    message = MessageShape(
        id=message_id(facts),
        model=facts.model,
        content=list(_blocks(answer, shown=shows_thoughts(facts))),
        stop_reason=stop_reason_of(answer.finish, called=bool(calls), refused=bool(refusal)),
        stop_sequence=answer.stop_sequence or None,
        stop_details=StopDetails(explanation=refusal) if refusal else msgspec.UNSET,
        usage=usage_of(tokens),
    )
    return _encoder.encode(message)


def message_id(facts: AnswerFacts) -> str:
    """The answer's id in this dialect."""
    return f"msg_{facts.id}"


def thinking_signature(part_signature: str, signed_by: str) -> str:
    """A signature, where it is this dialect's; empty otherwise."""
    return part_signature if signed_by == "anthropic" else ""


def shows_thoughts(facts: AnswerFacts) -> bool:
    """Whether the caller asked for thoughts.

    Some clients take a block of thoughts that nobody signed for a fault, others show it as words: only those who turned
    thinking on are given them. What has to come back is remembered here (`engine.continuity`).
    """
    reasoning = facts.conversation.reasoning
    return reasoning is not None and bool(reasoning.budget_tokens) and reasoning.shown is not False


def _blocks(answer: Answer, *, shown: bool) -> Iterator[AnswerBlock]:
    for part in answer.parts:
        if isinstance(part, Text | Refusal):
            yield TextBlock(text=part.text)
        elif isinstance(part, ToolCall):
            yield ToolUseBlock(id=fitted(part.id), name=part.name, input=_input(part))
        elif isinstance(part, Thinking) and shown:
            if not part.redacted:
                yield ThinkingBlock(thinking=part.text, signature=thinking_signature(part.signature, part.signed_by))
            elif part.signed_by == "anthropic":
                yield RedactedThinkingBlock(data=part.redacted)


def _input(call: ToolCall) -> msgspec.Raw:
    """The arguments as an object; text that is none becomes its `input`, so that the client sees what was said."""
    found = json_object(lowered_arguments(call))
    return msgspec.Raw(encoded_text({"input": call.arguments}).encode()) if found is None else found
