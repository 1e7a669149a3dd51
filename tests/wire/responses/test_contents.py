import pytest

from keyrelay.core.conversation import Audio, Document, Image, Part, Refusal, Text
from keyrelay.core.errors import CallerError
from tests.wire.responses.asked import understood


def parts_of(part: dict[str, object]) -> tuple[Part, ...]:
    return understood(input=[{"role": "user", "content": [part]}]).messages[0].parts


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"type": "input_text", "text": "a\u2028b"}, Text("a\u2028b")),
        ({"type": "output_text", "text": "a", "annotations": []}, Text("a")),
        ({"type": "text", "text": ""}, Text("")),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "refusal"}, Refusal("")),
        ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text("a", cache="5m")),
        ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"ttl": "12h"}}, Text("a", cache="1h")),
        ({"type": "input_image", "image_url": "https://a/b.png"}, Image(url="https://a/b.png")),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
            Image(media_type="image/png", data="AAAA", detail="low"),
        ),
        (
            {"type": "input_image", "image_url": "DATA:image/svg+xml;charset=utf-8;base64,AAAA"},
            Image(media_type="image/svg+xml", data="AAAA"),
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            Document(media_type="application/pdf", data="AAAA", name="a.pdf"),
        ),
        ({"type": "input_file", "file_data": "AAAA"}, Document(data="AAAA")),
        ({"type": "input_file", "file_url": "https://a/b.pdf"}, Document(url="https://a/b.pdf")),
        ({"type": "input_file", "file_id": "file_1"}, Document(file_id="file_1")),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            Audio(media_type="audio/mp3", data="AAAA"),
        ),
    ],
)
def test_parts(said: dict[str, object], wanted: Part) -> None:
    assert parts_of(said) == (wanted,)


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"type": "input_text"}, ".text"),
        ({"type": "input_image"}, ".image_url"),
        ({"type": "input_image", "file_id": "file_1"}, ".file_id"),
        ({"type": "input_file", "filename": "a.pdf"}, ".file_data"),
        ({"type": "input_audio"}, ".input_audio"),
        ({"type": "input_audio", "input_audio": {}}, ".input_audio.data"),
        ({"type": "input_video"}, ".type"),
        ({}, ".type"),
    ],
)
def test_what_is_no_part_is_refused_with_its_place(said: dict[str, object], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        parts_of(said)
    assert (caught.value.status, caught.value.param) == (400, f"input[0].content[0]{param}")
