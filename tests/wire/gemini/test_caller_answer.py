import json
from typing import Any

import pytest

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Event,
    Finish,
    Finished,
    Reasoning,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.gemini.caller import GeminiCaller
from tests.wire.gemini.shared import ARRAY, EVENTS, SHOWN, facts

TOKENS = Tokens(input=10, output=7, cached=2, reasoning=3)


def parts_of(*parts: Any, reasoning: Reasoning | None = None, finish: Finish = "stop") -> tuple[Any, str]:
    body = json.loads(EVENTS.answer(Answer(parts=parts, finish=finish), facts(reasoning=reasoning)))
    (candidate,) = body["candidates"]
    return candidate["content"]["parts"], candidate["finishReason"]


def test_a_whole_answer() -> None:
    call = ToolCall(id="c1", name="look", arguments='{"a":1}', signature="s", signed_by="gemini")
    answer = Answer(parts=(Text(text="Well."), call), finish="tool_calls", tokens=TOKENS, id="their", model="theirs")
    assert json.loads(EVENTS.answer(answer, facts())) == {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Well."},
                        {
                            "functionCall": {"id": "c1", "name": "look", "args": {"a": 1}},
                            "thoughtSignature": "s",
                        },
                    ],
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 2,
            "totalTokenCount": 17,
        },
        "modelVersion": "gemini-x",
        "responseId": "resp-1",
    }


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "STOP"),
        ("stop_sequence", "STOP"),
        ("tool_calls", "STOP"),
        ("length", "MAX_TOKENS"),
        ("content_filter", "SAFETY"),
        ("error", "OTHER"),
    ],
)
def test_reasons(finish: Finish, reason: str) -> None:
    assert parts_of(finish=finish) == ([], reason)


def test_thoughts_are_shown_to_who_wants_them_and_signatures_to_everybody() -> None:
    thoughts = (
        Thinking(text="one"),
        Thinking(text="two", signature="s", signed_by="gemini"),
        Thinking(text="three", signature="t", signed_by="anthropic"),
        Thinking(redacted="xyz", signed_by="anthropic"),
    )
    shown = [
        {"text": "one", "thought": True},
        {"text": "two", "thought": True, "thoughtSignature": "s"},
        {"text": "three", "thought": True},
    ]
    assert parts_of(*thoughts, reasoning=SHOWN)[0] == shown
    for reasoning in (None, Reasoning(shown=False), Reasoning()):
        assert parts_of(*thoughts, reasoning=reasoning)[0] == [{"text": "", "thoughtSignature": "s"}]


def test_a_signature_behind_a_text_stands_on_it() -> None:
    signature = Thinking(signature="s", signed_by="gemini")
    assert parts_of(Text(text="a"), signature)[0] == [{"text": "a", "thoughtSignature": "s"}]
    assert parts_of(Text(text="a"), signature, signature)[0][1] == {"text": "", "thoughtSignature": "s"}
    assert parts_of(Thinking(text="t"), signature, reasoning=SHOWN)[0][1] == {"text": "", "thoughtSignature": "s"}


def test_refusals_are_words_and_nothing_is_nothing() -> None:
    assert parts_of(Refusal(text="No."), Text(text=""))[0] == [{"text": "No."}]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("tool_calls", "MALFORMED_FUNCTION_CALL"), ("stop", "MALFORMED_FUNCTION_CALL"), ("length", "MAX_TOKENS")],
)
def test_a_call_that_is_no_json_is_not_made(finish: Finish, reason: str) -> None:
    broken = ToolCall(id="c1", name="look", arguments='{"a":')
    assert parts_of(Text(text="a"), broken, finish=finish) == ([{"text": "a"}], reason)


def test_free_text_is_the_input_of_a_function() -> None:
    parts, _ = parts_of(ToolCall(id="c1", name="patch", arguments="*** Begin", custom=True), finish="tool_calls")
    assert parts == [{"functionCall": {"id": "c1", "name": "patch", "args": {"input": "*** Begin"}}}]


def test_tokens_that_nobody_counted_are_estimated() -> None:
    answer = Answer(parts=(Text(text="12345"), ToolCall(id="c", name="look", arguments="{}")))
    usage = json.loads(EVENTS.answer(answer, facts()))["usageMetadata"]
    assert (usage["promptTokenCount"], usage["candidatesTokenCount"], usage["totalTokenCount"]) == (7, 3, 10)


