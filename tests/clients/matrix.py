"""What is tried: clients, provider dialects, features, and the reason for each cell of the table that is a no."""

from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

ROOT = Path(__file__).resolve().parents[2]

Environment = Literal["clients", "clients-older", "node"]
"""Where a program runs: the lock in requirements/ that its environment is made from, or tests/clients/node."""

CHAT_FEATURES = (
    "chat",
    "stream",
    "tools",
    "parallel tools",
    "tool results",
    "images",
    "JSON schema",
    "reasoning",
    "usage",
    "error",
    "cancel",
)
OTHER_FEATURES = (
    "openai: models",
    "openai: completions",
    "openai: embeddings",
    "google-genai: embeddings",
    "ollama: embeddings",
    "openai: images",
    "openai: image edits",
    "openai: speech",
    "openai: transcription",
    "openai: moderation",
)

DIALECTS = ("openai", "anthropic", "gemini", "cohere", "ollama")
"""Providers behind the gateway, each spoken to in the dialect of its name."""

DIRECT = "direct"
"""The simulated provider whose dialect a client speaks, without the gateway: what fails there too is not its doing."""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One client.

    `package` is what it comes in, `program` what tries it. `own` is the provider that speaks its dialect, empty where
    the simulator has none; `behind`: whether it is tried behind the gateway.
    """

    title: str
    package: str
    environment: Environment
    program: str
    own: str = ""
    behind: bool = True
    features: tuple[str, ...] = CHAT_FEATURES

    @property
    def id(self) -> str:
        """Its name in a test."""
        return self.program.replace(".mjs", "-node")

    @property
    def targets(self) -> tuple[str, ...]:
        """Whom it asks."""
        return (*(DIALECTS if self.behind else ()), *((DIRECT,) if self.own else ()))


CLIENTS = (
    Client(
        title="openai, chat completions",
        package="openai",
        environment="clients",
        program="openai_chat",
        own="openai",
    ),
    Client(title="openai, responses", package="openai", environment="clients", program="openai_responses"),
    Client(
        title="openai for Node, chat completions and responses",
        package="openai",
        environment="node",
        program="openai_chat.mjs",
    ),
    Client(
        title="anthropic, messages",
        package="anthropic",
        environment="clients",
        program="anthropic_messages",
        own="anthropic",
    ),
    Client(
        title="@anthropic-ai/sdk for Node, messages",
        package="@anthropic-ai/sdk",
        environment="node",
        program="anthropic_messages.mjs",
        own="anthropic",
    ),
    Client(
        title="google-genai, generateContent",
        package="google-genai",
        environment="clients",
        program="google_genai",
        own="gemini",
    ),
    Client(title="ollama", package="ollama", environment="clients", program="ollama_chat", own="ollama"),
    Client(
        title="cohere",
        package="cohere",
        environment="clients",
        program="cohere_chat",
        own="cohere",
        behind=False,
    ),
    Client(
        title="langchain-openai, chat completions",
        package="langchain-openai",
        environment="clients",
        program="langchain_openai_chat",
    ),
    Client(
        title="langchain-openai, responses",
        package="langchain-openai",
        environment="clients",
        program="langchain_openai_responses",
    ),
    Client(
        title="langchain-anthropic",
        package="langchain-anthropic",
        environment="clients",
        program="langchain_anthropic_chat",
        own="anthropic",
    ),
    Client(
        title="langchain-google-genai",
        package="langchain-google-genai",
        environment="clients-older",
        program="langchain_google_chat",
        own="gemini",
    ),
    Client(
        title="llama-index-llms-openai-like",
        package="llama-index-llms-openai-like",
        environment="clients-older",
        program="llama_index_openai_like",
    ),
    Client(title="pydantic-ai", package="pydantic-ai-slim", environment="clients", program="pydantic_ai_chat"),
    Client(
        title="openai, google-genai and ollama, beyond chat",
        package="openai",
        environment="clients",
        program="beyond_chat",
        features=OTHER_FEATURES,
    ),
)


class Model(msgspec.Struct, frozen=True):
    """The models that one target is asked for, by kind; `chat` stands in for a kind that is not named."""

    chat: str
    vision: str = ""
    reasoning: str = ""
    embeddings: str = ""
    images: str = ""
    speech: str = ""
    transcription: str = ""
    translation: str = ""
    moderation: str = ""


ELSEWHERE = "deepseek-flash"
"""OpenAI's chat completions show no thoughts; DeepSeek's, in the same dialect, do."""

MODELS = MappingProxyType(
    {
        "openai": Model(
            "gpt-6-luna",
            reasoning=ELSEWHERE,
            embeddings="text-embedding-3-small",
            images="gpt-image-1",
            speech="gpt-4o-mini-tts",
            transcription="gpt-4o-transcribe",
            translation="whisper-1",
            moderation="omni-moderation-latest",
        ),
        "anthropic": Model("claude-haiku-5-5"),
        "gemini": Model("gemini-3.8-flash", embeddings="gemini-embedding-001"),
        "cohere": Model(
            "command-a-03-2025",
            vision="command-a-vision-07-2025",
            reasoning="command-a-reasoning-08-2025",
            embeddings="embed-v4.0",
        ),
        "ollama": Model("llama3.2", vision="gemma3", reasoning="qwen3", embeddings="nomic-embed-text"),
    }
)


class Reason(msgspec.Struct, frozen=True):
    """Why cells are a no. Clients by `id`, targets and features are patterns; `|` stands between several."""

    clients: str
    targets: str
    features: str
    text: str

    def covers(self, client: Client, target: str, feature: str) -> bool:
        """Whether this is the reason for a cell."""
        pairs = ((client.id, self.clients), (target, self.targets), (feature, self.features))
        return all(any(fnmatchcase(name, one) for one in patterns.split("|")) for name, patterns in pairs)


REASONS = (
    Reason(
        "openai_chat",
        DIRECT,
        "reasoning",
        "OpenAI's chat completions count thoughts and show none. Behind the gateway, *openai* is DeepSeek here.",
    ),
    Reason(
        "langchain_openai_chat",
        "*",
        "reasoning",
        "langchain-openai drops the thoughts of chat completions (`reasoning_content`), and shows those of responses.",
    ),
    Reason("beyond_chat", "anthropic", "*embeddings", "Anthropic has no embeddings."),
    Reason(
        "beyond_chat",
        "anthropic|gemini|cohere|ollama",
        "*images|*image edits|*speech|*transcription|*moderation",
        "These pass as they are, to a provider that has OpenAI's endpoint for them; this dialect has none.",
    ),
)
"""Each no has to be here, and each one here has to be a no: a test fails otherwise."""


def reason_for(client: Client, target: str, feature: str) -> str:
    """Why a cell is a no; empty for one that has to be a yes."""
    return next((reason.text for reason in REASONS if reason.covers(client, target, feature)), "")
