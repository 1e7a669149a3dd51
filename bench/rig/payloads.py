"""What is sent and what is answered: chat completions of a known size."""

import json
import re

import msgspec

ANSWER_MODEL_SMALL = "bench-1k"
ANSWER_MODEL_LARGE = "bench-100k"
STREAM_MODEL = "bench-stream"

STREAM_EVENTS = 100
STREAM_GAP_S = 0.003

_SMALL_BYTES = 1_000
_LARGE_BYTES = 100_000


def _padded(size: int, text_length: int) -> str:
    return ("lorem ipsum dolor sit amet " * (size // 27 + 1))[:text_length]


def completion(model: str, size: int) -> bytes:
    """An answer to a chat completion of exactly `size` bytes, with usage."""

    def encode(text: str) -> bytes:
        return json.dumps(
            {
                "id": "chatcmpl-bench",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": model,
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
                ],
                "usage": {
                    "prompt_tokens": 20,
                    "completion_tokens": size // 4,
                    "total_tokens": 20 + size // 4,
                },
            }
        ).encode()

    return encode(_padded(size, size - len(encode(""))))


SMALL_ANSWER = completion(ANSWER_MODEL_SMALL, _SMALL_BYTES)
LARGE_ANSWER = completion(ANSWER_MODEL_LARGE, _LARGE_BYTES)


def question(model: str, size: int, *, stream: bool = False) -> bytes:
    """A request for a chat completion, whose prompt has about `size` bytes."""
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": _padded(size, size)},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def stream_events() -> list[bytes]:
    """The events of one streamed answer, `[DONE]` not among them: role, numbered words, finish, usage."""

    def event(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> bytes:
        chunk = {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": STREAM_MODEL,
            "choices": choices,
            "usage": usage,
        }
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def delta(content: dict[str, str], finish: str | None = None) -> bytes:
        return event([{"index": 0, "delta": content, "finish_reason": finish}])

    words = [delta({"content": f" word-{number:03d}"}) for number in range(STREAM_EVENTS - 3)]
    usage = event([], {"prompt_tokens": 20, "completion_tokens": len(words), "total_tokens": 20 + len(words)})
    return [delta({"role": "assistant", "content": ""}), *words, delta({}, "stop"), usage]


DONE = b"data: [DONE]\n\n"


CHAT = "/v1/chat/completions"
_OWN = re.compile(rb'[0-9a-f]{32}|"(?:created_at|input_tokens)":[0-9]+')


def without_own(body: bytes) -> bytes:
    """A body without what a gateway puts into each anew: ids, the time, its estimate of the prompt."""
    return _OWN.sub(b"", body)


class Scenario(msgspec.Struct, frozen=True):
    """One kind of request: `path` leads through nginx, the gateway finds the same upstream by the body's model.

    `own_path` is the path at the gateway. What it puts into each answer anew need not be what is in `answer`.
    """

    name: str
    title: str
    path: str
    body: bytes
    answer: bytes
    own_path: str = CHAT

    def is_answered_by(self, body: bytes) -> bool:
        """Whether this is the answer."""
        return body == self.answer or without_own(body) == without_own(self.answer)


SMALL = Scenario("1k", "1 kB answer", "/1k" + CHAT, question(ANSWER_MODEL_SMALL, 300), SMALL_ANSWER)
LARGE = Scenario("100k", "100 kB answer", "/100k" + CHAT, question(ANSWER_MODEL_LARGE, 300), LARGE_ANSWER)
UPLOAD = Scenario(
    "upload", "100 kB request", "/1k" + CHAT, question(ANSWER_MODEL_SMALL, _LARGE_BYTES - 250), SMALL_ANSWER
)
STREAM = Scenario(
    "stream",
    f"stream of {STREAM_EVENTS} events",
    "/stream" + CHAT,
    question(STREAM_MODEL, 300, stream=True),
    b"".join([*stream_events(), DONE]),
)
