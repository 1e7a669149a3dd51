"""Every codec that there is, made once: they keep nothing between calls."""

from types import MappingProxyType

from keyrelay.wire.anthropic.caller import AnthropicCaller
from keyrelay.wire.anthropic.provider import AnthropicProvider
from keyrelay.wire.chat.caller import OpenAICaller
from keyrelay.wire.chat.provider import OpenAIProvider
from keyrelay.wire.cohere.provider import CohereProvider
from keyrelay.wire.dialects import Dialects
from keyrelay.wire.gemini.caller import GeminiCaller
from keyrelay.wire.gemini.provider import GeminiProvider
from keyrelay.wire.ollama.caller import OllamaCaller
from keyrelay.wire.ollama.provider import OllamaProvider
from keyrelay.wire.responses.caller import ResponsesCaller

OPENAI = OpenAICaller()
RESPONSES = ResponsesCaller()
ANTHROPIC = AnthropicCaller()
GEMINI_EVENTS = GeminiCaller(sse=True)
GEMINI_ARRAY = GeminiCaller(sse=False)
OLLAMA_CHAT = OllamaCaller()
OLLAMA_GENERATE = OllamaCaller(generate=True)

DIALECTS = Dialects(
    callers=MappingProxyType(
        {
            "openai": OPENAI,
            "responses": RESPONSES,
            "anthropic": ANTHROPIC,
            "gemini": GEMINI_EVENTS,
            "ollama": OLLAMA_CHAT,
        }
    ),
    providers=MappingProxyType(
        {
            "openai": OpenAIProvider(),
            "anthropic": AnthropicProvider(),
            "gemini": GeminiProvider(),
            "ollama": OllamaProvider(),
            "cohere": CohereProvider(),
        }
    ),
)
