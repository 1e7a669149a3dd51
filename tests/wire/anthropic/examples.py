"""What the tests of Anthropic's dialect share: codecs, requests, and all that both sides can say of a conversation."""

import base64
import os
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Document,
    Event,
    Finish,
    Finished,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Sampling,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.requests import CallRequest
from keyrelay.wire.anthropic.caller import AnthropicCaller
from keyrelay.wire.anthropic.provider import AnthropicProvider
from keyrelay.wire.dialects import AnswerFacts, Target

CALLER = AnthropicCaller()
PROVIDER = AnthropicProvider()
MODEL = "some-model"
TARGET = Target(provider_id="anthropic", model=MODEL, max_output_tokens=64_000)
QUESTION: dict[str, Any] = {"role": "user", "content": "How are you?"}

many = settings(max_examples=int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "250")))
"""How many cases a round trip is tried with."""


def body_of(**members: Any) -> bytes:
    """The body of a request; what it does not say is a short question."""
    return msgspec.json.encode({"model": MODEL, "max_tokens": 100, "messages": [QUESTION], **members})


THINKING = {"type": "adaptive"}


def asked(**members: Any) -> CallRequest:
    return CALLER.request("chat", body_of(**members), max_depth=100)


def conversation_of(**members: Any) -> Conversation:
    return CALLER.conversation(asked(**members))


def written(conversation: Conversation, target: Target = TARGET) -> dict[str, Any]:
    """The request that a provider gets."""
    decoded: dict[str, Any] = msgspec.json.decode(PROVIDER.request(conversation, target).body)
    return decoded


def asking(*parts: Part, **members: Any) -> Conversation:
    """A conversation of one question."""
    return Conversation(messages=(Message(role="user", parts=parts or (Text("How are you?"),)),), **members)


