"""The data plane in OpenAPI.

Its operations are served outside FastAPI, so they are described here and merged into FastAPI's document; `/docs` and
`/redoc` then list both planes.
"""

from typing import Any

from keyrelay.quota.fairness import Priority

_JSON = "application/json"
_EVENTS = "text/event-stream"


def data_plane_paths() -> dict[str, Any]:
    """The paths of the data plane."""
    return {
        "/v1/chat/completions": _post(
            "Chat completion",
            "OpenAI's request, passed on as it is. `model` is a route (`auto`), `provider/model` or a model name.",
            {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}], "stream": False},
            streams=True,
        ),
        "/v1/completions": _post(
            "Completion", "OpenAI's legacy completion.", {"model": "auto", "prompt": "Say hello."}, streams=True
        ),
        "/v1/embeddings": _post(
            "Embeddings",
            "OpenAI's embeddings.",
            {"model": "text-embedding-3-small", "input": ["a sentence"]},
            streams=False,
        ),
        "/v1/generate": _post(
            "Generate",
            "One prompt in, one text out: `{text, provider, model, usage, finish_reason}`; as a stream, events with "
            "`text` and a last one with `done`.",
            {"prompt": "Say hello.", "model": "auto", "system": "Be brief.", "max_tokens": 50, "stream": False},
            streams=True,
        ),
        "/v1/models": _get("Models", "Every name that may be used as `model`, resting or not."),
        "/v1/models/{id}": _get("Model", "One of them; the name may hold slashes.", ("id",)),
    }


def components() -> dict[str, Any]:
    """Schemas and the ways to send the client secret."""
    return {
        "schemas": {"Error": _ERROR},
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A client secret of Keyrelay."},
            "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "x-goog-api-key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
        },
    }


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "keyrelay": {
                    "type": "object",
                    "description": "Request id, attempts, candidates with reasons and times, what to do next.",
                },
            },
        }
    },
}

_ERRORS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No client secret, or an unknown one.",
    "404": "No configured provider knows the model; near matches are named.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "429": "Only limits stand in the way; `retry-after` says for how long.",
    "502": "Every provider that was asked failed.",
    "503": "Nothing can serve just now; each candidate's reason is in `error.keyrelay`.",
    "504": "The request's deadline passed.",
}

_ANSWER_HEADERS = {
    "x-request-id": "Id of the request, also in the log.",
    "x-keyrelay-provider": "Provider that answered.",
    "x-keyrelay-model": "Model that answered.",
    "x-keyrelay-key": "Label of the key that was used.",
    "x-keyrelay-attempts": "Calls that it took.",
    "x-keyrelay-cost-usd": "Cost at list prices; on whole answers of priced models.",
    "x-keyrelay-overhead-ms": "Keyrelay's own share of the time so far.",
    "x-keyrelay-cache": "Where the cache had a say: `hit`, `shared` or `miss`.",
    "age": "Seconds since a kept answer was made.",
}

_REQUEST_HEADERS = (
    (
        "x-keyrelay-priority",
        "The class in which to wait for quota.",
        {"type": "string", "enum": [priority.value for priority in Priority], "default": Priority.INTERACTIVE.value},
    ),
    ("x-keyrelay-deadline-ms", "Answer or fail within so many milliseconds.", {"type": "integer", "minimum": 1}),
    ("x-keyrelay-prefer", "Provider to try first.", {"type": "string"}),
    (
        "x-keyrelay-cache",
        "`no-store`, `refresh`, `ttl=SECONDS`, `off`, `deterministic`, `all`, separated by commas.",
        {"type": "string"},
    ),
)


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in _ANSWER_HEADERS.items()}
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "The answer.", "headers": headers, "content": content},
        **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
    }


def _operation(summary: str, description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["data plane"],
        "summary": summary,
        "description": description,
        "security": [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}],
        "responses": _responses(content),
    }


def _post(summary: str, description: str, example: dict[str, Any], *, streams: bool) -> dict[str, Any]:
    content: dict[str, Any] = {_JSON: {"schema": {"type": "object"}}}
    if streams:
        content[_EVENTS] = {"schema": {"type": "string"}}
    operation = _operation(summary, description, content)
    operation["parameters"] = [
        {"name": name, "in": "header", "description": text, "schema": schema} for name, text, schema in _REQUEST_HEADERS
    ]
    operation["requestBody"] = {
        "required": True,
        "content": {_JSON: {"schema": {"type": "object", "additionalProperties": True}, "example": example}},
    }
    return {"post": operation}


def _get(summary: str, description: str, parameters: tuple[str, ...] = ()) -> dict[str, Any]:
    operation = _operation(summary, description, {_JSON: {"schema": {"type": "object"}}})
    operation["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
    ]
    return {"get": operation}
