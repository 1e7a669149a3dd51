"""Nothing that both sides of Anthropic's dialect can say is lost between them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import Answer, Conversation, Event
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import StreamEnded, StreamFailure, Unreadable
from tests.wire.anthropic.examples import (
    CALLER,
    PROVIDER,
    TARGET,
    answers,
    conversations,
    event_lists,
    facts_of,
    many,
    read_all,
    values,
    words,
)

MEMBERS = st.sampled_from(
    ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "max_tokens"]
)
BLOCK_NAMES = st.sampled_from(
    [
        "type",
        "text",
        "source",
        "content",
        "input",
        "id",
        "tool_use_id",
        "thinking",
        "data",
        "title",
        "name",
        "signature",
    ]
)
TYPES = st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "base64", "file", "other"])
BLOCKS = st.dictionaries(BLOCK_NAMES, values | TYPES | st.dictionaries(BLOCK_NAMES, values | TYPES), max_size=5)


@many
@given(conversations())
def test_requests(conversation: Conversation) -> None:
    written = PROVIDER.request(conversation, TARGET)
    assert written.left_out == ()
    assert PROVIDER.request(conversation, TARGET) == written
    assert CALLER.conversation(CALLER.request("chat", written.body, max_depth=1000)) == conversation


@many
@given(answers())
def test_answers(answer: Answer) -> None:
    assert PROVIDER.answer(CALLER.answer(answer, facts_of())) == answer


@many
@given(event_lists())
def test_events(events: list[Event]) -> None:
    writer = CALLER.writer(facts_of())
    stream = b"".join(map(writer.write, events)) + writer.end()
    assert read_all(stream) == [*events, StreamEnded()]


@many
@given(st.dictionaries(MEMBERS, values, max_size=5), st.lists(BLOCKS, max_size=3))
def test_whatever_a_caller_sends_is_read_or_refused(
    members: dict[str, object], blocks: list[dict[str, object]]
) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": blocks}], **members}
    refused = None
    try:
        CALLER.conversation(CALLER.request("chat", msgspec.json.encode(body), max_depth=50))
    except CallerError as error:
        refused = error
    assert refused is None or (refused.status == 400 and refused.message)


@many
@given(st.dictionaries(BLOCK_NAMES | MEMBERS, values, max_size=5), st.lists(BLOCKS, max_size=3))
def test_whatever_a_provider_answers_is_read_or_reported(
    members: dict[str, object], blocks: list[dict[str, object]]
) -> None:
    answer = PROVIDER.answer(
        msgspec.json.encode({"type": "message", "stop_reason": "end_turn", "content": blocks, **members})
    )
    assert isinstance(answer, Answer | Unreadable)


EVENT_TYPES = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "x", "error"]
)
DELTA_TYPES = st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "y"])


@many
@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": EVENT_TYPES},
            optional={
                "index": st.integers(0, 2) | values,
                "content_block": BLOCKS,
                "delta": st.fixed_dictionaries({"type": DELTA_TYPES}, optional={"text": words, "thinking": words})
                | values,
                "message": values,
                "usage": values,
            },
        ),
        max_size=8,
    )
)
def test_whatever_a_provider_streams_is_read_or_reported(stream: list[dict[str, object]]) -> None:
    reader = PROVIDER.reader()
    said = [item for event in stream for item in reader.read(b"data: " + msgspec.json.encode(event) + b"\n\n")]
    events = [item for item in said if not isinstance(item, StreamFailure)]
    assert not events or type(events[0]).__name__ == "Begun"
    assert sum(type(item).__name__ == "Begun" for item in events) <= 1


@pytest.mark.parametrize(
    "data", [b"data: \xff\n\n", b'data: {"type":"error","error":"\xff"}\n\n', b"data: [\n\n", b"\xff"]
)
def test_no_bytes_make_a_reader_raise(data: bytes) -> None:
    assert all(isinstance(item, StreamFailure) for item in PROVIDER.reader().read(data))
