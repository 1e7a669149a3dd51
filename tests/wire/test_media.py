"""Pictures, sounds and files for callers that have a place for them, and for those that have none."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Audio,
    Document,
    Image,
    Media,
    MediaPiece,
    Message,
    Text,
    TextPiece,
    Unheld,
)
from keyrelay.wire import media

PICTURE = Image(media_type="image/png", data="iVBORw0KGgoA")


def nothing(part: Media) -> bool:
    return False


def all_of_it(part: Media) -> bool:
    return True


@pytest.mark.parametrize(
    ("part", "words", "lost"),
    [
        (PICTURE, "\n[image (image/png), 9 bytes: left out]\n", "image (image/png)"),
        (Audio(media_type="audio/wav", data="UklGRg=="), "\n[audio (audio/wav), 6 bytes: left out]\n", None),
        (Image(url="https://a.example/b.png"), "\n![image](https://a.example/b.png)\n", ""),
        (Document(url="gs://a/b.pdf", name="Plan"), "\n[Plan](gs://a/b.pdf)\n", ""),
        (Document(url="https://a.example/b"), "\n[document](https://a.example/b)\n", ""),
        (Document(url="javascript:alert(1)"), "\n[document: left out]\n", "document"),
        (Document(file_id="file-1"), "\n[document: left out]\n", "document"),
    ],
)
def test_words_stand_for_what_a_caller_has_no_place_for(part: Media, words: str, lost: str | None) -> None:
    expected = "audio (audio/wav)" if lost is None else lost
    assert media.as_words(part) == (words, expected)
    answer = media.fitted(Answer(parts=(Text("a"), part), left_out=("b",)), nothing)
    assert answer.parts == (Text("a"), Text(words))
    assert answer.left_out == (("b", expected) if expected else ("b",))
    pieces = (TextPiece(words), Unheld(expected)) if expected else (TextPiece(words),)
    assert media.fitted_events(MediaPiece(part), nothing) == pieces


def test_an_answer_that_a_caller_can_be_given_is_the_same() -> None:
    answer = Answer(parts=(PICTURE,))
    assert media.fitted(answer, all_of_it) is answer
    assert media.fitted_events(MediaPiece(PICTURE), all_of_it) == (MediaPiece(PICTURE),)
    worded = Answer(parts=(Text("a"),))
    assert media.fitted(worded, nothing) is worded


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF....", "image/webp"),
        (b"what is this", "image/jpeg"),
    ],
)
def test_a_picture_says_in_its_first_bytes_what_it_is(start: bytes, kind: str) -> None:
    assert media.picture_type(base64.b64encode(start + b"more of it").decode()) == kind


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"RIFF....", "audio/wav"),
        (b"ID3\x04", "audio/mp3"),
        (b"\xff\xfb\x90", "audio/mp3"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"\x00\x01", "audio/pcm"),
    ],
)
def test_a_sound_says_in_its_first_bytes_what_it_is(start: bytes, kind: str) -> None:
    assert media.sound_type(base64.b64encode(start + b"more of it").decode()) == kind


def test_a_picture_by_its_address() -> None:
    assert media.picture_at("https://a.example/b.png") == Image(url="https://a.example/b.png")
    assert media.picture_at("data:image/png;base64,iVBORw0KGgoA") == PICTURE


@given(text=st.text(alphabet="`a\n~", max_size=30), language=st.text(max_size=10))
def test_code_stays_in_its_block_whatever_is_in_it(text: str, language: str) -> None:
    _, opening, *lines, closing, last = media.fenced(text, language).split("\n")
    fence = closing
    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert opening.startswith(fence)
    assert last == ""
    assert "\n".join(lines) == text.rstrip()
    assert all(fence not in line for line in lines)


def test_a_language_is_one_word() -> None:
    assert media.fenced("x = 1\n", "PYTHON") == "\n```python\nx = 1\n```\n"
    assert media.fenced("x", "c++ `\n") == "\n```c++\nx\n```\n"


def test_what_was_left_out_is_told_beside_the_answer_or_in_a_remark() -> None:
    assert media.told(()) == {}
    assert media.told(("a", "b")) == {"keyrelay": {"left_out": ["a", "b"]}}
    assert media.remark(()) == b""
    assert media.remark(("a", "b\n\ndata: x")) == b": left out: a, b??data: x\n\n"


def test_what_the_assistant_made_is_shown_by_the_user() -> None:
    made = Message(role="assistant", parts=(Text("Here."), PICTURE))
    said = Message(role="assistant", parts=(Text("Here."),))
    system = Message(role="system", parts=(Text("Be brief."),))
    user = Message(role="user", parts=(Text("Bluer."),))
    shown = Message(role="user", parts=(PICTURE, Text("Bluer.")))
    assert media.shown_by_user((user, made, system, user, user)) == (user, said, system, shown, user)
    assert media.shown_by_user((user, made, made)) == (
        user,
        said,
        said,
        Message(role="user", parts=(PICTURE, PICTURE)),
    )
    plain = (user, said, shown)
    assert media.shown_by_user(plain) is plain
