import json
from typing import Any

import pytest

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Counted,
    Finish,
    Finished,
    Image,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.wire.dialects import StreamEnded, StreamFailure, Unreadable
from keyrelay.wire.errors import embedded_status, read_error
from keyrelay.wire.gemini.provider_answer import ACCOUNT_ERROR
from tests.wire.gemini.shared import PROVIDER, data

NOT_JSON = "the answer is not the JSON object that was expected"


EVENT_NOT_JSON = "an event is not the JSON that was expected"


USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "cachedContentTokenCount": 2}


TOKENS = Tokens(input=10, output=7, cached=2, reasoning=3)


def candidate(*parts: Any, reason: str | None = None, **members: Any) -> dict[str, Any]:
    content = {"content": {"parts": list(parts), "role": "model"}}
    return {"candidates": [{**content, **({"finishReason": reason} if reason else {}), "index": 0, **members}]}


def read(body: Any) -> Answer | Unreadable:
    return PROVIDER.answer(json.dumps(body).encode())


def answered(body: Any) -> Answer:
    answer = read(body)
    assert isinstance(answer, Answer)
    return answer


def test_a_whole_answer() -> None:
    body = {
        **candidate(
            {"text": "hm", "thought": True},
            {"text": "Well.", "thoughtSignature": "s"},
            {"functionCall": {"id": "c1", "name": "look", "args": {"a": 1}}, "thoughtSignature": "t"},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "u"},
            reason="STOP",
            safetyRatings=[{}],
        ),
        "usageMetadata": {**USAGE, "totalTokenCount": 17, "promptTokensDetails": []},
        "modelVersion": "gemini-x",
        "responseId": "resp-1",
    }
    assert read(body) == Answer(
        parts=(
            Thinking(text="hm"),
            Text(text="Well."),
            Thinking(signature="s", signed_by="gemini"),
            ToolCall(id="c1", name="look", arguments='{"a": 1}', signature="t", signed_by="gemini"),
            Image(media_type="image/png", data="AAAA"),
            Thinking(signature="u", signed_by="gemini"),
        ),
        finish="tool_calls",
        tokens=TOKENS,
        id="resp-1",
        model="gemini-x",
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("TOO_MANY_TOOL_CALLS", "error"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
        ("OTHER", "error"),
        ("SOMETHING_NEW", "error"),
        (None, "stop"),
    ],
)
def test_reasons(reason: str | None, finish: Finish) -> None:
    assert answered(candidate({"text": "a"}, reason=reason)).finish == finish
    if reason is not None:
        assert Finished(finish=finish) in PROVIDER.reader().read(data(candidate({"text": "a"}, reason=reason)))


def test_a_candidate_without_content() -> None:
    assert read({"candidates": [{"finishReason": "SAFETY"}]}) == Answer(parts=(), finish="content_filter")
    assert read({"candidates": [{"finishReason": "MAX_TOKENS", "content": {"role": "model"}}]}).finish == "length"  # type: ignore[union-attr]


