import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.core.providers import FORM_OPERATIONS, OPAQUE_OPERATIONS, Operation
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.wire.multipart import FormReader
from keyrelay.wire.opaque import (
    UNKNOWN_TYPE,
    OpaqueStream,
    answer_type,
    decode_form,
    decode_opaque,
    encode_opaque,
    read_opaque,
)
from keyrelay.wire.readings import StreamEnd

JSON = "application/json"
BODIES: dict[Operation, dict[str, object]] = {
    "images": {"model": "m", "prompt": "a lighthouse"},
    "speech": {"model": "m", "input": "Good morning.", "voice": "alloy"},
    "moderations": {"model": "m", "input": ["Good morning."]},
    "rerank": {"model": "m", "query": "tide", "documents": ["the tide"]},
}
FILES: dict[Operation, str] = {
    "image_edits": "image[]",
    "image_variations": "image",
    "transcriptions": "file",
    "translations": "file",
}
TYPE = "multipart/form-data; boundary=b"


def decoded(operation: Operation, **changes: object) -> CallRequest:
    body = {**BODIES[operation], **changes}
    return decode_opaque(operation, msgspec.json.encode(body), max_depth=8)


def form(**texts: str) -> bytes:
    """A form with a file and these texts behind it."""
    content = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n\xff\x00\r\n'
    for name, text in texts.items():
        content += f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
    return content + b"--b--\r\n"


def read_form(content: bytes, operation: Operation = "transcriptions") -> CallRequest:
    reader = FormReader("b")
    reader.feed(content)
    return decode_form(operation, reader.close(), memoryview(content), TYPE)


def sent(request: CallRequest, model: str, prefix: str = "") -> bytes:
    body, parts = encode_opaque(request, prefix, model)
    return body + b"".join(parts)


def refusal(operation: Operation, **changes: object) -> tuple[int, str | None, str | None]:
    with pytest.raises(CallerError) as caught:
        decoded(operation, **changes)
    return caught.value.status, caught.value.param, caught.value.code


def test_every_operation_has_a_reader() -> None:
    assert {*BODIES, *FILES, "files"} == set(OPAQUE_OPERATIONS)
    assert set(FILES) == set(FORM_OPERATIONS)


@pytest.mark.parametrize("operation", BODIES)
def test_a_body_is_read_far_enough_to_route_it(operation: Operation) -> None:
    request = decoded(operation)
    assert (request.operation, request.model, request.stream) == (operation, "m", False)
    assert (request.needs, request.max_output_tokens, request.wants_usage) == ((operation,), 0, True)
    assert sent(request, "m") is request.body


@pytest.mark.parametrize(
    ("operation", "changes", "stream"),
    [
        ("images", {"stream": True}, True),
        ("images", {"stream": None}, False),
        ("speech", {"stream_format": "sse"}, True),
        ("speech", {"stream_format": "audio"}, False),
        ("speech", {"stream": True}, False),
        ("rerank", {"stream": True}, False),
    ],
)
def test_what_comes_as_a_stream(operation: Operation, changes: dict[str, object], stream: bool) -> None:
    assert decoded(operation, **changes).stream is stream


@pytest.mark.parametrize(
    ("operation", "changes", "param", "code"),
    [
        ("images", {"prompt": None}, "prompt", "missing_field"),
        ("images", {"prompt": ["a"]}, "prompt", "invalid_type"),
        ("images", {"model": None}, "model", "missing_field"),
        ("images", {"stream": "yes"}, "stream", "invalid_type"),
        ("speech", {"input": None}, "input", "missing_field"),
        ("speech", {"input": 3}, "input", "invalid_type"),
        ("speech", {"stream_format": 3}, "stream_format", "invalid_type"),
        ("moderations", {"input": {}}, "input", "invalid_type"),
        ("rerank", {"query": None}, "query", "missing_field"),
        ("rerank", {"documents": "tide"}, "documents", "invalid_type"),
        ("rerank", {"model": ""}, "model", "invalid_value"),
    ],
)
def test_a_wrong_body_is_refused_by_its_field(
    operation: Operation, changes: dict[str, object], param: str, code: str
) -> None:
    assert refusal(operation, **changes) == (400, param, code)


def test_only_moderation_needs_no_model() -> None:
    request = decode_opaque("moderations", b'{"input": "a"}', max_depth=8)
    assert request.model == "omni-moderation-latest"
    assert msgspec.json.decode(sent(request, request.model)) == {"input": "a", "model": "omni-moderation-latest"}
    assert refusal("images", model=None)[1] == "model"


