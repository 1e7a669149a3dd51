import msgspec

from keyrelay.wire.responses.reading import missing, one_line, unsupported, wrong


def test_json_on_one_line_is_the_same_json() -> None:
    text = b'{\r\n  "a": "x\\ny",\n  "b": [1]\n}'
    line = bytes(one_line(text))
    assert b"\n" not in line
    assert b"\r" not in line
    assert msgspec.json.decode(line) == msgspec.json.decode(text)
    assert bytes(one_line(b'{"a": 1}')) == b'{"a": 1}'


def test_errors_name_their_field() -> None:
    for error in (wrong("a.b", "expected c"), missing("a.b", "a string"), unsupported("a.b", "there is none")):
        assert (error.status, error.param) == (400, "a.b")
        assert "'a.b'" in error.message