def test_a_prompt_that_was_blocked_is_an_answer_without_parts() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r"}
    tokens = Tokens(input=3)
    assert read(body) == Answer(parts=(), finish="content_filter", tokens=tokens, id="r")
    assert PROVIDER.reader().read(data(body)) == [
        Begun(id="r", tokens=tokens),
        Finished(finish="content_filter"),
        Counted(tokens=tokens),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", Unreadable(problem=NOT_JSON)),
        (b"<html>", Unreadable(problem=NOT_JSON)),
        (b"[]", Unreadable(problem=NOT_JSON)),
        (b'{"candidates":[{"finishReason":5}]}', Unreadable(problem=NOT_JSON)),
        (b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}', Unreadable(problem=NOT_JSON)),
        (b'{"x":"\xff"}', Unreadable(problem=NOT_JSON)),
        (b"{}", Unreadable(problem="the answer is empty")),
        (b'{"candidates":[],"promptFeedback":{}}', Unreadable(problem="the answer is empty")),
        (
            b'[{"error":{"code":429}}]',
            Unreadable(problem="the answer holds an error although its status is 200", is_error=True),
        ),
        (
            b'{"candidates":[{"finishReason":"PUP_LIMITED_DISABLED"}]}',
            Unreadable(
                problem="the account is limited or disabled (PUP_LIMITED_DISABLED)", is_error=True, error=ACCOUNT_ERROR
            ),
        ),
    ],
)
def test_what_is_no_answer(body: bytes, expected: Unreadable) -> None:
    assert PROVIDER.answer(body) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, TOKENS),
        ({"promptTokenCount": 5, "toolUsePromptTokenCount": 2}, Tokens(input=7)),
        (
            {"promptTokenCount": 5, "totalTokenCount": 9, "thoughtsTokenCount": 4},
            Tokens(input=5, output=4, reasoning=4),
        ),
        ({"promptTokenCount": 5, "totalTokenCount": 3}, Tokens(input=5)),
        ({"promptTokenCount": -1}, None),
        ({"promptTokenCount": 2**53}, None),
        ({"promptTokenCount": "5"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_tokens(usage: Any, expected: Tokens | None) -> None:
    assert answered({**candidate({"text": "a"}), "usageMetadata": usage}).tokens == expected


def test_calls_without_ids_get_the_same_ones_each_time() -> None:
    first = {"functionCall": {"name": "look", "args": {"a": 1}}}
    body = {**candidate(first, first, {"functionCall": {}}, reason="STOP"), "responseId": "r"}
    answer = answered(body)
    assert answer == answered(body)
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    assert len({call.id for call in calls}) == 3
    assert (calls[2].name, calls[2].arguments) == ("", "{}")
    reader = PROVIDER.reader()
    events = [
        *reader.read(data({**candidate(first), "responseId": "r"})),
        *reader.read(data({**candidate(first, {"functionCall": {}}, reason="STOP"), "responseId": "r"})),
    ]
    assert [event.id for event in events if isinstance(event, CallBegun)] == [call.id for call in calls]


def test_indented_arguments_come_in_one_line() -> None:
    body = json.dumps(candidate({"functionCall": {"id": "c", "name": "a", "args": {"b": [1, "x\ny"]}}}), indent=2)
    (call,) = PROVIDER.answer(body.encode()).parts  # type: ignore[union-attr]
    assert isinstance(call, ToolCall)
    assert call.arguments == '{"b":[1,"x\\ny"]}'


def test_only_the_first_of_several_answers_is_read() -> None:
    body = {
        "candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}, *candidate({"text": "a"})["candidates"]]
    }
    assert answered(body).parts == (Text(text="a"),)


def test_a_stream() -> None:
    reader = PROVIDER.reader()
    about = {"modelVersion": "gemini-x", "responseId": "resp-1"}
    assert repr(reader) == "<GeminiEventReader not begun 0 calls>"
    assert reader.read(
        data(
            {
                **candidate({"text": "hm", "thought": True}),
                **about,
                "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 2, "thoughtsTokenCount": 1},
            }
        )
    ) == [
        Begun(id="resp-1", model="gemini-x", tokens=Tokens(input=10, cached=2)),
        ThinkingPiece(text="hm"),
        Counted(tokens=Tokens(input=10, output=1, cached=2, reasoning=1)),
    ]
    assert reader.read(data({**candidate({"text": "Well."}), **about})) == [TextPiece(text="Well.")]
    call = {"functionCall": {"id": "c1", "name": "look", "args": {}}, "thoughtSignature": "s"}
    assert reader.read(data({**candidate(call), "usageMetadata": USAGE})) == [
        CallBegun(id="c1", name="look", signature="s", signed_by="gemini"),
        CallPiece(arguments="{}"),
        Counted(tokens=TOKENS),
    ]
    assert repr(reader) == "<GeminiEventReader open 1 calls>"
    assert reader.read(data({**candidate({"text": ""}, reason="STOP"), "usageMetadata": USAGE})) == [
        Finished(finish="tool_calls")
    ]
    assert repr(reader) == "<GeminiEventReader finished 1 calls>"
    late = {**candidate({"text": "late"}, reason="STOP"), "usageMetadata": {**USAGE, "thoughtsTokenCount": 4}}
    assert reader.read(data(late)) == [Counted(tokens=Tokens(input=10, output=8, cached=2, reasoning=4))]


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "event",
    [
        json.dumps(ERROR, indent=2).encode(),
        json.dumps([ERROR], indent=2).replace("\n", "\r\n").encode() + b"\r\n\r\n",
        data(ERROR),
    ],
)
def test_an_error_in_a_stream_stands_bare_in_a_list_or_in_an_event(event: bytes) -> None:
    reader = PROVIDER.reader()
    reader.read(data(candidate({"text": "a"})))
    (failure,) = reader.read(event)
    assert isinstance(failure, StreamFailure)
    error = read_error(embedded_status(failure.error), failure.error, {}, 0.0)
    assert (error.status, error.message) == (503, "The model is overloaded.")


def test_a_limited_account_is_said_as_an_error() -> None:
    _, failure = PROVIDER.reader().read(data(candidate(reason="PUP_LIMITED_DISABLED")))
    assert isinstance(failure, StreamFailure)
    error = read_error(embedded_status(failure.error), failure.error, {}, 0.0)
    assert error.status == 403
    assert "PUP_LIMITED_DISABLED" in error.message
    assert "permission_denied" in error.codes


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b": keep-alive\n\n", []),
        (b"event: ping\n\n", []),
        (b"", []),
        (b"data: [DONE]\n\n", [StreamEnded()]),
        (b"data: nonsense\n\n", [StreamFailure(problem=EVENT_NOT_JSON)]),
        (b"data: {\n\n", [StreamFailure(problem=EVENT_NOT_JSON)]),
        (b'data: {"x":"\xff"}\n\n', [StreamFailure(problem=EVENT_NOT_JSON)]),
        (b"data: {}\n\n", [Begun()]),
        (
            b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},\n{"candidates":[{"finishReason":"STOP"}]}]',
            [Begun(), TextPiece(text="a"), Finished(finish="stop")],
        ),
    ],
)
def test_events(event: bytes, expected: Any) -> None:
    assert list(PROVIDER.reader().read(event)) == expected
