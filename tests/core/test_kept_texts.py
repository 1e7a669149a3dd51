import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.kept_texts import KeptText, KeptTexts, TextCopy, decode_text, encode_text, readable


@given(pieces=st.lists(st.binary(max_size=20)), most=st.integers(0, 60))
def test_a_copy_is_the_beginning_of_what_passed(pieces: list[bytes], most: int) -> None:
    copy = TextCopy(most)
    for piece in pieces:
        copy.add(piece)
    whole = b"".join(pieces)
    assert copy.text() == KeptText("", len(whole), whole[:most])
    assert copy.text().truncated is (len(whole) > most)
    assert repr(copy) == f"<TextCopy of {len(whole)} bytes>"


def test_a_piece_that_lies_in_a_larger_buffer_is_copied_out_of_it() -> None:
    copy, buffer = TextCopy(10), bytearray(b"a prompt")
    copy.add(bytes(buffer))
    buffer[:] = b"rewritten"
    assert copy.text().data == b"a prompt"


@given(text=st.builds(KeptText, st.text(), st.integers(0, 2**40), st.binary()))
def test_a_text_survives_being_kept(text: KeptText) -> None:
    assert decode_text(encode_text(text)) == text


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x93\x01\x02\x03", encode_text(KeptText("", 1, b"a"))[:-1]])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's own words
        decode_text(data)


@pytest.mark.parametrize(
    ("data", "truncated", "text"),
    [
        (b"plain", False, "plain"),
        ("grün".encode(), True, "grün"),
        ("grün".encode()[:3], True, "gr"),
        ("grün".encode()[:3], False, None),
        ("€".encode()[:2], True, ""),
        (b"\xff\xfe", True, None),
        (b"RIFF\x80", True, None),
        (b"", True, ""),
    ],
)
def test_bytes_are_shown_as_text_where_they_are_text(data: bytes, truncated: bool, text: str | None) -> None:
    assert readable(data, truncated=truncated) == text


@given(text=st.text(), cut=st.integers(0, 200))
def test_half_a_character_at_the_end_does_not_spoil_the_rest(text: str, cut: int) -> None:
    shown = readable(text.encode()[:cut], truncated=True)
    assert shown is not None
    assert text.startswith(shown)


def test_what_is_shown_of_a_text_is_not_the_text() -> None:
    text = KeptText("application/json", 9, b"secret")
    both = KeptTexts(request_id="req_1", request=text, answer=None)
    assert repr(text) == "<KeptText 6 of 9 bytes, application/json>"
    assert repr(KeptText("", 0, b"")) == "<KeptText 0 of 0 bytes, of no type>"
    assert "secret" not in repr(both)
    assert both.size == 6
