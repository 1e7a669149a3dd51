import msgspec
import pytest

from keyrelay.wire.ollama.shapes import AskedOptions, Given, arguments_text, on_one_line


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"a": 1}', '{"a": 1}'),
        (b'"{\\"a\\": 1}"', '{"a": 1}'),
        (b"", "{}"),
        (b"null", "{}"),
        (b"[1]", "[1]"),
    ],
)
def test_arguments_are_text(raw: bytes, text: str) -> None:
    assert arguments_text(msgspec.Raw(raw)) == text


@pytest.mark.parametrize(
    ("raw", "line"),
    [(b'{"a": 1}', b'{"a": 1}'), (b'{\n "a": "\\n"}', b'{"a":"\\n"}'), (b'{\r"a":1.50}', b'{"a":1.50}')],
)
def test_json_stands_on_one_line(raw: bytes, line: bytes) -> None:
    assert bytes(on_one_line(msgspec.Raw(raw))) == line


def test_options_without_a_place_are_named() -> None:
    options = msgspec.json.decode(b'{"num_ctx":4096,"mirostat":null,"min_p":0.1,"num_gpu":1}', type=AskedOptions)
    assert options.homeless == ("num_ctx", "min_p")


@pytest.mark.parametrize(
    ("line", "content"),
    [
        (b'{"message":{"content":"a"},"response":"b"}', "a"),
        (b'{"response":"b","thinking":"c"}', "b"),
    ],
)
def test_the_message_may_be_spread_out(line: bytes, content: str) -> None:
    said = msgspec.json.decode(line, type=Given).said
    assert said is not None
    assert said.content == content


def test_no_message_is_none() -> None:
    assert Given(thinking="a").said is None