def facts_of(*, thinking: dict[str, Any] | None = THINKING, **members: Any) -> AnswerFacts:
    """The facts for a caller who asked for thoughts, unless something else is said."""
    request = asked(thinking=thinking)
    known: dict[str, Any] = {"id": "0" * 32, "model": MODEL, "created_s": 0.0, "input_tokens": 7}
    return AnswerFacts(**{**known, **members}, request=request, conversation=CALLER.conversation(request))


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, after a look at how they are framed."""
    events = []
    for framed in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = framed.split("\n")
        event = msgspec.json.decode(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def read_all(stream: bytes, *cuts: int) -> list[Any]:
    """What a reader says of a stream that comes cut at some offsets."""
    splitter, reader = PROVIDER.splitter(1_000_000), PROVIDER.reader()
    framed: list[bytes] = []
    for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
        framed += splitter.feed(stream[start:end])
    rest = splitter.rest()
    return [said for event in [*framed, *([rest + b"\n\n"] if rest else [])] for said in reader.read(event)]


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
texts = words.filter(lambda text: not text.isspace())
names = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
encoded = st.binary(min_size=1, max_size=12).map(lambda data: base64.b64encode(data).decode())
caches = st.sampled_from(["", "5m", "1h"])
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


def as_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


objects = st.dictionaries(words, values, max_size=3).map(as_text)
schemas = st.dictionaries(words, values, max_size=3).map(lambda members: as_text({**members, "type": "object"}))

spoken = st.builds(Text, texts, caches)
images = st.builds(
    Image,
    media_type=st.sampled_from(["image/jpeg", "image/png", "image/gif", "image/webp"]),
    data=encoded,
    cache=caches,
) | st.builds(Image, url=texts, cache=caches)
titles = st.just("") | words
documents = st.one_of(
    st.builds(Document, media_type=st.just("application/pdf"), data=encoded, name=titles, cache=caches),
    st.builds(
        Document,
        media_type=st.just("text/plain"),
        data=words.map(lambda text: base64.b64encode(text.encode()).decode()),
        name=titles,
        cache=caches,
    ),
    st.builds(Document, url=texts, name=titles, cache=caches),
    st.builds(Document, file_id=texts, name=titles, cache=caches),
    st.builds(Document, file_id=texts, media_type=st.just("image/*"), cache=caches),
)
results = st.builds(
    ToolResult,
    call_id=st.text(st.characters(codec="utf-8"), max_size=20),
    parts=st.lists(spoken | images | documents, max_size=2).map(tuple),
    failed=st.booleans(),
    cache=caches,
)
calls = st.builds(ToolCall, id=st.text(st.characters(codec="utf-8"), max_size=20), name=names, arguments=objects)
signed = st.builds(Thinking, text=words, signature=words, signed_by=st.just("anthropic"))
redacted = st.builds(Thinking, redacted=words, signed_by=st.just("anthropic"))


@st.composite
def user_turns(draw: st.DrawFn) -> Message:
    """Results come before all else."""
    parts = (*draw(st.lists(results, max_size=2)), *draw(st.lists(spoken | images | documents, max_size=2)))
    return Message(role="user", parts=parts or (Text("and?"),))


assistant_turns = st.lists(spoken.map(lambda text: Text(text.text)) | signed | redacted | calls, min_size=1, max_size=4)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Message, ...]:
    """Instructions, then turns that alternate; the user has the first word and the last."""
    system = draw(st.lists(spoken, max_size=2))
    messages = [Message(role="system", parts=tuple(system))] if system else []
    for parts in draw(st.lists(assistant_turns, max_size=3)):
        messages += [draw(user_turns()), Message(role="assistant", parts=tuple(parts))]
    return (*messages, draw(user_turns()))


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """All that Anthropic's dialect can say both ways.

    No custom tools, empty schemas or `strict` that says no; an effort goes with thinking that adapts; with thinking,
    nothing is said of sampling; a budget only where no calls were made.
    """
    messages = draw(histories())
    called = any(isinstance(part, ToolCall) for message in messages for part in message.parts)
    tool = st.builds(
        Tool, name=names, description=titles, schema=schemas, strict=st.sampled_from([None, True]), cache=caches
    )
    tools = draw(st.lists(tool, min_size=int(called), max_size=2))
    choice = draw(_choices(tools)) if tools else None
    forced = choice is not None and choice.mode == "required"
    reasoning = draw(st.sampled_from([None, Reasoning(budget_tokens=0)]) if forced else _reasonings(called=called))
    thinks = reasoning is not None and reasoning.budget_tokens != 0
    return Conversation(
        messages=messages,
        tools=tuple(tools),
        tool_choice=choice,
        format=draw(st.none() | st.builds(Format, schema=schemas)),
        reasoning=reasoning,
        sampling=Sampling() if thinks else draw(_samplings),
        max_output_tokens=draw(st.integers(2000, 64_000)),
        stop=tuple(draw(st.lists(texts, max_size=2))),
        stream=draw(st.booleans()),
        user=draw(titles),
        tier=draw(st.sampled_from(["", "auto", "standard_only"])),
    )


_samplings = st.builds(Sampling, temperature=st.floats(0, 1), top_k=st.none() | st.integers(1, 500)) | st.builds(
    Sampling, top_p=st.none() | st.floats(0, 1)
)


def _choices(tools: list[Tool]) -> st.SearchStrategy[ToolChoice | None]:
    parallel = st.sampled_from([None, True, False])
    return st.one_of(
        st.none(),
        st.just(ToolChoice(mode="none")),
        st.builds(ToolChoice, mode=st.sampled_from(["auto", "required"]), parallel=parallel),
        st.builds(
            ToolChoice,
            mode=st.just("required"),
            names=st.sampled_from([(tool.name,) for tool in tools]),
            parallel=parallel,
        ),
    )


def _reasonings(*, called: bool) -> st.SearchStrategy[Reasoning | None]:
    shown = st.sampled_from([None, True, False])
    efforts = st.sampled_from([None, "low", "medium", "high", "xhigh", "max"])
    ways = [
        st.none(),
        st.just(Reasoning(budget_tokens=0)),
        st.builds(Reasoning, effort=efforts, budget_tokens=st.just(-1), shown=shown),
    ]
    budgets = st.builds(Reasoning, effort=efforts, budget_tokens=st.integers(1024, 1999), shown=shown)
    return st.one_of(*ways, *([] if called else [budgets]))


@st.composite
def token_counts(draw: st.DrawFn) -> Tokens:
    fresh, cached, stored = (draw(st.integers(0, 10**6)) for _ in range(3))
    output = draw(st.integers(0, 10**6))
    total = fresh + cached + stored + 1
    return Tokens(
        input=total, output=output, cached=cached, cache_written=stored, reasoning=draw(st.integers(0, output))
    )


FINISHES: tuple[Finish, ...] = ("stop", "stop_sequence", "length", "tool_calls", "content_filter")


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """No refusals in words (they are text here); ids of calls that Anthropic makes; counted."""
    own_calls = st.builds(ToolCall, id=names, name=names, arguments=objects)
    thoughts = signed | redacted | st.builds(Thinking, text=words)
    parts = draw(st.lists(st.builds(Text, words) | thoughts | own_calls, max_size=5))
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = draw(st.sampled_from([finish for finish in FINISHES if not (called and finish == "stop")]))
    return Answer(
        parts=tuple(parts),
        finish=finish,
        tokens=draw(token_counts()),
        stop_sequence=draw(words) if finish == "stop_sequence" else "",
        id="msg_" + "0" * 32,
        model=MODEL,
    )


_said = st.lists(st.builds(TextPiece, words), min_size=1, max_size=3)
_thought = st.builds(
    lambda pieces, last: [*pieces, *last],
    st.lists(st.builds(ThinkingPiece, words), max_size=3),
    st.sampled_from(
        [
            [],
            [ThinkingPiece(signature="c2lnbmVk", signed_by="anthropic")],
            [ThinkingPiece(redacted="aGlkZGVu", signed_by="anthropic")],
        ]
    ),
)
_called = st.builds(
    lambda begun, pieces: [begun, *pieces],
    st.builds(CallBegun, id=names, name=names),
    st.lists(st.builds(CallPiece, words), max_size=3),
)


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """As `answers`, in pieces."""
    parts = draw(st.lists(_said | _thought | _called, max_size=5))
    pieces: list[Event] = [piece for part in parts for piece in part]
    called = any(isinstance(piece, CallBegun) for piece in pieces)
    finish = draw(st.sampled_from([finish for finish in FINISHES if not (called and finish == "stop")]))
    return [
        Begun(id="msg_" + "0" * 32, model=MODEL, tokens=draw(token_counts())),
        *pieces,
        Finished(finish, draw(words) if finish == "stop_sequence" else ""),
        Counted(tokens=draw(token_counts())),
    ]