def chunks(*events: Event, caller: GeminiCaller = EVENTS, reasoning: Reasoning | None = None) -> list[Any]:
    writer = caller.writer(facts(reasoning=reasoning))
    data = b"".join(map(writer.write, events)) + writer.end()
    if caller is ARRAY:
        return list(json.loads(data))
    lines = data.decode().split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: {") for line in lines)
    return [json.loads(line[6:]) for line in lines]


def said(chunk: Any) -> Any:
    return chunk["candidates"][0]["content"]["parts"]


BEGUN = Begun(id="their", model="theirs")


@pytest.mark.parametrize("caller", [EVENTS, ARRAY])
def test_a_stream(caller: GeminiCaller) -> None:
    first, second, last = chunks(
        BEGUN,
        TextPiece(text="Hel"),
        TextPiece(text="lo"),
        Finished(finish="length"),
        Counted(tokens=TOKENS),
        caller=caller,
    )
    assert first == {
        "candidates": [{"content": {"parts": [{"text": "Hel"}], "role": "model"}, "index": 0}],
        "modelVersion": "gemini-x",
        "responseId": "resp-1",
    }
    assert said(second) == [{"text": "lo"}]
    assert last == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 2,
            "totalTokenCount": 17,
        },
        "modelVersion": "gemini-x",
        "responseId": "resp-1",
    }


def test_a_call_goes_out_when_it_is_whole() -> None:
    writer = EVENTS.writer(facts())
    assert writer.write(BEGUN) == b""
    assert writer.write(CallBegun(id="c1", name="look")) == b""
    assert writer.write(CallPiece(arguments='{"a":')) == b""
    assert writer.write(CallPiece(arguments="\n1}")) == b""
    written = writer.write(CallBegun(id="c2", name="walk", signature="s", signed_by="gemini"))
    call = {"functionCall": {"id": "c1", "name": "look", "args": {"a": 1}}}
    assert written.count(b"\n") == 2
    assert said(json.loads(written[6:])) == [call]
    assert said(json.loads(writer.write(TextPiece(text="!"))[6:])) == [
        {"functionCall": {"id": "c2", "name": "walk", "args": {}}, "thoughtSignature": "s"},
        {"text": "!"},
    ]
    assert repr(writer) == "<GeminiEventWriter events stop 17 characters>"


def test_a_call_that_ends_the_stream() -> None:
    call = (CallBegun(id="c1", name="look"), CallPiece(arguments="{}"))
    expected = [{"functionCall": {"id": "c1", "name": "look", "args": {}}}]
    whole, last = chunks(BEGUN, *call, Finished(finish="tool_calls"))
    assert (said(whole), said(last)) == (expected, [{"text": ""}])
    (cut,) = chunks(BEGUN, *call)
    assert said(cut) == expected


def test_a_call_that_is_no_json_ends_as_a_failure() -> None:
    (last,) = chunks(BEGUN, CallBegun(id="c1", name="look"), CallPiece(arguments="{"), Finished(finish="tool_calls"))
    assert last["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_arguments_without_a_call_are_nobodys() -> None:
    assert len(chunks(BEGUN, CallPiece(arguments="{}"))) == 1


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (SHOWN, [[{"text": "hm", "thought": True}], [{"text": "", "thoughtSignature": "s"}]]),
        (None, [[{"text": "", "thoughtSignature": "s"}]]),
    ],
)
def test_streamed_thoughts(reasoning: Reasoning | None, expected: Any) -> None:
    thoughts = (
        ThinkingPiece(text="hm"),
        ThinkingPiece(signature="s", signed_by="gemini"),
        ThinkingPiece(signature="t", signed_by="anthropic"),
    )
    *first, _ = chunks(BEGUN, *thoughts, RefusalPiece(text=""), reasoning=reasoning)
    assert [said(chunk) for chunk in first] == expected


def test_streamed_tokens_that_nobody_counted_are_estimated() -> None:
    usage = chunks(BEGUN, RefusalPiece(text="No, no."), ThinkingPiece(text="h"))[-1]["usageMetadata"]
    assert (usage["promptTokenCount"], usage["candidatesTokenCount"]) == (7, 2)


def test_an_empty_array_is_one_all_the_same() -> None:
    writer = ARRAY.writer(facts())
    assert repr(writer) == "<GeminiEventWriter array stop 0 characters>"
    (last,) = json.loads(writer.end())
    assert last["candidates"][0]["finishReason"] == "STOP"


def test_an_error_ends_a_stream() -> None:
    error = CallerError(503, "Nobody is there.", headers=(("Retry-After", "3"),))
    assert EVENTS.writer(facts()).fail(error) == b""
    event = EVENTS.error_event(error, "req_1")
    assert event.endswith(b"}\n\n")
    assert event.startswith(b'{"error":')
    assert json.loads(event)["error"]["status"] == "UNAVAILABLE"
    (failed,) = json.loads(ARRAY.writer(facts()).fail(error))
    assert failed["error"]["details"][1] == {
        "@type": "type.googleapis.com/google.rpc.RequestInfo",
        "requestId": "req_resp-1",
    }
