from keyrelay.core.conversation import CallBegun, CallPiece, Counted, TextPiece, Thinking, ThinkingPiece, Tokens
from keyrelay.wire.responses.building import OutputBuilder, events_of, last_status
from keyrelay.wire.responses.outputs import CustomCallItem, FunctionCallItem, MessageItem, ReasoningItem, SearchCallItem
from tests.wire.responses.asked import ANSWER_ID, facts_of
from tests.wire.responses.strategies import REQUEST


def builder() -> OutputBuilder:
    return OutputBuilder(facts_of(REQUEST))


def test_ids_say_answer_and_place() -> None:
    output = builder()
    for event in (
        ThinkingPiece("a"),
        TextPiece("b"),
        CallBegun("c", "plain"),
        CallBegun("d", "patch"),
        CallBegun("e", "tool_search"),
    ):
        output.add(event)
    output.close("completed")
    kinds = [ReasoningItem, MessageItem, FunctionCallItem, CustomCallItem, SearchCallItem]
    assert [type(item) for item in output.items] == kinds
    prefixes = ["rs", "msg", "fc", "ctc", "tsc"]
    assert [item.id for item in output.items] == [f"{name}_{ANSWER_ID}{at:04x}" for at, name in enumerate(prefixes)]


def test_a_thought_ends_with_its_signature() -> None:
    output = builder()
    for event in (ThinkingPiece("a"), ThinkingPiece("", "s", "", "anthropic"), ThinkingPiece("b")):
        output.add(event)
    output.close("completed")
    assert len(output.items) == 2


def test_what_is_no_content_says_nothing() -> None:
    output = builder()
    assert output.add(Counted(tokens=Tokens())) == []
    assert output.add(CallPiece("lost")) == []
    assert output.close("completed") == []
    assert repr(output) == "<OutputBuilder 0 items, None>"


def test_the_characters_of_whole_items_are_counted() -> None:
    output = builder()
    for event in (ThinkingPiece("é"), TextPiece("abc"), CallBegun("c", "plain"), CallPiece('{"a":1}')):
        output.add(event)
    output.close("completed")
    assert output.written == 1 + 3 + 7


def test_parts_as_events() -> None:
    assert list(events_of((Thinking(text="a", signature="s", signed_by="gemini"),))) == [
        ThinkingPiece("a", "s", "", "gemini")
    ]


def test_only_an_answer_that_is_not_whole_leaves_its_last_item_incomplete() -> None:
    assert [last_status(finish) for finish in ("stop", "tool_calls", "length", "content_filter", "error")] == [
        "completed",
        "completed",
        "incomplete",
        "incomplete",
        "incomplete",
    ]
