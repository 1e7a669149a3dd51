from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import (
    Answer,
    Conversation,
    EmbeddingsAsked,
    Finish,
    Refusal,
    Text,
    Thinking,
    Tokens,
    ToolCall,
)
from keyrelay.core.providers import QuirksRow
from keyrelay.wire.anthropic.provider_stream import AnthropicReader
from keyrelay.wire.dialects import Target, Unreadable, UntranslatableError
from keyrelay.wire.sse import EventSplitter
from tests.wire.anthropic.examples import MODEL, PROVIDER, QUESTION, TARGET, asked, body_of

TEXT = {"type": "text", "text": "Well.", "citations": None}


def read(**members: Any) -> Answer | Unreadable:
    known = {"type": "message", "role": "assistant", "content": [TEXT], "stop_reason": "end_turn"}
    return PROVIDER.answer(msgspec.json.encode({**known, **members}))


def answered(**members: Any) -> Answer:
    answer = read(**members)
    assert isinstance(answer, Answer)
    return answer


def test_a_whole_answer() -> None:
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 8,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 5,
        "service_tier": "standard",
    }
    assert answered(id="msg_1", model="m", stop_sequence=None, usage=usage, container=None) == Answer(
        parts=(Text("Well."),),
        finish="stop",
        tokens=Tokens(input=20, output=5, cached=8, cache_written=2),
        id="msg_1",
        model="m",
    )


def test_every_part() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "compaction", "content": "a"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.50}},
    ]
    answer = answered(content=content, stop_reason="tool_use")
    assert answer.left_out == ("server_tool_use", "web_search_tool_result", "compaction")
    assert answer.parts == (
        Thinking(text="hm", signature="s", signed_by="anthropic"),
        Thinking(text="hm"),
        Thinking(redacted="x", signed_by="anthropic"),
        ToolCall(id="toolu_1", name="f", arguments='{"a":1.5}'),
    )


def test_sources_of_words_are_named() -> None:
    cited = {"type": "text", "text": "Well.", "citations": [{"type": "char_location"}]}
    assert answered(content=[cited, cited]).left_out == ("citations",)
    assert answered(content=[{**cited, "citations": []}]).left_out == ()


@pytest.mark.parametrize(
    ("members", "finish"),
    [
        ({"stop_reason": "stop_sequence", "stop_sequence": "END"}, "stop_sequence"),
        ({"stop_reason": None}, "stop"),
        ({"stop_reason": None, "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}, "tool_calls"),
        ({"content": []}, "stop"),
        ({"content": None}, "stop"),
    ],
)
def test_why_it_ended(members: dict[str, Any], finish: Finish) -> None:
    assert answered(**members).finish == finish
    assert answered(**members).stop_sequence == members.get("stop_sequence", "")


def test_a_refusal() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "I must not."}
    answer = answered(content=[], stop_reason="refusal", stop_details=details)
    assert (answer.parts, answer.finish) == ((Refusal("I must not."),), "content_filter")
    assert answered(stop_reason="refusal", stop_details=details).parts == (Text("Well."),)
    assert answered(content=[], stop_reason="refusal", stop_details=None).parts == ()
    assert answered(content=[], stop_details=details).parts == ()


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', True),
        (b'{"error":{"type":"forbidden","message":"Request not allowed"}}', True),
        (b'{"type":"message","content":[]}', False),
        (b'{"type":"message"}', False),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
        (b"<html>", False),
        (b'{"type":"message","content":"Well.","stop_reason":"end_turn"}', False),
        (b'{"type":"message","content":[{"type":"text"}],"stop_reason":"end_turn"}', False),
        (b'{"type":"message","content":[5],"stop_reason":"end_turn"}', False),
        (b'{"type":"message","content":[],"stop_reason":"end_turn","x":"\xff"}', False),
        (b'{"type":"message","content":' + b"[" * 5000, False),
    ],
)
def test_what_is_no_answer(body: bytes, is_error: bool) -> None:
    answer = PROVIDER.answer(body)
    assert isinstance(answer, Unreadable)
    assert (answer.is_error, bool(answer.problem)) == (is_error, True)


def test_words_of_any_language_are_read() -> None:
    assert answered(content=[{"type": "text", "text": "Grüße \u2028"}]).parts == (Text("Grüße \u2028"),)


def test_the_callers_own_bytes_pass() -> None:
    request = asked(unknown=[1, {"a": None}])
    assert PROVIDER.passed(request, TARGET).body is request.body


def test_only_the_model_changes() -> None:
    request = asked(model="fast", stream=True, temperature=0.5)
    written = PROVIDER.passed(request, TARGET)
    assert written.body == body_of(stream=True, temperature=0.5)
    assert (written.headers, written.left_out) == ((), ())


def test_thoughts_that_nobody_signed_do_not_pass() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": ""}
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}
    body = msgspec.json.decode(PROVIDER.passed(asked(messages=[QUESTION, said, QUESTION]), TARGET).body)
    assert body["messages"] == [QUESTION, {**said, "content": said["content"][1:]}, QUESTION]
    untouched = asked(messages=[QUESTION], signature="")
    assert PROVIDER.passed(untouched, TARGET).body is untouched.body


def test_a_provider_has_rules_of_its_own() -> None:
    target = Target(provider_id="x", model="m", quirks=QuirksRow(drop=("temperature",), model_prefix="org/"))
    written = PROVIDER.passed(asked(temperature=0.5), target)
    assert msgspec.json.decode(written.body) == {"model": "org/m", "max_tokens": 100, "messages": [QUESTION]}
    assert written.left_out == ("temperature",)
    request = asked(model="org/m")
    assert PROVIDER.passed(request, target).body is request.body


def test_there_are_no_embeddings() -> None:
    with pytest.raises(UntranslatableError, match="embeddings"):
        PROVIDER.embeddings_request(EmbeddingsAsked(), TARGET)
    assert isinstance(PROVIDER.embeddings(b"{}"), Unreadable)


def test_what_it_is() -> None:
    assert (PROVIDER.dialect, repr(PROVIDER)) == ("anthropic", "<AnthropicProvider>")
    assert isinstance(PROVIDER.splitter(10), EventSplitter)
    assert isinstance(PROVIDER.reader(), AnthropicReader)
    assert PROVIDER.reader() is not PROVIDER.reader()


def test_a_conversation_of_nothing_is_refused() -> None:
    with pytest.raises(UntranslatableError):
        PROVIDER.request(Conversation(messages=()), Target(provider_id="x", model=MODEL))
