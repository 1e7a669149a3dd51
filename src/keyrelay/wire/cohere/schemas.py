"""JSON schemas without the keywords that a provider refuses."""

from collections.abc import Iterable

import msgspec

from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.openai import without_keywords


class _Requiring(msgspec.Struct):
    required: list[str] = []


_requiring = msgspec.json.Decoder(_Requiring)


def stripped(schema: str, keywords: Iterable[str]) -> msgspec.Raw:
    """The schema (JSON text) without some keywords; a property that has the name of one stays."""
    unwanted = frozenset(keywords)
    if not any(f'"{keyword}"' in schema for keyword in unwanted):
        return msgspec.Raw(schema.encode())
    return msgspec.Raw(msgspec.json.encode(without_keywords(msgspec.json.decode(schema), unwanted)))


def requires_something(schema: str) -> bool:
    """Whether an object that fits the schema has to have a member."""
    try:
        return bool(_requiring.decode(schema).required)
    except JSON_ERRORS:
        return False
