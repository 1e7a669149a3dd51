import json
from typing import Any

import msgspec
import pytest

from keyrelay.core.errors import CallerError
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.names import as_written, camel_members, in_camel_case, read


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"generation_config": {"top_k": 1, "topP": 0.5}}, {"generationConfig": {"topK": 1, "topP": 0.5}}),
        (
            {"contents": [{"parts": [{"inline_data": {"mime_type": "a"}}]}]},
            {"contents": [{"parts": [{"inlineData": {"mimeType": "a"}}]}]},
        ),
        (
            {"contents": {"parts": {"file_data": {"fileUri": "a"}}}},
            {"contents": {"parts": {"fileData": {"fileUri": "a"}}}},
        ),
        ({"topP": 1, "unknown_name": {"top_p": 1}}, {"topP": 1, "unknown_name": {"top_p": 1}}),
        ({"cached_content": "a", "cachedContent": "b"}, {"cachedContent": "b"}),
        ({"contents": "top_k", "tools": 5, "tool_config": None}, {"contents": "top_k", "tools": 5, "toolConfig": None}),
        ([{"tool_config": {}}], [{"toolConfig": {}}]),
    ],
)
def test_names_are_renamed_along_the_shapes(given: Any, expected: Any) -> None:
    assert json.loads(in_camel_case(json.dumps(given).encode(), shapes.Body)) == expected


def test_what_is_the_callers_keeps_its_names() -> None:
    call = {"name": "a", "args": {"inline_data": {"mime_type": 1.50}}}
    response = {"name": "a", "response": {"function_call": 1}}
    schema = {"type": "OBJECT", "properties": {"file_data": {"type": "STRING"}}}
    body = {
        "contents": [{"parts": [{"function_call": call}, {"function_response": response}]}],
        "tools": [{"function_declarations": [{"name": "a", "parameters": schema}]}],
        "generation_config": {"response_json_schema": schema},
        "labels": {"top_k": "a"},
    }
    found = read(json.dumps(body).encode(), shapes.Body)
    assert isinstance(found.contents, list)
    parts = found.contents[0].parts
    assert isinstance(parts, list)
    assert parts[0].function_call is not None
    assert parts[1].function_response is not None
    assert bytes(parts[0].function_call.args) == b'{"inline_data": {"mime_type": 1.5}}'
    assert json.loads(bytes(parts[1].function_response.response)) == {"function_call": 1}
    assert found.tools is not None
    assert found.tools[0].function_declarations is not None
    assert json.loads(bytes(found.tools[0].function_declarations[0].parameters)) == schema
    assert json.loads(bytes(found.labels)) == {"top_k": "a"}


def test_members_of_one_object() -> None:
    members = {"tool_config": msgspec.Raw(b"1"), "top_k": msgspec.Raw(b"2"), "tools": msgspec.Raw(b"3")}
    assert list(camel_members(members, shapes.Body)) == ["toolConfig", "top_k", "tools"]


@pytest.mark.parametrize(
    ("raw", "kind", "at", "param"),
    [
        (b'{"topK":"x"}', shapes.GenerationConfig, "generationConfig", "generationConfig.topK"),
        (b'{"top_k":"x"}', shapes.GenerationConfig, "", "topK"),
        (b'[{"function_declarations":1}]', list[shapes.Tool], "tools", "tools[0].functionDeclarations"),
        (b"5", shapes.Body, "", None),
        (b'{"top_k"', shapes.Body, "", None),
    ],
)
def test_what_is_wrong_is_pointed_to(raw: bytes, kind: Any, at: str, param: str | None) -> None:
    with pytest.raises(CallerError) as error:
        read(raw, kind, at)
    assert (error.value.status, error.value.param, error.value.code) == (400, param, "invalid_type")


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"tool_config":{"functionCallingConfig":1}}', "tool_config.functionCallingConfig"),
        (b'{"toolConfig":{"function_calling_config":1}}', "toolConfig.function_calling_config"),
        (b'{"toolConfig":1,"tool_config":1}', "toolConfig.functionCallingConfig"),
    ],
)
def test_pointers_are_in_the_callers_words(raw: bytes, param: str) -> None:
    assert as_written("toolConfig.functionCallingConfig", raw) == param
