"""Whatever comes, Cohere's reader never raises."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyrelay.wire.cohere.reading import read_answer, read_embeddings
from keyrelay.wire.cohere.streaming import CohereReader
from keyrelay.wire.sse import EventSplitter
from tests.wire.ollama.samples import EXAMPLES
from tests.wire.spoiling import JSON_VALUES, spoiled

ANSWER = {
    "id": "x",
    "finish_reason": "COMPLETE",
    "message": {
        "content": [{"type": "text", "text": "Hi"}, {"type": "thinking", "thinking": "Hm"}],
        "tool_plan": "I look.",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    "usage": {"tokens": {"input_tokens": 1.0, "output_tokens": 2}, "cached_tokens": 1},
    "embeddings": {"float": [[1.5]]},
    "meta": {"billed_units": {"input_tokens": 1}},
}
EVENTS = [
    {"type": "message-start", "id": "x", "delta": {"message": {"content": [], "tool_calls": []}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": {"message": {"tool_calls": {"id": "c", "function": {"name": "f"}}}},
    },
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
    {"type": "tool-call-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 1}}}},
]


@settings(max_examples=EXAMPLES)
@given(body=spoiled(ANSWER) | st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@example(b'{"message":{"tool_calls":[{"function":{"name":"_xD83D_"}}]}}')
@example(b"[" * 100_000)
def test_a_bad_answer_is_a_value(body: bytes) -> None:
    assert read_answer(body) is not None
    assert read_embeddings(body) is not None


@settings(max_examples=EXAMPLES)
@given(
    events=st.lists(st.sampled_from(EVENTS).flatmap(spoiled) | st.sampled_from(EVENTS).map(json.dumps).map(str.encode))
)
def test_a_bad_stream_is_read_to_its_end(events: list[bytes]) -> None:
    splitter, reader = EventSplitter(10_000), CohereReader()
    for event in events:
        for framed in splitter.feed(b"data: " + event + b"\n\n"):
            reader.read(framed)
    assert repr(reader)
