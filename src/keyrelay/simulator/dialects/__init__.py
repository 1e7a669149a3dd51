"""The wire formats that simulated providers speak, one module each, behind one small interface.

    Dialect          model.py           what a format can do: read a request, write an answer, whole or as events
    OpenAI           openai.py          chat, completions, embeddings; passing_through.py: pictures, speech and so on
    Anthropic        anthropic.py       Messages
    Gemini           gemini.py          generateContent
    Cohere           cohere.py          v2
    Ollama           ollama.py          /api

What a format refuses stands beside it in `…_prompt.py`. They share no code with the gateway's own codecs, which they
are there to judge.
"""

from keyrelay.simulator.dialects.anthropic import AnthropicDialect
from keyrelay.simulator.dialects.cohere import CohereDialect
from keyrelay.simulator.dialects.gemini import GeminiDialect
from keyrelay.simulator.dialects.model import Dialect
from keyrelay.simulator.dialects.ollama import OllamaDialect
from keyrelay.simulator.dialects.openai import OpenAIDialect

OPENAI = OpenAIDialect()

_DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI, AnthropicDialect(), GeminiDialect(), CohereDialect(), OllamaDialect())
}
_GEMINI_ARRAY = GeminiDialect(sse=False)


def dialect_of(name: str, query: str) -> Dialect:
    """The dialect of that name; Gemini streams an array where nobody asks for events."""
    if name == "gemini" and "alt=sse" not in query:
        return _GEMINI_ARRAY
    return _DIALECTS[name]


__all__ = ["OPENAI", "Dialect", "dialect_of"]
