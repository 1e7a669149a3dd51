"""An instance for a JSON schema: what a model would answer in JSON mode or pass to a tool."""

import random
from typing import Any

_DEPTH = 12
_ITEMS = 2
_STRINGS = ("north", "amber", "seven", "harbour", "willow", "quiet", "copper", "evening")
_FORMATS = {
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "date-time": "2026-03-14T09:26:53Z",
    "email": "ada@example.com",
    "uri": "https://example.com/tide",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "ipv4": "192.0.2.17",
    "hostname": "example.com",
    "duration": "PT5M",
}


def instance_of(schema: Any, source: random.Random) -> Any:
    """A value that satisfies the usual keywords (types, enum, const, $ref, anyOf, allOf, bounds, formats).

    `pattern` and `not` are left unread.
    """
    return _value(schema, schema, source, _DEPTH)


def _value(schema: Any, root: Any, source: random.Random, depth: int) -> Any:
    if not isinstance(schema, dict) or depth == 0:
        return None
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), root, source, depth - 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return source.choice(schema["enum"])
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return _value(alternatives[0], root, source, depth - 1)
    return _of_kind(schema, root, source, depth)


def _of_kind(schema: dict[str, Any], root: Any, source: random.Random, depth: int) -> Any:
    if schema.get("allOf"):
        return _value(_merged(schema, root), root, source, depth - 1)
    return _typed(schema, root, source, depth)


def _typed(schema: dict[str, Any], root: Any, source: random.Random, depth: int) -> Any:
    match _kind(schema):
        case "object":
            return _object(schema, root, source, depth)
        case "array":
            count = max(int(schema.get("minItems", _ITEMS)), 0)
            count = min(count, int(schema.get("maxItems", count)))
            return [_value(schema.get("items", {}), root, source, depth - 1) for _ in range(count)]
        case "string":
            return _string(schema, source)
        case "integer" | "number" as kind:
            return _number(schema, source, whole=kind == "integer")
        case "boolean":
            return source.choice((True, False))
        case _:
            return None


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k.lower() != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()  # Gemini writes STRING
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _object(schema: dict[str, Any], root: Any, source: random.Random, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    # Near the depth's end only what is required, so that a recursive schema comes to an end.
    names = list(properties) if depth > _DEPTH // 2 else [name for name in properties if name in required]
    return {name: _value(properties[name], root, source, depth - 1) for name in names}


def _string(schema: dict[str, Any], source: random.Random) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = source.choice(_STRINGS)
    while len(text) < int(schema.get("minLength", 0)):
        text += f" {source.choice(_STRINGS)}"
    return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: dict[str, Any], source: random.Random, *, whole: bool) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
    step = schema.get("multipleOf", 1 if whole else 0.5)
    first = -(-low // step) + ("exclusiveMinimum" in schema)
    last = high // step - ("exclusiveMaximum" in schema)
    value = step * source.randint(int(first), max(int(first), int(last)))
    return int(value) if whole else float(value)


def _resolve(reference: Any, root: Any) -> Any:
    node = root
    for part in str(reference).removeprefix("#").strip("/").split("/"):
        node = node.get(part.replace("~1", "/").replace("~0", "~"), {}) if part and isinstance(node, dict) else node
    return node


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
    for part in schema["allOf"]:
        resolved = _resolve(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part
        if not isinstance(resolved, dict):
            continue
        properties = {**merged.get("properties", {}), **resolved.get("properties", {})}
        required = [*merged.get("required", []), *resolved.get("required", [])]
        merged = {**merged, **resolved, "properties": properties, "required": required}
        if not properties:
            del merged["properties"], merged["required"]
    return merged
