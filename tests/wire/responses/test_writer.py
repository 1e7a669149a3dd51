import json

import pytest
from hypothesis import given

from keyrelay.core.conversation import Answer, Begun, Event, Finished, Text, TextPiece, ThinkingPiece, Tokens, ToolCall
from keyrelay.core.errors import CallerError
from keyrelay.wire.sse import EventSplitter
from tests.wire.responses.asked import CALLER, asked, events_in, facts_of, fixture, streamed
from tests.wire.responses.strategies import ANSWERS, REQUEST

ENDS = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}


def names(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events_in(stream)]


def test_words_come_in_the_order_that_codex_insists_on() -> None:
    answer = Answer(parts=(Text("Hello"),), tokens=Tokens(input=1, output=2))
    assert names(streamed(answer, facts_of())) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_calls_of_codexs_tools_come_back_with_name_and_namespace_apart() -> None:
    calls = (
        ToolCall("c1", "mcp__node_repl__js", '{"code":"1"}'),
        ToolCall("c2", "apply_patch", '{"input":"*** Begin Patch"}'),
        ToolCall("c3", "functions__exec", "text(1)", custom=True),
        ToolCall("c4", "tool_search", '{"query":"x"}'),
    )
    events = events_in(streamed(Answer(parts=calls, finish="tool_calls"), facts_of(fixture("codex_first"))))
    for kind in ("response.output_item.added", "response.output_item.done"):
        items = [event["item"] for event in events if event["type"] == kind]
        assert [(item["type"], item.get("namespace"), item.get("name")) for item in items] == [
            ("function_call", "mcp__node_repl", "js"),
            ("custom_tool_call", None, "apply_patch"),
            ("custom_tool_call", "functions", "exec"),
            ("tool_search_call", None, None),
        ]
    assert [item.get("arguments", item.get("input")) for item in items] == [
        '{"code":"1"}',
        "*** Begin Patch",
        "text(1)",
        {"query": "x"},
    ]


@given(ANSWERS)
def test_a_stream_ends_with_the_whole_answer(answer: Answer) -> None:
    facts = facts_of(REQUEST)
    last = events_in(streamed(answer, facts))[-1]
    whole = json.loads(CALLER.answer(answer, facts))
    assert last["response"] == whole
    assert last["type"] == ENDS[whole["status"]]


@given(ANSWERS)
def test_deltas_are_what_is_done_and_what_is_done_is_the_output(answer: Answer) -> None:
    events = events_in(streamed(answer, facts_of(REQUEST)))
    pieces: dict[tuple[str, int], str] = {}
    done: dict[tuple[str, int], str] = {}
    for event in events:
        kind, _, stage = event["type"].rpartition(".")
        place = event.get("item_id", ""), event.get("content_index", 0)
        if stage == "delta":
            pieces[place] = pieces.get(place, "") + event["delta"]
        elif stage == "done" and kind != "response.output_item" and "part" not in event:
            done[place] = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
    assert {place: text for place, text in done.items() if text} == {
        place: text for place, text in pieces.items() if text
    }
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert items == events[-1]["response"]["output"]
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert added == [item["id"] for item in items]


@pytest.mark.parametrize("text", ["a\r\nb\rc\nd", "a\u2028b\u2029c\x85d", "data: x\n\nevent: y"])
def test_words_that_look_like_the_end_of_a_line_stay_inside_their_event(text: str) -> None:
    stream = streamed(Answer(parts=(Text(text),)), facts_of())
    whole = EventSplitter(1 << 20).feed(stream)
    assert events_in(stream)[4]["delta"] == text
    for place in range(len(stream)):
        splitter = EventSplitter(1 << 20)
        assert splitter.feed(stream[:place]) + splitter.feed(stream[place:]) == whole


def test_settings_on_many_lines_stay_inside_their_event() -> None:
    body = b'{\n"model": "m",\r\n"input": "Hi",\n"metadata": {\n"a": "b"\n}\n}'
    request = CALLER.request("chat", body, max_depth=9)
    assert events_in(streamed(Answer(parts=()), facts_of(request)))[0]["response"]["metadata"] == {"a": "b"}


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_is_not_whole_says_so(finish: str) -> None:
    events = events_in(streamed(Answer(parts=(Text("a"),), finish=finish), facts_of()))  # type: ignore[arg-type]
    assert events[-1]["type"] == "response.incomplete"
    assert events[-2]["item"]["status"] == "incomplete"


def test_a_stream_that_breaks_ends_with_the_items_that_had_come() -> None:
    writer = CALLER.writer(facts_of())
    events: list[Event] = [Begun(), ThinkingPiece("Hm"), TextPiece("Hel")]
    stream = b"".join(map(writer.write, events)) + writer.fail(CallerError(504, "The provider was too slow."))
    last = events_in(stream)[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "The provider was too slow."}
    assert [item["type"] for item in last["response"]["output"]] == ["reasoning"]


def test_an_end_without_a_reason_is_an_end() -> None:
    writer = CALLER.writer(facts_of(asked(stream=True)))
    stream = writer.write(Begun()) + writer.write(TextPiece("a")) + writer.end()
    assert events_in(stream)[-1]["response"]["output"][0]["status"] == "completed"
    assert repr(writer).startswith("<ResponsesWriter 9 events, <OutputBuilder 1 items")


def test_an_answer_that_the_model_broke_off_fails() -> None:
    writer = CALLER.writer(facts_of())
    stream = writer.write(Begun()) + writer.write(Finished("error")) + writer.end()
    assert events_in(stream)[-1]["type"] == "response.failed"
