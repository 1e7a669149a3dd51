"""What the views of the control plane share: how a document is answered and described."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Response

JSON = "application/json"
_REF = "#/components/schemas/{name}"
SECURITY: dict[str, Any] = {"security": [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}]}
"""What OpenAPI says of each operation of a view."""

_ERRORS: Mapping[int, str] = {
    400: "A parameter is wrong; `param` names it.",
    401: "No secret, or an unknown one.",
    403: "Who calls may not do this.",
    404: "There is no such thing, or it is not kept any more.",
    409: "It does not fit what is there.",
    413: "The body is too large.",
    415: "The body is not JSON by its type.",
    422: "The configuration would not be valid with it; the message says why.",
    429: "Too many attempts; `retry-after` says when to try again.",
}


class View(Protocol):
    """A group of routes of the control plane."""

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        ...

    def schemas(self) -> dict[str, Any]:
        """The schemas that the routes' descriptions refer to, by name."""
        ...


def answer(document: object, status: int = 200) -> Response:
    """A document as JSON, not to be kept by anybody on the way."""
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(document), status_code=status, media_type=JSON, headers=headers)


def described(
    kind: type, example: object, *errors: int, status: int = 200, **more: Any
) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation for OpenAPI: a document of this type, and errors by status.

    `more` are further media types of the good answer, by their second word (`plain="…"` for `text/plain`).
    """
    schema = {"$ref": _REF.format(name=kind.__name__)}
    content: dict[str, Any] = {JSON: {"schema": schema, "example": msgspec.to_builtins(example)}}
    content |= {f"text/{name}": {"schema": {"type": "string"}, "example": text} for name, text in more.items()}
    return {
        status: {"description": "The answer.", "content": content},
        **{each: described_error(each) for each in (401, *errors)},
    }


def described_error(status: int) -> dict[str, Any]:
    """The answer of an operation that is refused with a status, for OpenAPI."""
    return {
        "description": _ERRORS[status],
        "content": {JSON: {"schema": {"$ref": _REF.format(name="Error")}}},
    }


def schemas_of(*kinds: type) -> dict[str, Any]:
    """The JSON schemas of documents and of all that is in them."""
    return msgspec.json.schema_components(kinds, ref_template=_REF)[1]
