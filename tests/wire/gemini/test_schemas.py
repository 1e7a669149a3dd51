import json
from typing import Any

import pytest

from keyrelay.wire.gemini.schemas import json_schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "STRING", "format": "enum", "enum": ["A", "B"]},
            {"type": "string", "format": "enum", "enum": ["A", "B"]},
        ),
        ({"type": "string"}, {"type": "string"}),
        ({"type": "INTEGER", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "INTEGER", "nullable": False}, {"type": "integer"}),
        ({"type": "STRING", "enum": ["A"], "nullable": True}, {"type": ["string", "null"], "enum": ["A", None]}),
        ({"any_of": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"anyOf": 5, "items": 5, "properties": 5, "enum": 5, "type": 5},
            {"anyOf": 5, "items": 5, "properties": 5, "enum": 5, "type": 5},
        ),
        (
            {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "1", "max_items": 4, "maxLength": "x"},
            {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 4, "maxLength": "x"},
        ),
        (
            {
                "type": "OBJECT",
                "properties": {
                    "type": {"type": "STRING"},
                    "nullable": {"type": "BOOLEAN"},
                    "min_items": {"type": "STRING"},
                },
                "required": ["type"],
                "propertyOrdering": ["type"],
                "additional_properties": {"type": "STRING"},
                "default": {"type": "STRING"},
            },
            {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "nullable": {"type": "boolean"},
                    "min_items": {"type": "string"},
                },
                "required": ["type"],
                "additionalProperties": {"type": "string"},
                "default": {"type": "STRING"},
            },
        ),
        (
            {"properties": {"pet": {"ref": "#/defs/Pet"}}, "defs": {"Pet": {"type": "OBJECT"}}},
            {"properties": {"pet": {"$ref": "#/$defs/Pet"}}, "$defs": {"Pet": {"type": "object"}}},
        ),
        ({"ref": 5}, {"$ref": 5}),
        (5, 5),
    ],
)
def test_schemas_in_googles_form_become_json_schemas(schema: Any, expected: Any) -> None:
    assert json.loads(json_schema(json.dumps(schema).encode())) == expected
