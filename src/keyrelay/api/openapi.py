"""The data plane in OpenAPI: what its operations have in common. `openapi_paths` has the operations themselves.

They are served outside FastAPI, so they are described here and merged into FastAPI's document; `/docs` and `/redoc`
then list both planes.
"""

from typing import Any

from keyrelay.quota.fairness import Priority

_JSON = "application/json"
ANY_JSON: dict[str, Any] = {_JSON: {"schema": {"type": "object"}}}
"""Content that is a JSON object of a dialect's own."""
_EVENTS = "text/event-stream"


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
    "x-keyrelay-usage": "`estimated` where the provider did not say what was used.",
    "x-keyrelay-left-out": "What of the request the provider could not be told, and of its answer the caller.",
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
    ("x-keyrelay-store", "`no`: nothing of prompt and answer is kept.", {"type": "string", "enum": ["no", "yes"]}),
)


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in _ANSWER_HEADERS.items()}
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "The answer.", "headers": headers, "content": content},
        **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
    }


def operation(summary: str, description: str, content: dict[str, Any]) -> dict[str, Any]:
    """What every operation of the data plane has: who may call, what it answers."""
    return {
        "tags": ["data plane"],
        "summary": summary,
        "description": description,
        "security": [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}],
        "responses": _responses(content),
    }


def post(
    summary: str, description: str, example: dict[str, Any], *, streams: bool, names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An endpoint that takes a JSON body; `names` are those in its path."""
    content: dict[str, Any] = {_JSON: {"schema": {"type": "object"}}}
    if streams:
        content[_EVENTS] = {"schema": {"type": "string"}}
    described = operation(summary, description, content)
    described["parameters"] = path_parameters(names) + [
        {"name": name, "in": "header", "description": text, "schema": schema} for name, text, schema in _REQUEST_HEADERS
    ]
    described["requestBody"] = {
        "required": True,
        "content": {_JSON: {"schema": {"type": "object", "additionalProperties": True}, "example": example}},
    }
    return {"post": described}


def upload(summary: str, description: str, fields: dict[str, str], *, streams: bool) -> dict[str, Any]:
    """An endpoint that takes a form: `fields` are names and formats, the first of them a file."""
    described = post(summary, description, {}, streams=streams)
    schema = {
        "type": "object",
        "required": ["model", next(iter(fields))],
        "properties": {name: {"type": "string", **({"format": form} if form else {})} for name, form in fields.items()},
        "additionalProperties": True,
    }
    described["post"]["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return described


def get(summary: str, description: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """An endpoint that is only looked at."""
    described = operation(summary, description, ANY_JSON)
    described["parameters"] = path_parameters(names)
    return {"get": described}


def path_parameters(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Parameters for the names in a path."""
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def query_parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """One parameter of an address."""
    return {"name": name, "in": "query", "description": description, "schema": schema}
