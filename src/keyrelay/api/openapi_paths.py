"""The operations of the data plane in OpenAPI, dialect by dialect."""

from typing import Any

from keyrelay.api.openapi import ANY_JSON, get, operation, path_parameters, post, query_parameter, upload

_PROMPT = "Say hello."
_MESSAGES = [{"role": "user", "content": _PROMPT}]
_TEXTS = ["a sentence"]
_CONTENTS = {"contents": [{"parts": [{"text": _PROMPT}]}]}
_TO_EMBED = {"content": {"parts": [{"text": _TEXTS[0]}]}}
_BYTES: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_EMBEDDER = "text-embedding-3-small"


def data_plane_paths() -> dict[str, Any]:
    """The paths of the data plane."""
    return {**_openai(), **_opaque(), **_files(), **_responses(), **_anthropic(), **_gemini(), **_ollama(), **_own()}


def _openai() -> dict[str, Any]:
    return {
        "/v1/chat/completions": post(
            "Chat completion",
            "OpenAI's request. `model` is a route (`auto`), `provider/model` or a model name.",
            {"model": "auto", "messages": _MESSAGES, "stream": False},
            streams=True,
        ),
        "/v1/completions": post(
            "Completion", "OpenAI's legacy completion.", {"model": "auto", "prompt": _PROMPT}, streams=True
        ),
        "/v1/embeddings": post(
            "Embeddings", "OpenAI's embeddings.", {"model": _EMBEDDER, "input": _TEXTS}, streams=False
        ),
        "/v1/models": get("Models", "Every name that may be used as `model`, resting or not."),
        "/v1/models/{id}": get("Model", "One of them; the name may hold slashes.", ("id",)),
    }


def _opaque() -> dict[str, Any]:
    documents = ["The tide turns at six.", "Trains run hourly."]
    sound = {"file": "binary", "model": "", "language": "", "prompt": "", "response_format": ""}
    rerank = post(
        "Ranking",
        "Documents by how well they answer a query, passed through.",
        {"model": "cohere/rerank-v3.5", "query": "tide", "documents": documents},
        streams=False,
    )
    return {
        "/v1/images/generations": post(
            "Pictures", "OpenAI's, passed through.", {"model": "gpt-image-1", "prompt": "a lighthouse"}, streams=True
        ),
        "/v1/images/edits": upload(
            "Edited pictures", "A form, passed through.", {"image": "binary", "model": "", "prompt": ""}, streams=True
        ),
        "/v1/images/variations": upload(
            "Varied pictures", "A form, passed through.", {"image": "binary", "model": ""}, streams=False
        ),
        "/v1/audio/speech": post(
            "Speech",
            "Text as sound, passed through under the provider's own content type.",
            {"model": "tts-1", "voice": "alloy", "input": "Good morning."},
            streams=True,
        ),
        "/v1/audio/transcriptions": upload("Transcript", "Sound as text, passed through.", sound, streams=True),
        "/v1/audio/translations": upload("Translation", "Sound as English text, passed through.", sound, streams=False),
        "/v1/moderations": post(
            "Moderation",
            "OpenAI's, passed through; without `model` it is `omni-moderation-latest`.",
            {"input": "Good morning."},
            streams=False,
        ),
        "/v1/rerank": rerank,
        "/v2/rerank": rerank,
    }


