"""How each dialect lists models."""

from collections.abc import Iterable
from typing import Any

from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.simulator.styles import style_of

_CREATED = 1_760_000_000
_CREATED_RFC3339 = "2026-01-01T00:00:00Z"
_CONTEXT_TOKENS = 128_000
_OUTPUT_TOKENS = 8192
_BYTES = 4_000_000_000


def model_list(row: ProviderRow, models: Iterable[ModelRow], path: str, *, native: bool) -> Any:
    """The provider's list of models, in its own format where `native`."""
    if path.endswith("/api/tags"):
        return {"models": [_tag(model) for model in models]}
    listed = [model_object(row, model, native=native) for model in models]
    if native and row.native_dialect in ("gemini", "cohere"):
        return {"models": listed}
    if row.native_dialect == "anthropic":
        ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {}
        return {"data": listed, "has_more": False, "first_id": None, "last_id": None, **ends}
    return listed if style_of(row.id).bare_model_list else {"object": "list", "data": listed}


def model_object(row: ProviderRow, model: ModelRow, *, native: bool) -> dict[str, Any]:
    """One model, in the provider's own format where `native`, else as OpenAI lists it."""
    if native and row.native_dialect == "gemini":
        return _gemini(model)
    if native and row.native_dialect == "cohere":
        endpoints = ["embed"] if "embeddings" in model.capabilities else ["chat"]
        return {"name": model.id, "endpoints": endpoints, "context_length": model.context_tokens or _CONTEXT_TOKENS}
    if row.native_dialect == "anthropic":
        return {
            "type": "model",
            "id": model.id,
            "display_name": model.id,
            "created_at": _CREATED_RFC3339,
            "lifecycle": "active",
            "max_input_tokens": model.context_tokens or _CONTEXT_TOKENS,
            "max_tokens": model.max_output_tokens or _OUTPUT_TOKENS,
        }
    name = f"{style_of(row.id).model_list_prefix}{model.id}"
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": row.id}


def _gemini(model: ModelRow) -> dict[str, Any]:
    embeds = "embeddings" in model.capabilities
    methods = ["embedContent", "batchEmbedContents"] if embeds else ["generateContent", "countTokens"]
    return {
        "name": f"models/{model.id}",
        "version": "001",
        "displayName": model.id,
        "inputTokenLimit": model.context_tokens or _CONTEXT_TOKENS,
        "outputTokenLimit": model.max_output_tokens or _OUTPUT_TOKENS,
        "supportedGenerationMethods": methods,
    }


def _tag(model: ModelRow) -> dict[str, Any]:
    details = {"parent_model": "", "format": "gguf", "family": "simulated", "families": ["simulated"]}
    return {
        "name": model.id,
        "model": model.id,
        "modified_at": _CREATED_RFC3339,
        "size": _BYTES,
        "digest": "0" * 64,
        "details": {**details, "parameter_size": "8B", "quantization_level": "Q4_K_M"},
    }
