"""Which path asks for what, in which dialect: one table."""

import msgspec

GENERATED = frozenset({"chat", "completions"})
"""Operations that a model answers with words."""

FREE = frozenset({"count_tokens", "show"})
"""Operations that ask for a model and use up no quota."""

LISTED = GENERATED | FREE | {"embeddings"}
"""Operations that only a model of the catalogue answers; the others take any name."""

LOOKED_UP = frozenset({"models", "model", "probe"})
"""Operations that ask a key and nothing else."""


class Route(msgspec.Struct, frozen=True):
    """What a path asks for."""

    operation: str
    dialect: str = "openai"
    streams: bool = False


_ENDINGS: tuple[tuple[str, Route], ...] = (
    ("/chat/completions", Route("chat")),
    ("/v1/messages", Route("chat", "anthropic")),
    ("/v1/messages/count_tokens", Route("count_tokens", "anthropic")),
    (":generateContent", Route("chat", "gemini")),
    (":streamGenerateContent", Route("chat", "gemini", streams=True)),
    (":countTokens", Route("count_tokens", "gemini")),
    (":embedContent", Route("embeddings", "gemini")),
    (":batchEmbedContents", Route("embeddings", "gemini")),
    ("/v2/chat", Route("chat", "cohere")),
    ("/v2/embed", Route("embeddings", "cohere")),
    ("/v2/rerank", Route("rerank", "cohere")),
    ("/api/chat", Route("chat", "ollama")),
    ("/api/generate", Route("completions", "ollama")),
    ("/api/embed", Route("embeddings", "ollama")),
    ("/api/embeddings", Route("embeddings", "ollama")),  # before OpenAI's, which ends alike
    ("/api/show", Route("show", "ollama")),
    ("/api/tags", Route("models", "ollama")),
    ("/completions", Route("completions")),
    ("/embeddings", Route("embeddings")),
    ("/images/generations", Route("images")),
    ("/images/edits", Route("image_edits")),
    ("/images/variations", Route("image_variations")),
    ("/audio/speech", Route("speech")),
    ("/audio/transcriptions", Route("transcriptions")),
    ("/audio/translations", Route("translations")),
    ("/moderations", Route("moderations")),
    ("/rerank", Route("rerank")),
    ("/models", Route("models")),
    ("/files", Route("files")),
)
_FILES = "/files/"
_FILE = Route("files")
_PROBE = Route("probe")
_MODEL = Route("model")


def route_of(path: str) -> Route:
    """What a path asks for: `models`, `model` (one of them), or `probe` for anything that the table does not have."""
    for ending, route in _ENDINGS:
        if path.endswith(ending):
            return route
    if _FILES in path:
        return _FILE
    return _MODEL if "/models/" in path else _PROBE
