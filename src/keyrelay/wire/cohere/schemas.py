"""JSON schemas without the keywords that a provider refuses."""

from collections.abc import Iterable
from typing import Any

import msgspec

from keyrelay.wire.body import JSON_ERRORS

_NAMES_TO_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"const", "default", "enum", "examples", "required"})


class _Requiring(msgspec.Struct):
    required: list[str] = []


_requiring = msgspec.json.Decoder(_Requiring)


def stripped(schema: str, keywords: Iterable[str]) -> msgspec.Raw:
    """The schema (JSON text) without some keywords; a property that has the name of one stays."""
    unwanted = frozenset(keywords)
    if not any(f'"{keyword}"' in schema for keyword in unwanted):
        return msgspec.Raw(schema.encode())
    return msgspec.Raw(msgspec.json.encode(_without(msgspec.json.decode(schema), unwanted)))


def requires_something(schema: str) -> bool:
    """Whether an object that fits the schema has to have a member."""
    try:
        return bool(_requiring.decode(schema).required)
    except JSON_ERRORS:
        return False


def _without(schema: Any, keywords: frozenset[str]) -> Any:
    if isinstance(schema, list):
        return [_without(item, keywords) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _member(name, value, keywords) for name, value in schema.items() if name not in keywords}


def _member(name: str, value: Any, keywords: frozenset[str]) -> Any:
    if name in _DATA:
        return value
    if name in _NAMES_TO_SCHEMAS and isinstance(value, dict):
        return {inner: _without(schema, keywords) for inner, schema in value.items()}
    return _without(value, keywords)
