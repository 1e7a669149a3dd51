"""Answers, as any provider's reader may give them."""

import json

from hypothesis import strategies as st

from keyrelay.core.conversation import Answer, AnswerPart, Finish, Refusal, Text, Thinking, Tokens, ToolCall
from tests.wire.responses.asked import asked

TOOLS = [
    {"type": "function", "name": "plain"},
    {"type": "custom", "name": "patch"},
    {
        "type": "namespace",
        "name": "ns",
        "description": "Tools.",
        "tools": [{"type": "function", "name": "run"}, {"type": "custom", "name": "exec"}],
    },
    {"type": "tool_search", "execution": "client"},
]
REQUEST = asked(tools=TOOLS, stream=True)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
WORDS = TEXTS.filter(bool)
ARGUMENTS = st.dictionaries(TEXTS, st.integers() | TEXTS | st.none(), max_size=3).map(json.dumps)


def _thinking(text: str, signature: str, redacted: str, signed_by: str) -> Thinking:
    return Thinking(
        text=text, signature=signature, redacted=redacted, signed_by=signed_by if signature or redacted else ""
    )


THOUGHTS = st.builds(_thinking, TEXTS, TEXTS, TEXTS, st.sampled_from(["anthropic", "gemini"])).filter(
    lambda thought: bool(thought.text or thought.signature or thought.redacted)
)
IDS = st.text("abc123", min_size=1, max_size=6).map("call_{}".format)
CALLS = st.builds(
    ToolCall, IDS, st.sampled_from(["plain", "ns__run", "tool_search", "undeclared"]), ARGUMENTS
) | st.builds(ToolCall, IDS, st.sampled_from(["patch", "ns__exec", "unknown"]), TEXTS, st.just(True))
PARTS = st.lists(st.builds(Text, WORDS) | THOUGHTS | st.builds(Refusal, WORDS) | CALLS, max_size=8)
FINISHES: st.SearchStrategy[Finish] = st.sampled_from(
    ["stop", "stop_sequence", "length", "tool_calls", "content_filter"]
)
COUNTS = st.integers(0, 1000)
TOKENS = st.builds(Tokens, input=COUNTS, output=COUNTS, cached=COUNTS, cache_written=COUNTS, reasoning=COUNTS)
ANSWERS = st.builds(Answer, parts=PARTS.map(tuple), finish=FINISHES, tokens=st.none() | TOKENS)


def joined(answer: Answer) -> Answer:
    """An answer as it is after its pieces have gone by: neighbours of one kind are one part, thoughts until signed."""
    parts: list[AnswerPart] = []
    for part in answer.parts:
        last = parts[-1] if parts else None
        if isinstance(part, Text) and isinstance(last, Text):
            parts[-1] = Text(last.text + part.text)
        elif isinstance(part, Refusal) and isinstance(last, Refusal):
            parts[-1] = Refusal(last.text + part.text)
        elif isinstance(part, Thinking) and isinstance(last, Thinking) and not last.signature and not last.redacted:
            parts[-1] = _thinking(last.text + part.text, part.signature, part.redacted, part.signed_by)
        else:
            parts.append(part)
    return Answer(parts=tuple(parts), finish=answer.finish, tokens=answer.tokens)