@pytest.mark.parametrize(("prefix", "name"), [("", "other"), ("@cf/", "@cf/other")])
def test_of_a_body_only_the_model_changes(prefix: str, name: str) -> None:
    request = decode_opaque("images", b'{"prompt": "a\\u0301" , "model":"m", "n": 1.0}', max_depth=8)
    assert sent(request, "other", prefix) == b'{"prompt":"a\\u0301","model":"%b","n":1.0}' % name.encode()


@pytest.mark.parametrize("operation", FILES)
def test_a_form_is_read_far_enough_to_route_it(operation: Operation) -> None:
    content = form(model="whisper-1", prompt="Grüße", stream="True").replace(
        b'"file"', f'"{FILES[operation]}"'.encode()
    )
    request = read_form(content, operation)
    assert (request.operation, request.model, request.stream, request.needs) == (
        operation,
        "whisper-1",
        True,
        (operation,),
    )
    assert msgspec.json.decode(request.body) == {"model": "whisper-1", "prompt": "Grüße", "stream": "True"}
    assert request.form is not None
    assert request.form.content_type == TYPE
    assert sent(request, "whisper-1") == content


def test_an_address_may_stand_for_a_file() -> None:
    content = form(model="m", url="https://files.example/a.wav")
    content = content[content.index(b"--b", 3) :]
    assert read_form(content).model == "m"
    with pytest.raises(CallerError) as caught:
        read_form(content, "image_edits")
    assert (caught.value.param, caught.value.code) == ("image", "missing_field")


def test_several_values_of_one_name_are_kept() -> None:
    one = b'--b\r\ncontent-disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n'
    request = read_form(one + one.replace(b"word", b"segment") + form(model="m"))
    assert msgspec.json.decode(request.body)["timestamp_granularities[]"] == ["word", "segment"]


@pytest.mark.parametrize(
    ("content", "param", "code"),
    [
        (form(prompt="a"), "model", "missing_field"),
        (form(model=""), "model", "invalid_value"),
        (form(model="a\nb"), "model", "invalid_value"),
        (form(model="m", stream="maybe"), "stream", "invalid_value"),
        (form(model="m").replace(b'"file"', b'"sound"'), "file", "missing_field"),
        (form(model="m", stream="true").replace(b'name="stream"', b'name="model"'), "model", "invalid_form"),
        (form(model="m", stream="true").replace(b'name="model"', b'name="stream"'), "stream", "invalid_form"),
        (form(model="m").replace(b'name="model"', b'name="model"; filename="x"'), "model", "invalid_form"),
    ],
)
def test_a_wrong_form_is_refused_by_its_field(content: bytes, param: str, code: str) -> None:
    with pytest.raises(CallerError) as caught:
        read_form(content)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="b"), max_size=30),
    st.text("acd/-.@:", min_size=1, max_size=30),
)
def test_of_a_form_only_the_model_changes(prompt: str, model: str) -> None:
    before, after = form(prompt=prompt, model="whisper-1", n="2"), form(prompt=prompt, model=model, n="2")
    assert sent(read_form(before), model) == after
    assert read_form(after).model == model


def test_the_pieces_of_a_form_are_views_of_it() -> None:
    content = form(model="whisper-1")
    body, parts = encode_opaque(read_form(content), "", "other")
    assert body == b""
    assert [part.obj is content for part in parts] == [True, False, True]


USAGE = b'"usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}'
ANSWERS: list[tuple[Operation, str, bytes, Usage | None, str, bool]] = [
    ("images", JSON, b'{"data": [{}], %b}' % USAGE, Usage(3, 4), "", False),
    ("images", JSON, b'{"data": []}', None, "the answer is empty", False),
    ("images", JSON, b"[]", None, "not the JSON object", False),
    ("images", "text/plain", b"busy", None, "not the JSON object", False),
    ("images", "", b'{"data": [{}]}', None, "", False),
    ("images", JSON, b'{"data": ["\xff"]}', None, "not the JSON object", False),
    ("images", JSON, '{"data": ["\u00e4"]}'.encode(), None, "", False),
    ("rerank", JSON, b'{"results": [{}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}', Usage(5, 0), "", False),
    ("moderations", JSON, b'{"results": [{}], "usage": {"input_tokens": 2}}', Usage(2, 0), "", False),
    ("moderations", JSON, b'{"results": [{}], "usage": {"input_tokens": "2"}}', None, "", False),
    ("moderations", JSON, b'{"error": {"message": "no"}}', None, "holds an error", True),
    ("speech", "audio/mpeg", b"ID3\xff", None, "", False),
    ("speech", "audio/mpeg", b"{not JSON", None, "", False),
    ("speech", "audio/mpeg", b"", None, "is empty", False),
    ("speech", "text/html; charset=utf-8", b"<html>", None, "page", False),
    ("speech", "audio/mpeg", b'{"error": "no"}', None, "holds an error", True),
    ("transcriptions", "text/plain", b"Good morning.", None, "", False),
    ("transcriptions", JSON, b'{"text": "", %b}' % USAGE, Usage(3, 4), "", False),
    ("transcriptions", JSON, b'{"text": "a", "usage": {"type": "duration", "seconds": 3}}', None, "", False),
    ("transcriptions", JSON, b"Good morning.", None, "not the JSON object", False),
]


