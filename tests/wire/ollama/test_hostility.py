"""Whatever comes, a caller gets an error of its own kind and a provider's reader never raises."""

import contextlib
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import StreamFailure
from keyrelay.wire.ollama.caller import OllamaCaller
from keyrelay.wire.ollama.models import shown_name
from keyrelay.wire.ollama.reading import OllamaReader, read_answer, read_embeddings
from tests.wire.ollama.samples import CHAT, EXAMPLES, GENERATE, PNG
from tests.wire.spoiling import JSON_VALUES, spoiled

CHAT_BODY = {
    "model": "llama3",
    "messages": [
        {"role": "user", "content": "Hi", "images": [PNG]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "x", "tool_name": "f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "format": {"type": "object"},
    "options": {"seed": 1, "stop": ["a"], "num_predict": 3, "num_ctx": 1},
    "think": True,
    "stream": False,
}
GENERATE_BODY = {
    "model": "m",
    "prompt": "Hi",
    "system": "s",
    "images": [PNG],
    "options": {},
    "context": [],
    "raw": True,
}
EMBED_BODY = {"model": "m", "input": ["a"], "prompt": "b", "dimensions": 3, "truncate": True}
ANSWER = {
    "model": "m",
    "created_at": "now",
    "message": {
        "content": "Hi",
        "thinking": "Hm",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}],
    },
    "response": "Hi",
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 1,
    "eval_count": 2,
    "embeddings": [[1.5]],
    "embedding": [1],
}


def is_refused_or_read(caller: OllamaCaller, body: bytes, *, embeddings: bool = False) -> None:
    with contextlib.suppress(CallerError):
        request = caller.request("embeddings" if embeddings else "chat", body, max_depth=64)
        caller.loads(request)
        caller.loaded(request, 0)
        if embeddings:
            caller.embeddings_asked(request)
        else:
            caller.conversation(request)


@settings(max_examples=EXAMPLES)
@given(chat=spoiled(CHAT_BODY), prompt=spoiled(GENERATE_BODY), texts=spoiled(EMBED_BODY))
@example(chat=b'{"model":"m","options":{"seed":1e999}}', prompt=b"\xff", texts=b'{"model":"m","input":"\\ud800"}')
def test_a_bad_request_is_the_callers_own_error(chat: bytes, prompt: bytes, texts: bytes) -> None:
    is_refused_or_read(CHAT, chat)
    is_refused_or_read(GENERATE, prompt)
    is_refused_or_read(CHAT, texts, embeddings=True)
    with contextlib.suppress(CallerError):
        shown_name(texts, max_depth=64)


@settings(max_examples=EXAMPLES)
@given(body=spoiled(ANSWER) | st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@example(b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":"\\ud83d"}}]}}')
@example(b"[" * 100_000)
def test_a_bad_answer_is_a_value(body: bytes) -> None:
    assert read_answer(body) is not None
    assert read_embeddings(body) is not None
    reader = OllamaReader()
    first = list(reader.read(body))
    assert any(isinstance(item, StreamFailure) for item in first) <= (list(reader.read(body)) == [])
