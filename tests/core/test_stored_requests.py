import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.ids import request_id
from keyrelay.core.stored_requests import came_ms, cursor_of, id_of_cursor, is_request_id, moment_text

IDS = st.builds(request_id, st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))


@given(IDS)
def test_a_cursor_is_an_id_in_other_words(name: str) -> None:
    cursor = cursor_of(name)
    assert name[4:] not in cursor
    assert id_of_cursor(cursor) == name


@pytest.mark.parametrize(
    "cursor", ["1", "page2", "AZmKXIwAfT-KGyw9Tl9g", "AZmKXIwAfT-KGyw9Tl9gcQAA", "!ZmKXIwAfT-KGyw9Tl9gcQ", "ä" * 22]
)
def test_anything_else_is_none(cursor: str) -> None:
    with pytest.raises(ValueError, match="`next` of an earlier page"):
        id_of_cursor(cursor)


@given(moment_ms=st.integers(0, 2**48 - 1), bits=st.integers(0, 2**74 - 1))
def test_an_id_says_when_the_request_came(moment_ms: int, bits: int) -> None:
    assert came_ms(request_id(moment_ms, bits)) == moment_ms


def test_ids_are_known_by_their_form() -> None:
    assert is_request_id("req_01998a5c8c007d3f8a1b2c3d4e5f6071")
    for other in (
        "req_",
        "req_01998A5C8C007D3F8A1B2C3D4E5F6071",
        "01998a5c8c007d3f8a1b2c3d4e5f6071",
        "req_" + "0" * 33,
    ):
        assert not is_request_id(other)


def test_a_moment_has_its_milliseconds() -> None:
    assert moment_text(1_795_262_400_007) == "2026-11-21T12:00:00.007Z"
