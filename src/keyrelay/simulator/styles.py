"""What providers do differently inside an otherwise OpenAI-shaped answer, as a table."""

import msgspec


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's habits.

    `reasoning_field` is the member that carries reasoning text, empty where none does. `reasoning_apart`:
    `completion_tokens` leaves reasoning tokens out. `thinking_parts`: thoughts are a part of a content that is then a
    list. `call_id` makes the id of a call of hexadecimal digits. `signs_calls`: calls carry Google's thought
    signatures. `cache_counts`: what was cached and what not is counted once more on top of the usage. `details`: the
    usage has its details even when there is nothing to say. `opening_comment` is an SSE comment before the first
    event. `x_groq` repeats the usage under that name. `bare_model_list` lists models without an envelope.
    """

    reasoning_field: str = ""
    reasoning_apart: bool = False
    thinking_parts: bool = False
    call_id: str = "call_{}"
    signs_calls: bool = False
    cache_counts: bool = False
    details: bool = False
    opening_comment: str = ""
    x_groq: bool = False
    bare_model_list: bool = False
    model_list_prefix: str = ""
    blocks_with_200: bool = False


_PLAIN = Style()
_REASONING_CONTENT = Style(reasoning_field="reasoning_content")
_REASONING = Style(reasoning_field="reasoning")
_MISTRAL = Style(thinking_parts=True, call_id="{:.9}")

STYLES: dict[str, Style] = {
    "openai": Style(details=True),
    "azure": Style(details=True),
    "deepseek": Style(reasoning_field="reasoning_content", cache_counts=True, details=True),
    "fireworks": _REASONING_CONTENT,
    "sambanova": _REASONING_CONTENT,
    "vllm": _REASONING_CONTENT,
    "llamacpp": _REASONING_CONTENT,
    "xai": Style(reasoning_field="reasoning_content", reasoning_apart=True),
    "together": Style(reasoning_field="reasoning_content", bare_model_list=True),
    "groq": Style(reasoning_field="reasoning", x_groq=True),
    "cerebras": _REASONING,
    "huggingface": _REASONING,
    "mistral": _MISTRAL,
    "codestral": _MISTRAL,
    "ollama": _REASONING,
    "openrouter": Style(reasoning_field="reasoning", opening_comment="OPENROUTER PROCESSING"),
    "gemini": Style(model_list_prefix="models/", blocks_with_200=True, signs_calls=True),
}


def style_of(provider_id: str) -> Style:
    """The provider's habits; OpenAI's for one that the table does not name."""
    return STYLES.get(provider_id, _PLAIN)
