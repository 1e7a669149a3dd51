import msgspec

from keyrelay.core.conversation import Answer, Begun, Event, Finished, Image, MediaPiece, Text, TextPiece
from keyrelay.wire.responses.pictures import whole_picture
from tests.wire.responses.asked import CALLER, events_in, facts_of

PICTURE = Image(media_type="image/webp", data="UklGRgAA")
ITEM = {"type": "image_generation_call", "status": "completed", "result": "UklGRgAA", "output_format": "webp"}


def test_a_picture_is_shown_as_openai_shows_those_that_its_tool_makes() -> None:
    writer = CALLER.writer(facts_of())
    pieces: tuple[Event, ...] = (Begun(), TextPiece("a"), MediaPiece(PICTURE), TextPiece("b"), Finished("stop"))
    events = events_in(b"".join(map(writer.write, pieces)) + writer.end())
    names = [event["type"] for event in events if event.get("output_index") == 1]
    assert names == [
        "response.output_item.added",
        "response.image_generation_call.in_progress",
        "response.image_generation_call.generating",
        "response.image_generation_call.completed",
        "response.output_item.done",
    ]
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "image_generation_call", "message"]
    assert {name: output[1][name] for name in ITEM} == ITEM
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_a_whole_answer_says_the_same() -> None:
    answer = Answer(parts=(Text("a"), PICTURE, Text("b")))
    output = msgspec.json.decode(CALLER.answer(answer, facts_of()))["output"]
    assert {name: output[1][name] for name in ITEM} == ITEM


def test_a_kind_that_nobody_knows_is_not_said() -> None:
    _, item = whole_picture(Image(data="AAAA"), "ig_1", 0)
    assert b"output_format" not in msgspec.json.encode(item)
