"""What Ollama's clients ask about models: `/api/tags`, `/api/show`, `/api/ps`, `/api/version` and `/`.

The members and types are those that clients insist on: Zed refuses a listing without `details`, VS Code's Copilot a
server that is older than 0.6.4 and a model that does not say its architecture and context length. Of files nothing is
known here, so sizes are 0 and digests are made of the name.
"""

import hashlib

import msgspec

from keyrelay.core.providers import Capability
from keyrelay.wire.body import read_members
from keyrelay.wire.ollama.answering import rfc3339
from keyrelay.wire.ollama.caller import model_name

GREETING = b"Ollama is running"
"""The body of `GET /`, as plain text; some clients look for these words."""

OLLAMA_VERSION = "0.13.0"
"""The version of Ollama whose interface this is."""

_CAPABILITIES: tuple[tuple[Capability, str], ...] = (
    ("chat", "completion"),
    ("embeddings", "embedding"),
    ("tools", "tools"),
    ("vision", "vision"),
    ("reasoning", "thinking"),
)
_encode = msgspec.json.Encoder().encode


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its clients are told of it.

    `family` stands for its architecture (`llama`, or the provider's id); `context_tokens` and `embedding_length` are 0
    where they are not known. `modified_s` (epoch) is when it came to be known.
    """

    name: str
    family: str
    modified_s: float
    capabilities: tuple[Capability, ...] = ("chat",)
    context_tokens: int = 0
    embedding_length: int = 0
    parameter_size: str = ""
    quantization: str = ""


class _Details(msgspec.Struct):
    parent_model: str
    format: str
    family: str
    families: tuple[str, ...]
    parameter_size: str
    quantization_level: str


def tags_body(models: tuple[ListedModel, ...]) -> bytes:
    """The body of `/api/tags`: all models."""
    return _encode({"models": [_entry(model) for model in models]})


def running_body(models: tuple[ListedModel, ...], expires_s: float) -> bytes:
    """The body of `/api/ps`: the models that are ready to answer, until `expires_s` (epoch)."""
    running = {"expires_at": rfc3339(expires_s), "size_vram": 0}
    return _encode(
        {"models": [{**_entry(model), **running, "context_length": model.context_tokens} for model in models]}
    )


def shown_name(body: bytes, *, max_depth: int) -> str:
    """The model that a request of `/api/show` asks for; raise CallerError (400)."""
    return model_name(read_members(body, max_depth=max_depth))


def show_body(model: ListedModel) -> bytes:
    """The body of `/api/show`: one model."""
    info: dict[str, object] = {"general.architecture": model.family, "general.basename": model.name}
    if model.context_tokens:
        info[f"{model.family}.context_length"] = model.context_tokens
    if model.embedding_length:
        info[f"{model.family}.embedding_length"] = model.embedding_length
    return _encode(
        {
            "license": "",
            "modelfile": "",
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": _details(model),
            "model_info": info,
            "capabilities": capability_words(model.capabilities),
            "modified_at": rfc3339(model.modified_s),
        }
    )


def version_body(version: str = OLLAMA_VERSION) -> bytes:
    """The body of `/api/version`."""
    return _encode({"version": version})


def capability_words(capabilities: tuple[Capability, ...]) -> list[str]:
    """What a model can do in Ollama's words."""
    return [word for capability, word in _CAPABILITIES if capability in capabilities]


def _details(model: ListedModel) -> _Details:
    return _Details("", "", model.family, (model.family,), model.parameter_size, model.quantization)


def _entry(model: ListedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": rfc3339(model.modified_s),
        "size": 0,
        "digest": hashlib.sha256(model.name.encode()).hexdigest(),
        "details": _details(model),
        "capabilities": capability_words(model.capabilities),
    }
