"""What Cohere answers when it does not stream: one object, or vectors.

`tool_plan`, what a model says before it calls tools, is a thought.
"""

from collections.abc import Iterator

import msgspec

from keyrelay.core.conversation import Answer, Embeddings, Finish, Text, Thinking, Tokens, ToolCall
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.cohere.names import own_name
from keyrelay.wire.cohere.shapes import Call, Content, Counts, EmbedGiven, Given, Said, Used
from keyrelay.wire.dialects import Unreadable
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import tool_id

BROKEN = frozenset({"ERROR", "TIMEOUT"})
"""Reasons with which an answer ends that is none."""

_FINISHES: dict[str, Finish] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
}
_WHOLE_NUMBER_LIMIT = 2**53
_WORDS = frozenset({"text", "thinking"})
_LONGEST_NAME = 64

_given = msgspec.json.Decoder(Given)
_embedded = msgspec.json.Decoder(EmbedGiven)


def read_answer(body: bytes) -> Answer | Unreadable:
    """Read the body of a 200."""
    try:
        given = _given.decode(body)
    except JSON_ERRORS:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    if isinstance(given.message, str) or bytes(given.error) not in NOTHING:
        return Unreadable(problem="the answer holds an error although its status is 200", is_error=True)
    if given.message is None:
        return Unreadable(problem="the answer is empty")
    if given.finish_reason in BROKEN:
        return Unreadable(problem=f"the model broke its answer off: {given.finish_reason}", is_error=True)
    answer_id = given.id or ""
    contents = given.message.content
    left_out = ["citations"] if bytes(given.message.citations) not in NOTHING else []
    left_out += [name for item in contents if (name := unheld_content(item))] if isinstance(contents, list) else []
    return Answer(
        parts=tuple(_parts(given.message, answer_id)),
        finish=finish_of(given.finish_reason),
        tokens=tokens_of(given.usage),
        id=answer_id,
        left_out=tuple(dict.fromkeys(left_out)),
    )


def read_embeddings(body: bytes) -> Embeddings | Unreadable:
    """Read the vectors in the body of a 200."""
    try:
        given = _embedded.decode(body)
    except JSON_ERRORS:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    vectors = given.embeddings.floats if given.embeddings is not None else None
    if not vectors:
        is_error = given.message is not None
        return Unreadable(problem="the answer holds no vectors", is_error=is_error)
    meta = given.meta
    tokens = None if meta is None else _counted(meta.tokens or meta.billed_units, 0)
    return Embeddings(vectors=vectors, tokens=tokens)


def _parts(said: Said, answer_id: str) -> Iterator[Text | Thinking | ToolCall]:
    if isinstance(said.content, str):
        yield Text(text=said.content)
    else:
        for item in said.content or ():
            if item.thinking:
                yield Thinking(text=item.thinking)
            if item.text:
                yield Text(text=item.text)
    if said.tool_plan:
        yield Thinking(text=said.tool_plan)
    for place, call in enumerate(said.tool_calls or ()):
        arguments = call.function.arguments if call.function is not None else None
        yield ToolCall(id=id_of(call, answer_id, place), name=name_of(call), arguments=arguments or "{}")


def unheld_content(item: Content) -> str:
    """What a piece of the content is called that is neither words nor thoughts; empty for those."""
    return f"content: {item.type[:_LONGEST_NAME]}" if item.type and item.type not in _WORDS else ""


def name_of(call: Call) -> str:
    """The tool that a call calls, by the name that the caller gave it."""
    return own_name(call.function.name or "") if call.function is not None else ""


def id_of(call: Call, answer_id: str, place: int) -> str:
    """The id of a call, made of its place where it has none."""
    return call.id or tool_id(answer_id, place, name_of(call))


def finish_of(reason: str | None) -> Finish:
    """Why an answer ended; words that are not known mean that it is whole."""
    return _FINISHES.get(reason or "", "stop")


def tokens_of(used: Used | None) -> Tokens | None:
    """The counts, None where there are none or absurd ones, which counts as not reported."""
    if used is None:
        return None
    return _counted(used.tokens or used.billed_units, used.cached_tokens or 0)


def _counted(counts: Counts | None, cached: float) -> Tokens | None:
    if counts is None or (counts.input_tokens is None and counts.output_tokens is None):
        return None
    numbers = (counts.input_tokens or 0, counts.output_tokens or 0, cached)
    if not all(0 <= number < _WHOLE_NUMBER_LIMIT for number in numbers):
        return None
    used_in = int(numbers[0])
    return Tokens(input=used_in, output=int(numbers[1]), cached=min(int(cached), used_in))
