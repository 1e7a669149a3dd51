"""Bodies without content: filler of the right size, and answers of the right count.

A request's body says in its first words which request it is and how many tokens it has, so that a simulated provider
need not count them. A token is four characters, as the simulator counts them.
"""

import re
from typing import Literal

import msgspec

from keyrelay.core.providers import Operation
from keyrelay.replay.trace import TraceRequest
from keyrelay.simulator.answers import Answer
from keyrelay.simulator.bodies import Envelope, events, whole
from keyrelay.simulator.styles import Style

_TOKEN = "abc "  # noqa: S105 - a token of text
_MARKER = re.compile(rb"\[\[request (\d{1,9}) of (\d{1,9}) and (\d{1,9}) tokens\]\]")
_ENVELOPE_TOKENS = 4
_SHORT_ANSWER_TOKENS = 2
_encode = msgspec.json.encode


Place = Literal["event", "last", "none"]
"""Where a stream's usage goes."""


class Sizes(msgspec.Struct, frozen=True):
    """Which request it is, and its tokens."""

    number: int = 0
    input_tokens: int = 1
    output_tokens: int = 1


class Asked(msgspec.Struct):
    """What a simulated provider reads of a body besides its sizes."""

    model: str = ""
    stream: bool = False
    stream_options: dict[str, bool] | None = None


_asked = msgspec.json.Decoder(Asked)


def request_body(request: TraceRequest, number: int) -> bytes:
    """The body of a trace's request, in OpenAI's shape."""
    marker = f"[[request {number} of {request.input_tokens} and {request.output_tokens} tokens]]"
    missing = (request.input_tokens - _ENVELOPE_TOKENS) * len(_TOKEN) - len(marker)
    text = marker + _TOKEN * (missing // len(_TOKEN))  # nothing when it is negative
    body: dict[str, object] = {"model": request.model}
    if request.operation == "chat":
        body["messages"] = [{"role": "user", "content": text}]
    else:
        body["prompt" if request.operation == "completions" else "input"] = text
    if request.stream:
        body["stream"] = True
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    return _encode(body)


def read_body(body: bytes) -> tuple[Asked, Sizes]:
    """What a simulated provider has to know of a call."""
    found = _MARKER.search(body)
    return _asked.decode(body), Sizes(*map(int, found.groups())) if found else Sizes()


def answer_body(operation: Operation, envelope: Envelope, sizes: Sizes) -> bytes:
    """A whole answer."""
    if operation == "embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5, 0.5, 0.5]}
        tokens = {"prompt_tokens": sizes.input_tokens, "total_tokens": sizes.input_tokens}
        return _encode({"object": "list", "data": [vector], "model": envelope.model, "usage": tokens})
    return _encode(whole(_answer(sizes, short=True), _with_usage(envelope, sizes)))


def answer_events(envelope: Envelope, sizes: Sizes) -> tuple[bytes, bytes]:
    """A stream in two pieces: up to its first content, and the rest.

    As long as the stream says its usage, two tokens of text stand for all; else every token is an event.
    """
    told = envelope.usage != "none"
    made = events(_answer(sizes, short=told), _with_usage(envelope, sizes))
    first = made.content[:1]
    return b"".join((*made.opening, *first)), b"".join((*made.content[1:], *made.closing, made.done))


def envelope_of(operation: Operation, model: str, *, style: Style, usage: Place, moment: tuple[int, int]) -> Envelope:
    """What stands around an answer; `usage` as in the simulator's envelope, `moment` its number and epoch second."""
    number, created = moment
    return Envelope(
        id=f"chatcmpl-{number:016x}", created=created, model=model, operation=operation, style=style, usage=usage
    )


def _answer(sizes: Sizes, *, short: bool) -> Answer:
    count = max(1, sizes.output_tokens)
    if short:
        count = min(count, _SHORT_ANSWER_TOKENS)
    return Answer(tokens=[_TOKEN] * count, input_tokens=sizes.input_tokens)


def _with_usage(envelope: Envelope, sizes: Sizes) -> Envelope:
    total = sizes.input_tokens + sizes.output_tokens
    usage = {
        "prompt_tokens": sizes.input_tokens,
        "completion_tokens": sizes.output_tokens,
        "total_tokens": total,
    }
    return msgspec.structs.replace(envelope, forced_usage=usage)