def _files() -> dict[str, Any]:
    form = {"file": "binary", "purpose": "", "expires_after[anchor]": "", "expires_after[seconds]": ""}
    send = upload("File", "A file for a provider to keep; the next key is tried when one refuses.", form, streams=False)
    schema = send["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    schema["required"] = ["file", "purpose"]
    provider = query_parameter("provider", "The provider that is to have it.", {"type": "string"})
    send["post"]["parameters"] = [*send["post"]["parameters"], provider]
    listed = get("Own files", "What the client has uploaded; no provider is asked.")
    listed["get"]["parameters"] = [
        query_parameter("purpose", "Files for this purpose only.", {"type": "string"}),
        query_parameter("limit", "So many of them.", {"type": "integer", "minimum": 1, "maximum": 10_000}),
        query_parameter("after", "Those behind this id.", {"type": "string"}),
        query_parameter("order", "By the time of their upload.", {"type": "string", "enum": ["asc", "desc"]}),
    ]
    delete = operation("Delete a file", "Deleted at the provider, with the key that it is with.", ANY_JSON)
    content = operation("Content of a file", "What is in it, piece by piece, under the provider's type.", _BYTES)
    return {
        "/v1/files": {**send, **listed},
        "/v1/files/{id}": {
            **get("File", "What the provider says of one of the client's files.", ("id",)),
            "delete": {**delete, "parameters": path_parameters(("id",))},
        },
        "/v1/files/{id}/content": {"get": {**content, "parameters": path_parameters(("id",))}},
    }


def _responses() -> dict[str, Any]:
    forget = operation("Forget a response", "What goes on from it is lost too.", ANY_JSON)
    return {
        "/v1/responses": post(
            "Response",
            "OpenAI's Responses dialect, answered by any provider. Answers are kept for a day unless `store` is false, "
            "so that `previous_response_id` goes on from them.",
            {"model": "auto", "input": _PROMPT, "stream": False},
            streams=True,
        ),
        "/v1/responses/{id}": {
            **get("Kept response", "An answer that was kept for the client that asks.", ("id",)),
            "delete": {**forget, "parameters": path_parameters(("id",))},
        },
        "/v1/responses/{id}/input_items": get(
            "Input items", "What a kept response answered; `after`, `limit` and `order` page through it.", ("id",)
        ),
    }


def _anthropic() -> dict[str, Any]:
    return {
        "/v1/messages": post(
            "Message",
            "Anthropic's dialect, answered by any provider; its version and beta headers go on to Anthropic.",
            {"model": "auto", "max_tokens": 100, "messages": _MESSAGES},
            streams=True,
        ),
        "/v1/messages/count_tokens": post(
            "Count tokens",
            "How many tokens a message's prompt has, as the ledger would count it; nobody is asked.",
            {"model": "auto", "messages": _MESSAGES},
            streams=False,
        ),
    }


def _gemini() -> dict[str, Any]:
    def verb(name: str, summary: str, description: str, example: dict[str, Any]) -> dict[str, Any]:
        streams = name.startswith("stream")
        described = post(summary, description, example, streams=streams, names=("model",))
        return {f"/v1beta/models/{{model}}:{name}": described}

    return {
        **verb("generateContent", "Content", "Gemini's dialect, answered by any provider.", _CONTENTS),
        **verb(
            "streamGenerateContent",
            "Content as a stream",
            "The same piece by piece: events with `alt=sse`, else one JSON array.",
            _CONTENTS,
        ),
        **verb("countTokens", "Count tokens", "How many tokens a prompt has; nobody is asked.", _CONTENTS),
        **verb("embedContent", "Embedding", "The vector of one text.", _TO_EMBED),
        **verb("batchEmbedContents", "Embeddings", "The vectors of several.", {"requests": [_TO_EMBED]}),
        "/v1beta/models": get("Models for Gemini's clients", "The same names in Gemini's shape."),
        "/v1beta/models/{model}": get("Model for Gemini's clients", "One of them.", ("model",)),
    }


def _ollama() -> dict[str, Any]:
    return {
        "/api/chat": post(
            "Chat for Ollama's clients",
            "Ollama's dialect, answered by any provider; streams lines of JSON unless `stream` is false.",
            {"model": "auto", "messages": _MESSAGES, "stream": False},
            streams=True,
        ),
        "/api/generate": post(
            "Generate for Ollama's clients",
            "One prompt in Ollama's dialect.",
            {"model": "auto", "prompt": _PROMPT, "stream": False},
            streams=True,
        ),
        "/api/embed": post(
            "Embeddings for Ollama's clients",
            "Vectors in Ollama's dialect; `/api/embeddings` is its older form.",
            {"model": _EMBEDDER, "input": _TEXTS},
            streams=False,
        ),
        "/api/show": post("Model for Ollama's clients", "What a model can do.", {"model": "auto"}, streams=False),
        "/api/tags": get("Models for Ollama's clients", "The same names in Ollama's shape."),
        "/api/ps": get("Models that are ready", "All of them, in Ollama's shape."),
        "/api/version": get("Version", "The version of Ollama whose dialect this is."),
    }


def _own() -> dict[str, Any]:
    return {
        "/v1/generate": post(
            "Generate",
            "One prompt in, one text out: `{text, provider, model, usage, finish_reason}`; as a stream, events with "
            "`text` and a last one with `done`.",
            {"prompt": _PROMPT, "model": "auto", "system": "Be brief.", "max_tokens": 50, "stream": False},
            streams=True,
        ),
    }
