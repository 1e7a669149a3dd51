import json

import pytest

from keyrelay.wire.cohere.schemas import requires_something, stripped

KEYWORDS = ("$schema", "additionalProperties")


def test_a_schema_without_them_keeps_its_bytes() -> None:
    schema = '{ "type": "object" }'
    assert bytes(stripped(schema, KEYWORDS)) == schema.encode()
    assert bytes(stripped(schema, ())) == schema.encode()


def test_keywords_go_and_names_stay() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "additionalProperties": {"type": "object", "additionalProperties": False},
            "kind": {"enum": ["additionalProperties", {"additionalProperties": 1}]},
            "any": {"anyOf": [{"type": "object", "additionalProperties": True}, 3]},
        },
        "required": ["additionalProperties"],
        "additionalProperties": False,
    }
    assert json.loads(bytes(stripped(json.dumps(schema), KEYWORDS))) == {
        "type": "object",
        "properties": {
            "additionalProperties": {"type": "object"},
            "kind": {"enum": ["additionalProperties", {"additionalProperties": 1}]},
            "any": {"anyOf": [{"type": "object"}, 3]},
        },
        "required": ["additionalProperties"],
    }


def test_properties_that_are_none_are_read_as_a_schema() -> None:
    assert bytes(stripped('{"properties":["$schema"],"$schema":1}', KEYWORDS)) == b'{"properties":["$schema"]}'


@pytest.mark.parametrize(
    ("schema", "expected"),
    [('{"required":["a"]}', True), ('{"required":[]}', False), ("{}", False), ("", False), ('{"required":1}', False)],
)
def test_whether_something_is_required(schema: str, expected: bool) -> None:
    assert requires_something(schema) is expected
