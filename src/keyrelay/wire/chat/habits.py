"""What single providers of OpenAI's dialect take inside of messages, where quirks do not see.

An unknown provider gets a message as it came when the caller speaks its dialect, and plain OpenAI when not.
"""

from typing import Literal

import msgspec

from keyrelay.wire.dialects import Target

Thoughts = Literal["", "reasoning_content", "reasoning", "reasoning_details", "content"]


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's.

    `thoughts` is the member of an assistant's message that takes thoughts back, `content` for a part of its content,
    empty for none. `needs_thoughts`: it refuses an assistant's message without them. `strict`: it refuses members that
    it does not know. `own`: it knows what only OpenAI has (custom tools, `allowed_tools`, `refusal`). `short_ids`: a
    call's id has nine letters or digits. `system_first`: a system message stands at the beginning or not at all.
    `signs_calls`: it takes Gemini's signatures, and its newer models insist on them. `takes_cache_marks`,
    `takes_top_k` say what it takes beyond OpenAI.
    """

    thoughts: Thoughts = ""
    needs_thoughts: bool = False
    strict: bool = False
    own: bool = False
    short_ids: bool = False
    system_first: bool = False
    signs_calls: bool = False
    takes_cache_marks: bool = False
    takes_top_k: bool = False


def habits_of(target: Target) -> Habits:
    """The habits of a target's provider."""
    return _HABITS.get(target.provider_id, _PLAIN)


_PLAIN = Habits()
_HABITS = {
    "openai": Habits(own=True, strict=True),
    "azure": Habits(own=True, strict=True),
    "gemini": Habits(signs_calls=True, strict=True),
    "groq": Habits(thoughts="reasoning", strict=True),
    "cerebras": Habits(thoughts="reasoning", strict=True),
    "deepseek": Habits(thoughts="reasoning_content", needs_thoughts=True),
    "fireworks": Habits(thoughts="reasoning_content", takes_top_k=True),
    "mistral": Habits(thoughts="content", short_ids=True, system_first=True, strict=True),
    "openrouter": Habits(thoughts="reasoning_details", takes_cache_marks=True, takes_top_k=True),
    "together": Habits(takes_top_k=True),
    "deepinfra": Habits(takes_top_k=True),
}
