"""What a request will take, guessed before it is sent.

A reservation only has to be right within some 20 %, since settling corrects it, but it is made for every request. So
nothing is parsed: 3.5 bytes of UTF-8 are taken as one token, which costs a microsecond for 1 kB and 15 for 100 kB.
That is about right for English, code and CJK scripts (3 bytes, about 1 token); JSON's own bytes around each message
stand for the 4 tokens or so that a message costs. Text whose JSON escapes each letter comes out up to twice too high,
Cyrillic on older vocabularies up to twice too low. A heuristic without a measurement behind it.

Only what is embedded as base64 has to be taken out, since a megabyte of picture is not 300,000 tokens.

It is done once for each request, whichever models may serve it. What a model's own vocabulary makes of it is learned
(`quota.calibration`): that is a factor for the text alone, so a `RawEstimate` keeps text and media apart.

A counter that knows a model's own vocabulary may be given too (`with_exact`). What it counts takes the place of the
learned estimate for the models of that vocabulary; the heuristic goes on learning beside it, and stands in where the
counter passes.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from keyrelay.quota.values import Amounts, RawEstimate

BYTES_PER_TOKEN: Final = 3.5

MEDIA_TOKENS: Final = 1_000
"""Tokens of an embedded picture, sound or file: between a small and a large picture at most providers."""

COMPLETION_TOKENS: Final = 256
"""Tokens of an answer about which nothing is known."""

_STEP_BYTES: Final = 1024
"""Media are looked for at every so many bytes; what is shorter may be taken for text."""

_RUN: Final = re.compile(rb"[A-Za-z0-9+/_\\-]{64}")
_MEDIA: Final = re.compile(rb'(?:data:[^",]{0,100},)?[A-Za-z0-9+/_\\-]++=*"')


TokenCounter = Callable[[str, bytes], int | None]
"""Tokens of the text of a request's JSON by the vocabulary of this name; None when they are not counted."""


def estimate(content: bytes, *, max_tokens: int | None = None, completion_tokens: int = COMPLETION_TOKENS) -> Amounts:
    """Amounts to reserve for one request.

    `content` is the JSON of what the model reads: messages and tools, or simply the whole body. `max_tokens` is the
    caller's bound on the answer, if any; `completion_tokens` the answer's expected length, 0 for embeddings.
    """
    output_tokens = completion_tokens if max_tokens is None else min(completion_tokens, max(0, max_tokens))
    return Amounts(requests=1, input_tokens=estimate_input_tokens(content), output_tokens=output_tokens)


def estimate_input_tokens(content: bytes) -> int:
    """Tokens of the JSON of what the model reads; at least 1."""
    return estimate_raw(content).input_tokens


def estimate_raw(content: bytes) -> RawEstimate:
    """Tokens of the JSON of what the model reads, of which at least 1 is text."""
    media, media_bytes = embedded_media(content)
    return RawEstimate(max(1, math.ceil((len(content) - media_bytes) / BYTES_PER_TOKEN)), media * MEDIA_TOKENS)


def with_exact(raw: RawEstimate, content: bytes, vocabularies: Iterable[str], count: TokenCounter) -> RawEstimate:
    """The estimate with what these vocabularies count in the request's JSON, those that pass left out."""
    counts = {name: tokens for name in vocabularies if (tokens := count(name, content)) is not None}
    return replace(raw, exact=counts) if counts else raw


def embedded_media(content: bytes) -> tuple[int, int]:
    """How many media are embedded as base64 in the JSON of a request, and how many bytes they take.

    Looks at every 1,024th byte only, whatever the dialect: text has no 64 bytes there without a space or a sign.
    """
    count = taken = at = 0
    while at < len(content):
        if _RUN.match(content, at):
            # Further back it would have been found at an earlier step: so the whole scan stays linear.
            start = content.rfind(b'"', max(0, at - 2 * _STEP_BYTES), at) + 1
            if found := _MEDIA.match(content, start):
                count, taken, at = count + 1, taken + found.end() - 1 - start, found.end()
        at += _STEP_BYTES
    return count, taken
