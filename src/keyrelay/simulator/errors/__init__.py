"""Each provider's own way to say no: tables of statuses, bodies and hints, and how they are filled in."""

from collections.abc import Mapping
from typing import Any

import msgspec

from keyrelay.simulator.errors import hosts, openai_like, own_shapes, resellers, shapes
from keyrelay.simulator.errors.reasons import HTML, JSON, ErrorCase, Reason, Voice, fill

VOICES: dict[str, Voice] = {
    "ai21": hosts.AI21,
    "anthropic": own_shapes.ANTHROPIC,
    "azure": openai_like.AZURE,
    "cerebras": own_shapes.CEREBRAS,
    "cloudflare": hosts.CLOUDFLARE,
    "codestral": own_shapes.MISTRAL,
    "cohere": own_shapes.COHERE,
    "deepinfra": hosts.DEEPINFRA,
    "deepseek": openai_like.DEEPSEEK,
    "fireworks": resellers.FIREWORKS,
    "gemini": own_shapes.GEMINI,
    "gemini_native": own_shapes.GEMINI_NATIVE,
    "groq": openai_like.GROQ,
    "huggingface": resellers.HUGGINGFACE,
    "llamacpp": openai_like.VLLM,
    "mistral": own_shapes.MISTRAL,
    "nvidia": hosts.NVIDIA,
    "ollama": openai_like.OLLAMA,
    "ollama_native": openai_like.OLLAMA_NATIVE,
    "openai": openai_like.OPENAI,
    "openrouter": resellers.OPENROUTER,
    "perplexity": hosts.PERPLEXITY,
    "sambanova": resellers.SAMBANOVA,
    "together": resellers.TOGETHER,
    "vllm": openai_like.VLLM,
    "xai": hosts.XAI,
}

_USUAL_VOICE = Voice(shapes.wrapped)


class Refusal(msgspec.Struct, frozen=True):
    """A refusal ready to be sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal(provider_id: str, case: ErrorCase, facts: Mapping[str, Any], *, own: Reason | None = None) -> Refusal:
    """The provider's own answer in this case, with the facts filled in; `own` replaces its words for the case."""
    voice = voice_of(provider_id)
    reason = own or voice.reason(case)
    body = fill(voice.shape(own) if own else voice.body(case), facts)
    headers = tuple((name, str(fill(value, facts))) for name, value in reason.headers)
    if isinstance(body, str):
        return Refusal(reason.status, (("content-type", HTML), *headers), body.encode())
    return Refusal(reason.status, (("content-type", JSON), *headers), msgspec.json.encode(body))


def voice_of(provider_id: str) -> Voice:
    """The provider's table; OpenAI's usual words for one that has none (`ollama_cloud` speaks as `ollama`)."""
    return VOICES.get(provider_id) or VOICES.get(provider_id.partition("_")[0].partition("-")[0], _USUAL_VOICE)
