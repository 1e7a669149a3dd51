from typing import Any

import pytest

from keyrelay.core.conversation import Answer, Audio, Event, Image, MediaPiece, Text, TextPiece, Unheld
from keyrelay.wire.chat.beyond import joined_sound
from tests.wire.chat.samples import PROVIDER, chunk, delta

PNG = "iVBORw0KGgoA"
PICTURE = Image(media_type="image/png", data=PNG)
SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def whole(message: dict[str, Any], **beside: Any) -> Answer:
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    answer = PROVIDER.answer(chunk(choices=choices, **beside).removeprefix(b"data: "))
    assert isinstance(answer, Answer)
    return answer


def streamed(*deltas: dict[str, Any]) -> list[object]:
    reader = PROVIDER.reader()
    events = [event for each in deltas for event in reader.read(delta(**each))]
    return [*events, *reader.read(delta("stop"))]


@pytest.mark.parametrize(
    ("message", "parts", "names"),
    [
        ({"images": [SHOWN]}, (PICTURE,), ()),
        ({"images": [SHOWN, {"type": "image_url"}]}, (PICTURE,), ("images",)),
        ({"images": [{"type": "image_url", "image_url": {"url": ""}}]}, (), ("images",)),
        ({"images": None, "annotations": [], "audio": None}, (), ()),
        ({"content": [SHOWN]}, (PICTURE,), ()),
        ({"content": [{"type": "image_url"}, {"type": "text", "text": ""}]}, (), ("content: image_url",)),
        ({"content": [{"type": "thinking"}, {"type": "x" * 100, "text": ""}]}, (), ("content: " + "x" * 64,)),
        ({"audio": {"transcript": "Hi", "data": "AAEC"}}, (Text("Hi"), Audio(media_type="audio/pcm", data="AAEC")), ()),
        ({"audio": {"id": "a"}}, (), ()),
        ({"audio": []}, (), ()),
        ({"audio": 5}, (), ("audio",)),
    ],
)
def test_what_is_beside_the_words_of_an_answer(message: dict[str, Any], parts: tuple[object, ...], names: Any) -> None:
    answer = whole(message)
    assert (answer.parts, answer.left_out) == (parts, names)


def test_findings_of_those_who_search_are_named() -> None:
    answer = whole({"content": "Well."}, citations=["u"], search_results=[{}], related_questions=["q"], images=[{}])
    assert answer.left_out == ("citations", "search_results", "related_questions", "images")
    assert whole({"content": "Well."}, citations=[], search_results=None).left_out == ()


def test_a_streamed_sound_comes_whole_at_the_end_its_words_at_once() -> None:
    said = streamed(
        {"audio": {"id": "a", "transcript": "Hel"}},
        {"audio": {"data": "AA==", "transcript": "lo"}},
        {"audio": {"data": "AQI="}},
        {"audio": {"expires_at": 1}},
    )
    events: list[Event] = [TextPiece("Hel"), TextPiece("lo"), MediaPiece(Audio(media_type="audio/pcm", data="AAEC"))]
    assert said[1:-1] == events


def test_a_streamed_picture_and_what_cannot_be_read() -> None:
    said = streamed({"images": [SHOWN]}, {"images": 5}, {"audio": 5}, {"annotations": [{}], "executed_tools": [{}]})
    names = ("images", "audio", "annotations", "executed_tools")
    assert said[1:-1] == [MediaPiece(PICTURE), *map(Unheld, names)]
    assert streamed({"audio": {"data": "what"}}, {"audio": {"data": "?"}})[1:-1] == [Unheld("audio")]


def test_pieces_of_sound_are_joined_as_bytes() -> None:
    assert joined_sound(["UklGRg==", "AAA="]) == Audio(media_type="audio/wav", data="UklGRgAA")
    assert joined_sound(["é"]) == Unheld("audio")
