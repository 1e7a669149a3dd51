import msgspec
import pytest

from keyrelay.core.conversation import Text, Thinking
from keyrelay.wire.gemini.common import arguments_of, media_type_of, members_of, one_line, said, words_of


@pytest.mark.parametrize(("raw", "expected"), [(b"", False), (b"null", False), (b"{}", True), (b"0", True)])
def test_a_member_that_is_null_is_not_there(raw: bytes, expected: bool) -> None:
    assert said(msgspec.Raw(raw)) is expected


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"a": 1.0}', '{"a": 1.0}'),
        (b'{\n "a": 1.0,\r\n "b": "x\\n y"}', '{"a":1.0,"b":"x\\n y"}'),
        (b"[1,\n12345678901234567890123]", "[1,12345678901234567890123]"),
    ],
)
def test_json_in_one_line_keeps_its_values(raw: bytes, text: str) -> None:
    assert one_line(raw) == text


@pytest.mark.parametrize(
    ("text", "names"), [('{"a":1}', ["a"]), (" {}", []), ("[]", None), ('{"a"', None), ("", None), ("{a}", None)]
)
def test_members_of_an_object(text: str, names: list[str] | None) -> None:
    members = members_of(text)
    assert (None if members is None else list(members)) == names


@pytest.mark.parametrize(
    ("text", "custom", "expected"),
    [
        ("", False, b"{}"),
        (" ", False, b"{}"),
        ('{"a":\n1}', False, b'{"a":\n1}'),
        ("[1]", False, None),
        ('{"a"', False, None),
        ('{"a":1}', True, b'{"input":"{\\"a\\":1}"}'),
    ],
)
def test_arguments_are_an_object(text: str, custom: bool, expected: bytes | None) -> None:
    arguments = arguments_of(text, custom=custom)
    assert (None if arguments is None else bytes(arguments)) == expected


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://a.example/b/c.JPG", "image/jpeg"),
        ("https://a.example/b.pdf?x=.png#y", "application/pdf"),
        ("https://a.example/b", ""),
        ("gs://bucket", ""),
    ],
)
def test_the_end_of_an_address_tells_the_media_type(url: str, kind: str) -> None:
    assert media_type_of(url) == kind


def test_the_signature_of_a_text_is_a_thought_behind_it() -> None:
    signature = Thinking(signature="s", signed_by="gemini")
    assert words_of("a", "s", thought=False) == [Text(text="a"), signature]
    assert words_of("", "s", thought=False) == [signature]
    assert words_of("a", "", thought=True) == [Thinking(text="a")]
    assert words_of("", "", thought=True) == []
