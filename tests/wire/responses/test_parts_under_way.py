import msgspec
import pytest

from keyrelay.core.conversation import CallBegun, CallPiece, RefusalPiece, TextPiece, ThinkingPiece
from keyrelay.wire.responses.events import StreamEvent
from keyrelay.wire.responses.outputs import CustomCallItem, MessageItem, OutputRefusal, OutputText, SearchCallItem
from keyrelay.wire.responses.parts_under_way import CallUnderWay, MessageUnderWay, ThoughtUnderWay
from keyrelay.wire.responses.tools import Origin


def names(events: list[StreamEvent]) -> list[str]:
    return [event.type.removeprefix("response.") for event in events]


def test_a_message_has_a_part_for_words_and_one_for_a_refusal() -> None:
    message = MessageUnderWay("msg_1", 0)
    assert names(message.open()) == ["output_item.added"]
    assert names(message.more(TextPiece("a"))) == ["content_part.added", "output_text.delta"]
    assert names(message.more(TextPiece("b"))) == ["output_text.delta"]
    assert repr(message) == "<MessageUnderWay msg_1 0 parts, 2 pieces>"
    assert names(message.more(RefusalPiece("no"))) == [
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
    ]
    events, item = message.close("incomplete")
    assert names(events) == ["refusal.done", "content_part.done", "output_item.done"]
    assert isinstance(item, MessageItem)
    assert item.content == (OutputText(text="ab"), OutputRefusal(refusal="no"))


def test_a_message_of_nothing_is_a_message() -> None:
    events, _ = MessageUnderWay("msg_1", 0).close("completed")
    assert names(events) == ["output_item.done"]


def test_a_thought_without_words_has_no_summary() -> None:
    thought = ThoughtUnderWay("rs_1", 0)
    assert names(thought.open()) == ["output_item.added"]
    assert thought.more(ThinkingPiece("", "s", "", "anthropic")) == []
    assert thought.complete
    events, item = thought.close("completed")
    assert names(events) == ["output_item.done"]
    assert msgspec.to_builtins(item)["summary"] == ()
    assert repr(thought) == "<ThoughtUnderWay rs_1 0 pieces>"


def test_a_thought_with_words_has_one() -> None:
    thought = ThoughtUnderWay("rs_1", 0)
    assert names(thought.more(ThinkingPiece("a"))) == ["reasoning_summary_part.added", "reasoning_summary_text.delta"]
    assert names(thought.more(ThinkingPiece("b"))) == ["reasoning_summary_text.delta"]
    events, item = thought.close("completed")
    assert names(events) == ["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"]
    assert "encrypted_content" not in msgspec.to_builtins(item)


def test_a_custom_tool_that_was_called_as_a_function_is_held_back() -> None:
    call = CallUnderWay("ctc_1", 0, CallBegun("c", "functions__exec"), Origin("exec", "functions", "custom"))
    assert names(call.open()) == ["output_item.added"]
    assert call.more(CallPiece('{"inp')) == []
    assert call.more(CallPiece('ut":"a"}')) == []
    assert repr(call) == "<CallUnderWay ctc_1 custom functions__exec 2 pieces>"
    events, item = call.close("completed")
    assert names(events) == ["custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"]
    assert item == CustomCallItem(
        id="ctc_1", status="completed", call_id="c", input="a", name="exec", namespace="functions"
    )


def test_one_that_was_called_as_such_is_not() -> None:
    call = CallUnderWay("ctc_1", 0, CallBegun("c", "exec", custom=True), Origin("exec", kind="custom"))
    assert names(call.more(CallPiece("a"))) == ["custom_tool_call_input.delta"]
    events, item = call.close("completed")
    assert names(events) == ["custom_tool_call_input.done", "output_item.done"]
    assert isinstance(item, CustomCallItem)
    assert item.input == "a"


@pytest.mark.parametrize(
    ("arguments", "shown"), [("", b"{}"), ('{\n"query": "x"}', b'{"query":"x"}'), ("oops", b'"oops"')]
)
def test_a_search_for_tools_has_an_object(arguments: str, shown: bytes) -> None:
    call = CallUnderWay("tsc_1", 0, CallBegun("c", "tool_search"), Origin("tool_search", kind="tool_search"))
    assert call.more(CallPiece(arguments)) == []
    events, item = call.close("completed")
    assert names(events) == ["output_item.done"]
    assert isinstance(item, SearchCallItem)
    assert bytes(item.arguments) == shown
