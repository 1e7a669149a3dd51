"""Embeddings on both sides.

Providers are asked for numbers, whatever the caller asked for, and may answer in base64 all the same.
"""

import base64
import math
import struct
from collections.abc import Sequence

import msgspec

from keyrelay.core.conversation import Embeddings, EmbeddingsAsked
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.chat.counts import read_tokens
from keyrelay.wire.chat.shapes import EmbeddingsAnswer, EmbeddingsBody, VectorShape
from keyrelay.wire.dialects import EmbeddingFacts, Unreadable
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import decode_caller

_FLOAT_BYTES = 4
_LARGEST_FLOAT = 3.4028234663852886e38
_HELD = frozenset({"model", *EmbeddingsBody.__struct_fields__})
_body = msgspec.json.Decoder(EmbeddingsBody)
_answer = msgspec.json.Decoder(EmbeddingsAnswer)
_encoder = msgspec.json.Encoder()


def read_embeddings_asked(request: CallRequest) -> EmbeddingsAsked:
    """A caller's request: a text, texts, a list of tokens, or several. Raise CallerError (400) naming the field."""
    body = decode_caller(_body, request.body)
    if body.encoding_format not in {None, "float", "base64"}:
        message = "Invalid value for 'encoding_format': expected 'float' or 'base64'."
        raise CallerError(400, message, param="encoding_format", code="invalid_value")
    texts, tokens, single = _inputs(body.input)
    return EmbeddingsAsked(
        inputs=texts,
        token_inputs=tokens,
        dimensions=body.dimensions,
        base64=body.encoding_format == "base64",
        single=single,
        left_out=tuple(name for name, raw in request.fields.items() if name not in _HELD and bytes(raw) not in NOTHING),
    )


def _inputs(
    given: str | list[str | int | list[int]],
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], bool]:
    """Texts, lists of tokens, and whether it was one input outside of a list."""
    if isinstance(given, str):
        return (given,), (), True
    texts = tuple(item for item in given if isinstance(item, str))
    tokens = tuple(item for item in given if isinstance(item, int))
    lists = tuple(tuple(item) for item in given if isinstance(item, list))
    if not given or len(given) not in {len(texts), len(tokens), len(lists)}:
        message = "Invalid value for 'input': expected texts, tokens, or lists of tokens, and one kind of them."
        raise CallerError(400, message, param="input", code="invalid_value")
    return (texts, (tokens,), True) if tokens else (texts, lists, False)


def encode_embeddings(embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
    """The answer for a caller."""
    written = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if facts.asked.base64 else vector}
        for index, vector in enumerate(embeddings.vectors)
    ]
    used = embeddings.tokens.input if embeddings.tokens is not None else facts.input_tokens
    usage = {"prompt_tokens": used, "total_tokens": used}
    return _encoder.encode({"object": "list", "data": written, "model": facts.model, "usage": usage})


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats; a number beyond them becomes their largest."""
    try:
        packed = struct.pack(f"<{len(vector)}f", *vector)
    except OverflowError:
        bounded = [max(-_LARGEST_FLOAT, min(_LARGEST_FLOAT, number)) for number in vector]
        packed = struct.pack(f"<{len(vector)}f", *bounded)
    return base64.b64encode(packed).decode()


def embeddings_members(asked: EmbeddingsAsked) -> tuple[dict[str, object], tuple[str, ...]]:
    """The members for a provider besides the model, and what they leave out."""
    inputs: Sequence[object] = asked.token_inputs or asked.inputs
    members: dict[str, object] = {"input": inputs[0] if asked.single and len(inputs) == 1 else inputs}
    if asked.dimensions is not None:
        members["dimensions"] = asked.dimensions
    left_out = (("purpose",) if asked.purpose else ()) + (("truncate",) if asked.truncate is not None else ())
    return members, left_out


def read_embeddings(body: bytes) -> Embeddings | Unreadable:
    """A provider's answer, the vectors in the order of the inputs."""
    try:
        answer = _answer.decode(body)
        if bytes(answer.error) not in NOTHING:
            return Unreadable(problem="the answer holds an error although its status is 200", is_error=True)
        if not answer.data:
            return Unreadable(problem="the answer is empty")
        shapes = sorted(enumerate(answer.data), key=lambda item: item[0] if item[1].index is None else item[1].index)
        vectors = tuple(_vector(shape) for _, shape in shapes)
    except JSON_ERRORS:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    return Embeddings(vectors=vectors, tokens=read_tokens(answer.usage), model=answer.model or "")


def _vector(shape: VectorShape) -> tuple[float, ...]:
    """The numbers of one vector; raise ValueError when its base64 is none, or holds what is no number."""
    if not isinstance(shape.embedding, str):
        return shape.embedding
    packed = base64.b64decode(shape.embedding, validate=True)
    if len(packed) % _FLOAT_BYTES:
        raise ValueError("not a whole number of 32-bit floats")
    vector: tuple[float, ...] = struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed)
    if not all(map(math.isfinite, vector)):
        raise ValueError("a number is not finite")
    return vector
