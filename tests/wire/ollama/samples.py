"""What the tests of Ollama's dialect share: facts, requests, and strategies for what both of its sides can say."""

import json
import os

from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Event,
    Finish,
    Finished,
    Format,
    Image,
    Message,
    Reasoning,
    Sampling,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.ollama.caller import OllamaCaller

EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "250"))
CREATED_S = 1_780_000_000.25
CREATED = "2026-05-28T20:26:40.250000Z"
PNG = "iVBORw0KGgoAAAANSUhEUg=="
JPEG = "/9j/4AAQSkZJRg=="

CHAT = OllamaCaller()
GENERATE = OllamaCaller(generate=True)


def asked(
    body: object, *, caller: OllamaCaller = CHAT, operation: Operation = "chat", stream: bool | None = None
) -> CallRequest:
    """A request as the data plane reads it; `body` is JSON, or what becomes it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return caller.request(operation, data, max_depth=64, stream=stream)


def facts(*, think: object = None, model: str = "llama3", input_tokens: int = 7, **more: object) -> AnswerFacts:
    """Facts of an answer to a caller who asked with that `think`."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    request = asked(body if think is None else {**body, "think": think})
    return AnswerFacts(
        id="0" * 32,
        model=model,
        created_s=CREATED_S,
        input_tokens=input_tokens,
        request=request,
        conversation=CHAT.conversation(request),
    )


# The agreed subset. Texts are not empty, for an empty one is no text on the wire; schemas and arguments are objects in
# msgspec's own spelling; a turn has at most one thought, then one text, then calls, or pictures and one text; a call
# has its result, if any, in the next turn; thoughts are not signed; a seed is below 2**53.
TEXTS = st.text(min_size=1, max_size=20) | st.sampled_from(['{"a": 1}', "a\u2028b\u2029c\x85", "\r\n", '"', "données"])
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,15}", fullmatch=True)
IDS = st.from_regex(r"[A-Za-z0-9_\-]{1,24}", fullmatch=True)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
)
SCHEMAS = st.builds(
    lambda names: json.dumps({"type": "object", "properties": {name: {"type": "string"} for name in names}}),
    st.lists(NAMES, max_size=3),
)
NUMBERS = st.floats(-2, 2, allow_nan=False)
COUNTS = st.integers(0, 2**40)
PICTURES = st.sampled_from(
    [
        Image(media_type="image/png", data=PNG),
        Image(media_type="image/jpeg", data=JPEG),
        Image(media_type="image/gif", data="R0lGODlhAQABAA=="),
        Image(media_type="image/webp", data="UklGRhIAAABXRUJQ"),
    ]
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns of a conversation, the first one of them the user's or the system's."""
    messages: list[Message] = []
    used: set[str] = set()
    if draw(st.booleans()):
        messages.append(Message(role="system", parts=(Text(text=draw(TEXTS)),)))
    messages.append(_user(draw))
    for _ in range(draw(st.integers(0, 3))):
        fresh = [call_id for call_id in draw(st.lists(IDS, max_size=3, unique=True)) if call_id not in used]
        calls = tuple(ToolCall(id=call_id, name=draw(NAMES), arguments=draw(OBJECTS)) for call_id in fresh)
        used.update(fresh)
        thoughts = draw(st.lists(st.builds(Thinking, text=TEXTS), max_size=1))
        texts = draw(st.lists(st.builds(Text, text=TEXTS), min_size=0 if calls or thoughts else 1, max_size=1))
        messages.append(Message(role="assistant", parts=(*thoughts, *texts, *calls)))
        for call in draw(st.permutations(calls)):
            pictures = draw(st.lists(PICTURES, max_size=1))
            result = ToolResult(call_id=call.id, parts=(Text(text=draw(TEXTS)), *pictures), name=call.name)
            messages.append(Message(role="user", parts=(result,)))
        messages.append(_user(draw))
    return tuple(messages)


def _user(draw: st.DrawFn) -> Message:
    pictures = draw(st.lists(PICTURES, max_size=2))
    texts = draw(st.lists(st.builds(Text, text=TEXTS), min_size=0 if pictures else 1, max_size=1))
    return Message(role="user", parts=(*pictures, *texts))


REASONINGS = st.sampled_from(
    [None, Reasoning(budget_tokens=-1, shown=True), Reasoning(effort="none", shown=False)]
) | st.builds(Reasoning, effort=st.sampled_from(["low", "medium", "high", "max"]), shown=st.just(True))

CONVERSATIONS = st.builds(
    Conversation,
    messages=histories(),
    tools=st.lists(st.builds(Tool, name=NAMES, description=st.just("") | TEXTS, schema=SCHEMAS), max_size=3).map(tuple),
    format=st.none() | st.builds(Format, schema=st.just("") | SCHEMAS),
    reasoning=REASONINGS,
    sampling=st.builds(
        Sampling,
        temperature=st.none() | NUMBERS,
        top_p=st.none() | NUMBERS,
        top_k=st.none() | st.integers(0, 500),
        seed=st.none() | st.integers(-(2**53), 2**53),
        presence_penalty=st.none() | NUMBERS,
        frequency_penalty=st.none() | NUMBERS,
    ),
    max_output_tokens=st.none() | st.integers(1, 2**31),
    stop=st.lists(TEXTS, max_size=4).map(tuple),
    stream=st.booleans(),
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """A whole answer: at most one thought, one text, then calls."""
    thoughts = draw(st.lists(st.builds(Thinking, text=TEXTS), max_size=1))
    texts = draw(st.lists(st.builds(Text, text=TEXTS), max_size=1))
    calls = draw(st.lists(st.builds(ToolCall, id=IDS, name=NAMES, arguments=OBJECTS), max_size=3))
    tokens = draw(st.builds(Tokens, input=COUNTS, output=COUNTS))
    length = draw(st.booleans())
    finish: Finish = "length" if length else "tool_calls" if calls else "stop"
    return Answer(parts=(*thoughts, *texts, *calls), finish=finish, tokens=tokens, model="llama3")


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """The events of a stream; arguments in one piece, since they come whole."""
    pieces: list[Event] = []
    called = False
    for kind in draw(st.lists(st.sampled_from(["text", "thinking", "call"]), max_size=8)):
        if kind == "call":
            called = True
            pieces += (CallBegun(id=draw(IDS), name=draw(NAMES)), CallPiece(arguments=draw(OBJECTS)))
        else:
            pieces.append((TextPiece if kind == "text" else ThinkingPiece)(text=draw(TEXTS)))
    length = draw(st.booleans())
    finish = Finished(finish="length" if length else "tool_calls" if called else "stop")
    counted = Counted(tokens=Tokens(input=draw(COUNTS), output=draw(COUNTS)))
    return [Begun(model="llama3"), *pieces, finish, counted]
