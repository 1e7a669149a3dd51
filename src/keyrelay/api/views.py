"""What the views of the control plane share: who may look, and how a document is answered and described.

Callers identify themselves as on the data plane. The operator's secret opens the views only: it sees every client's
requests and serves none.
"""

import hashlib
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request, Response

from keyrelay.api.callers import RequestHead, authenticate
from keyrelay.core.configuration import Client
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret

JSON = "application/json"
_REF = "#/components/schemas/{name}"
SECURITY: dict[str, Any] = {"security": [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}]}
"""What OpenAPI says of each operation of a view."""

_ERRORS: Mapping[int, str] = {
    400: "A parameter is wrong; `param` names it.",
    401: "No secret, or an unknown one.",
    403: "Only the operator may do this.",
    404: "There is no such thing, or it is not kept any more.",
}


class View(Protocol):
    """A group of routes of the control plane."""

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        ...

    def schemas(self) -> dict[str, Any]:
        """The schemas that the routes' descriptions refer to, by name."""
        ...


class Viewer(msgspec.Struct, frozen=True):
    """Who looks: a client by its label, or the operator."""

    client: str
    operator: bool

    def may_see(self, client: str) -> bool:
        """Whether a client's requests may be shown."""
        return self.operator or (bool(client) and client == self.client)


class Access:
    """Says who a request to a view comes from. `clients` gives those let in now, by the digests of their secrets."""

    __slots__ = ("_clients", "_operator")

    def __init__(self, clients: Callable[[], dict[bytes, Client]], operator_secret: Secret) -> None:
        self._clients = clients
        self.configure(operator_secret)

    def configure(self, operator_secret: Secret) -> None:
        """Let in the operator by this secret from now on; nobody by an empty one."""
        secret = operator_secret.reveal().encode()
        self._operator = hashlib.sha256(secret).digest() if secret else b""

    def viewer(self, request: Request) -> Viewer:
        """Who asks. Raise CallerError (401), as the data plane does."""
        head = RequestHead(request.scope)
        if self._operator and compare_digest(hashlib.sha256(head.secret).digest(), self._operator):
            return Viewer("", operator=True)
        return Viewer(authenticate(head, self._clients()).label, operator=False)

    def operator(self, request: Request) -> Viewer:
        """Who asks, if that may change something: the operator, any client while no operator's secret is set.

        Raise CallerError (401, 403).
        """
        viewer = self.viewer(request)
        if self._operator and not viewer.operator:
            message = "This takes the operator's secret (KEYRELAY_OPERATOR_SECRET)."
            raise CallerError(403, message, kind="permission_error", code="operator_only")
        return viewer

    def __repr__(self) -> str:
        return f"<Access of clients{' and an operator' if self._operator else ''}>"


def answer(document: object, status: int = 200) -> Response:
    """A document as JSON, not to be kept by anybody on the way."""
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(document), status_code=status, media_type=JSON, headers=headers)


def described(kind: type, example: object, *errors: int, **more: Any) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation for OpenAPI: a document of this type, and errors by status.

    `more` are further media types of the good answer, by their second word (`plain="…"` for `text/plain`).
    """
    schema = {"$ref": _REF.format(name=kind.__name__)}
    content: dict[str, Any] = {JSON: {"schema": schema, "example": msgspec.to_builtins(example)}}
    content |= {f"text/{name}": {"schema": {"type": "string"}, "example": text} for name, text in more.items()}
    error = {JSON: {"schema": {"$ref": _REF.format(name="Error")}}}
    return {
        200: {"description": "The answer.", "content": content},
        **{status: {"description": _ERRORS[status], "content": error} for status in (401, *errors)},
    }


def schemas_of(*kinds: type) -> dict[str, Any]:
    """The JSON schemas of documents and of all that is in them."""
    return msgspec.json.schema_components(kinds, ref_template=_REF)[1]
