"""Schemas in Google's subset of OpenAPI 3.0, turned into JSON Schema.

Types are in upper case there, whole numbers may be text, `nullable` stands beside the type and references have no
dollar sign.
"""

from typing import Any

import msgspec

_RENAMED = {
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "max_items": "maxItems",
    "min_items": "minItems",
    "max_length": "maxLength",
    "min_length": "minLength",
    "max_properties": "maxProperties",
    "min_properties": "minProperties",
    "ref": "$ref",
    "defs": "$defs",
}
_DROPPED = frozenset({"propertyOrdering", "property_ordering", "nullable"})
_COUNTS = frozenset({"maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties"})
_BY_NAME = frozenset({"properties", "$defs"})
_INSIDE = frozenset({"items", "additionalProperties"})
_NULL: dict[str, Any] = {"type": "null"}


def json_schema(raw: bytes) -> str:
    """The JSON Schema, as text, of a schema in Google's form; what is no object stays as it is."""
    return msgspec.json.encode(_schema(msgspec.json.decode(raw))).decode()


def _schema(schema: object) -> Any:
    if not isinstance(schema, dict):
        return schema
    turned: dict[str, Any] = {}
    for name, value in schema.items():
        if name not in _DROPPED:
            new_name = _RENAMED.get(name) or str(name)
            turned[new_name] = _member(new_name, value)
    return _nullable(turned) if schema.get("nullable") is True else turned


def _member(name: str, value: Any) -> Any:
    if name == "type" and isinstance(value, str):
        return value.lower()
    if name == "$ref" and isinstance(value, str):
        return value.replace("#/defs/", "#/$defs/")
    if name in _COUNTS and isinstance(value, str) and value.isdecimal():
        return int(value)
    if name in _BY_NAME and isinstance(value, dict):
        return {key: _schema(inner) for key, inner in value.items()}
    if name == "anyOf" and isinstance(value, list):
        return [_schema(inner) for inner in value]
    return _schema(value) if name in _INSIDE else value


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, or null."""
    kind, enum, choices = schema.get("type"), schema.get("enum"), schema.get("anyOf")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    if isinstance(enum, list):
        schema["enum"] = [*enum, None]
    if isinstance(choices, list):
        schema["anyOf"] = [*choices, _NULL]
    return schema
