from hypothesis import given

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finished,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.engine.collecting import AnswerCollector
from keyrelay.wire.responses.building import events_of
from tests.wire.responses.strategies import ANSWERS, joined


def collected(*events: Event) -> Answer:
    collector = AnswerCollector()
    for event in events:
        collector.feed(event)
    return collector.answer()


def test_pieces_are_parts_in_their_order() -> None:
    answer = collected(
        Begun(id="id", model="m", tokens=Tokens(input=1)),
        ThinkingPiece("H"),
        ThinkingPiece("m"),
        ThinkingPiece("", "sig", "", "anthropic"),
        ThinkingPiece("", "", "hidden", "anthropic"),
        TextPiece("Hel"),
        TextPiece("lo"),
        RefusalPiece("No"),
        CallBegun("c1", "f", signature="s", signed_by="gemini"),
        CallPiece('{"a":'),
        CallPiece("1}"),
        CallBegun("c2", "g", custom=True),
        Finished("stop_sequence", "END"),
        Counted(tokens=Tokens(input=1, output=2)),
    )
    assert answer == Answer(
        parts=(
            Thinking(text="Hm", signature="sig", signed_by="anthropic"),
            Thinking(redacted="hidden", signed_by="anthropic"),
            Text("Hello"),
            Refusal("No"),
            ToolCall("c1", "f", '{"a":1}', signature="s", signed_by="gemini"),
            ToolCall("c2", "g", "", custom=True),
        ),
        finish="stop_sequence",
        stop_sequence="END",
        tokens=Tokens(input=1, output=2),
        id="id",
        model="m",
    )


def test_an_answer_without_an_end_is_none() -> None:
    assert collected(Begun(), TextPiece("Hel")) == Answer(parts=(Text("Hel"),), finish="error")


def test_asking_twice_gives_the_same() -> None:
    collector = AnswerCollector()
    collector.feed(TextPiece("a"))
    assert collector.answer() == collector.answer()
    assert repr(collector) == "<AnswerCollector 0 parts, 1 pieces>"


@given(ANSWERS)
def test_what_was_sent_is_what_is_collected(answer: Answer) -> None:
    events: list[Event] = [Begun(), *events_of(answer.parts), Finished(answer.finish)]
    if answer.tokens is not None:
        events.append(Counted(tokens=answer.tokens))
    assert collected(*events) == joined(answer)
