import inspect

import msgspec
import pytest

from keyrelay.wire.gemini import shapes

KINDS = [kind for _, kind in inspect.getmembers(shapes, inspect.isclass) if issubclass(kind, shapes.Shape)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_said_is_not_written_and_null_is_not_said(kind: type[shapes.Shape]) -> None:
    assert msgspec.json.encode(kind()) == b"{}"
    raw = {field.encode_name for field in msgspec.structs.fields(kind) if field.type is msgspec.Raw}
    nothing = {field.encode_name: None for field in msgspec.structs.fields(kind) if field.encode_name not in raw}
    assert msgspec.json.decode(msgspec.json.encode({**nothing, "somethingNew": 1}), type=kind) == kind()


def test_names_are_in_camel_case_on_the_wire() -> None:
    part = shapes.Part(text="", inline_data=shapes.Blob(mime_type="a"), video_metadata=msgspec.Raw(b"{}"))
    assert msgspec.json.encode(part) == b'{"text":"","inlineData":{"mimeType":"a"},"videoMetadata":{}}'