@pytest.mark.parametrize(("operation", "content_type", "body", "usage", "problem", "is_error"), ANSWERS)
def test_an_answer_is_read_for_usage_and_for_being_one(
    operation: Operation, content_type: str, body: bytes, usage: Usage | None, problem: str, is_error: bool
) -> None:
    reading = read_opaque(operation, content_type, body)
    assert (reading.usage, reading.is_error) == (usage, is_error)
    assert problem in reading.problem if problem else not reading.problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ('text/plain; charset="utf-8"', 'text/plain; charset="utf-8"'),
        ("", UNKNOWN_TYPE),
        ("audio/\r\nx: y", UNKNOWN_TYPE),
        ("audio/m\u00fc", UNKNOWN_TYPE),
        ("x" * 201, UNKNOWN_TYPE),
    ],
)
def test_a_type_goes_on_if_it_may_stand_in_a_head(value: str, expected: str) -> None:
    assert answer_type(value) == expected


EVENTS = (
    b": hello\n\n",
    b'event: image_generation.partial_image\ndata: {"type": "image_generation.partial_image", "b64_json": "AA=="}\n\n',
    b": still there\n\n",
    b"data: no JSON\n\n",
    b'data: {"type": "image_generation.completed", %b}\n\n' % USAGE,
)
STREAM = b"".join(EVENTS)


def fed(stream: bytes, *cuts: int, max_event_bytes: int = 1000) -> tuple[OpaqueStream, bytes]:
    reader = OpaqueStream(max_event_bytes=max_event_bytes)
    edges = [0, *cuts, len(stream)]
    out = b"".join(reader.feed(stream[start:end]) for start, end in itertools.pairwise(edges))
    return reader, out + reader.close()


def test_a_stream_goes_on_as_it_came_wherever_it_is_cut() -> None:
    for cut in range(len(STREAM)):
        reader, out = fed(STREAM, cut)
        assert out == b"".join(EVENTS[1:])
        assert (reader.usage, reader.content_events, reader.end) == (Usage(3, 4), 3, StreamEnd.OPEN)
        assert reader.ended_whole("done")
    assert repr(reader) == "<OpaqueStream open 3 events>"


def test_done_ends_a_stream() -> None:
    reader, out = fed(EVENTS[1] + b"data: [DONE]\n\n" + EVENTS[1])
    assert out == EVENTS[1] + b"data: [DONE]\n\n"
    assert (reader.end, reader.ended_whole("any")) == (StreamEnd.DONE, True)
    assert reader.feed(EVENTS[1]) == b""


def test_an_event_without_its_empty_line_counts() -> None:
    reader, out = fed(EVENTS[1][:-2])
    assert out == EVENTS[1]
    assert reader.committed


ERRORS = [b'data: {"type": "error", "code": "x"}\n\n', b'data: {"error": {"message": "no"}}\n\n']


@pytest.mark.parametrize("event", ERRORS)
def test_an_error_is_none_of_the_events_that_go_on(event: bytes) -> None:
    reader, out = fed(event)
    assert (out, reader.end, reader.committed) == (b"", StreamEnd.ERROR, False)
    assert reader.error_data == event[6:-2]
    later, out = fed(EVENTS[1] + event)
    assert (out, later.end, later.ended_whole("any")) == (EVENTS[1], StreamEnd.ERROR, False)


@pytest.mark.parametrize("stream", [b"", EVENTS[0], b"data: [DONE]\n\n"])
def test_a_stream_without_anything_in_it_is_no_answer(stream: bytes) -> None:
    reader, out = fed(stream)
    assert (out, reader.committed, reader.ended_whole("any")) == (b"", False, False)


def test_an_event_without_end_is_not_waited_for() -> None:
    reader, _ = fed(b"data: " + b"x" * 200, max_event_bytes=100)
    assert reader.end is StreamEnd.MALFORMED
    assert "100" in reader.problem
