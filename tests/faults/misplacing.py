"""Requests with a secret in a place where none belongs, for every operation of an OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tests.e2e.harness import chat

_CHECKED = frozenset(
    {"limits", "limit", "keys", "which", "rules", "role", "provider", "base_url", "dialect", "expires_at"}
)
"""Fields whose values are looked at, so that a secret in them is refused."""

ENDLESS = frozenset({"/api/v1/events"})
_KNOWN = {"{provider}/{label}": "groq/stored", "{provider}": "echo", "{label}": "app", "{model}": "m", "{name}": "hook"}


def filled(path: str) -> str:
    """A path with names that there are."""
    for name, value in _KNOWN.items():
        path = path.replace(name, value)
    return path.replace("{", "").replace("}", "")


def wrong_bodies(operation: Mapping[str, Any], schemas: Mapping[str, Any], secret: str) -> list[object]:
    """Bodies that are refused, with a secret in each place in turn."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if not name:
        return []
    fields = schemas[name].get("properties", {})
    values: tuple[object, ...] = (secret, [secret], {secret: secret})
    wrong: list[object] = [{field: value, "zz": 0} for field in fields for value in values]
    wrong += [{field: value} for field in _CHECKED & set(fields) for value in values]
    return [*wrong, {secret: 1}, [secret], secret, f'{{"{secret}": "{secret}'.encode()]


Asked = tuple[str, str, object]
"""Method, path and body."""

HEADERS = ("cookie", "x_csrf_token", "origin", "content_type", "x_request_id", "x_keyrelay_tags", "host", "accept")


def in_control(document: Mapping[str, Any], secret: str) -> Iterator[Asked]:
    """To the control plane: in paths, in queries, in every field of every body."""
    encoded = quote(secret, safe="")
    for path, operations in document["paths"].items():
        if not path.startswith("/api/v1") or path in ENDLESS:
            continue
        for method, operation in operations.items():
            place = path
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    place = place.replace(f"{{{parameter['name']}}}", encoded)
                else:
                    yield method.upper(), f"{filled(path)}?{parameter['name']}={encoded}", None
            if place != path:
                yield method.upper(), place, {}
            for body in wrong_bodies(operation, document["components"]["schemas"], secret):
                yield method.upper(), filled(path), body


def in_data(secret: str) -> Iterator[Asked]:
    """To the data plane."""
    encoded = quote(secret, safe="")
    for path in (f"/v1/{encoded}", f"/{encoded}", f"/v1/models/{encoded}", f"/v1beta/models/{encoded}:x"):
        yield "GET", path, None
    wrong: object = {"model": 1, secret: secret}
    for body in (chat(secret), wrong, {"messages": secret, "model": "auto"}, secret.encode()):
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat", "/v1/generate"):
            yield "POST", path, body
