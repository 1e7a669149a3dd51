"""What the tests of the Gemini dialect share: codecs, targets, facts, and strategies of what both sides can say."""

import json
import os
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Audio,
    Conversation,
    Document,
    Effort,
    Finish,
    Format,
    Image,
    Media,
    Message,
    Reasoning,
    Sampling,
    Text,
    Thinking,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import AnswerFacts, Target
from keyrelay.wire.gemini.caller import GeminiCaller
from keyrelay.wire.gemini.provider import GeminiProvider

EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "250"))
many = settings(max_examples=EXAMPLES)
fewer = settings(max_examples=EXAMPLES // 2)

EVENTS = GeminiCaller(sse=True)
ARRAY = GeminiCaller(sse=False)
PROVIDER = GeminiProvider()
NEWEST = Target(provider_id="gemini", model="gemini-3.8-flash")
MINIMAL = Target(provider_id="gemini", model="gemini-3-flash-preview")
FLASH = Target(provider_id="gemini", model="gemini-2.5-flash")
HELLO = Conversation(messages=(Message(role="user", parts=(Text(text="Hello"),)),))
SHOWN = Reasoning(shown=True)


def asked(body: Any, *, stream: bool = False) -> CallRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EVENTS.request("chat", data, max_depth=100, model="gemini-3.8-flash", stream=stream)


def read(body: Any, *, stream: bool = False) -> Conversation:
    return EVENTS.conversation(asked(body, stream=stream))


def turns(*contents: Any, **members: Any) -> Conversation:
    return read({"contents": list(contents), **members})


def written(conversation: Conversation, target: Target = NEWEST) -> Any:
    return json.loads(PROVIDER.request(conversation, target).body)


def said(*parts: Any, **members: Any) -> Conversation:
    return Conversation(messages=(Message(role="user", parts=parts),), **members)


def facts(*, reasoning: Reasoning | None = None, answer_id: str = "resp-1", model: str = "gemini-x") -> AnswerFacts:
    conversation = msgspec.structs.replace(HELLO, reasoning=reasoning)
    request = asked({"contents": [{"parts": [{"text": "Hello"}]}]})
    return AnswerFacts(
        id=answer_id, model=model, created_s=1.0, input_tokens=7, request=request, conversation=conversation
    )


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


# What round trips keep: words that are not empty, one name for each call, results that follow their calls.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
words = st.text('ab {}[]":,\\0\n\r\t\u0085\u2028\u2029\u00e9\U0001f600', min_size=1, max_size=12) | st.sampled_from(
    ["a\u2028b", "line\nline", '{"output":"x"}', '{"error":1}', '{"a":1}', "null", "5", "[1]", "data: x", "{\n}", "{} "]
)
names = st.text(LETTERS, min_size=1, max_size=8)
identifiers = st.integers(0, 2**48).map("call_{:x}".format)
signatures = st.text(LETTERS + "0123456789+/-", min_size=1, max_size=12)
base64 = st.integers(0, 2**63 - 1).map(lambda value: msgspec.json.encode(value.to_bytes(8, "big"))[1:-1].decode())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
members = st.dictionaries(words, json_values, max_size=2)
objects = members.map(json.dumps)
laid_out = objects | members.map(lambda value: json.dumps(value, indent=1))
schemas = st.dictionaries(names, st.just({"type": "string"}), max_size=3).map(
    lambda properties: json.dumps({"type": "object", "properties": properties})
)
texts = words.map(lambda text: Text(text=text))
images = st.one_of(
    st.builds(Image, media_type=st.sampled_from(["image/png", "image/webp"]), data=base64),
    st.builds(Image, media_type=st.just("image/jpeg"), url=st.just("https://example.org/cat")),
    st.just(Image(media_type="image/png", url="gs://bucket/cat.png")),
)
files = st.one_of(
    st.builds(Audio, media_type=st.sampled_from(["audio/wav", "audio/mp3"]), data=base64),
    st.builds(Document, media_type=st.sampled_from(["application/pdf", "text/plain"]), data=base64),
    st.just(Document(media_type="application/pdf", url="https://example.org/a.pdf")),
)


@st.composite
def signed(draw: st.DrawFn, /, kind: type[Any], **members: Any) -> Any:
    """A part with a signature of Gemini's."""
    return kind(**members, signature=draw(signatures), signed_by="gemini")


@st.composite
def assistant_parts(draw: st.DrawFn, calls: list[ToolCall]) -> tuple[Any, ...]:
    """Thoughts, words with or without a signature behind them, calls of which the first has a signature."""
    parts: list[Any] = []
    if draw(st.booleans()):
        parts.append(draw(signed(Thinking, text=draw(words))))
    for text in draw(st.lists(texts, max_size=2)):
        parts.append(text)
        if draw(st.booleans()):
            parts.append(draw(signed(Thinking)))
    parts += calls
    return tuple(parts or [draw(texts)])


@st.composite
def calls_of_a_turn(draw: st.DrawFn, taken: set[str], arguments: st.SearchStrategy[str]) -> list[ToolCall]:
    calls: list[ToolCall] = []
    for identifier in draw(st.lists(identifiers.filter(lambda value: value not in taken), max_size=2, unique=True)):
        call = ToolCall(id=identifier, name=draw(names), arguments=draw(arguments))
        if not calls or draw(st.booleans()):
            call = msgspec.structs.replace(call, signature=draw(signatures), signed_by="gemini")
        calls.append(call)
        taken.add(identifier)
    return calls


@st.composite
def results(draw: st.DrawFn, call: ToolCall) -> ToolResult:
    text = draw(st.just("") | words | laid_out)
    pictures = draw(st.lists(st.builds(Image, media_type=st.just("image/png"), data=base64), max_size=1))
    return ToolResult(
        call_id=call.id,
        name=call.name,
        parts=(*((Text(text=text),) if text else ()), *pictures),
        failed=draw(st.booleans()),
    )


@st.composite
def dialogues(draw: st.DrawFn) -> tuple[Message, ...]:
    """An optional system message, then turns that alternate; each call has its result in the turn that follows."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message(role="system", parts=tuple(draw(st.lists(texts, min_size=1, max_size=2)))))
    open_calls: list[ToolCall] = []
    taken: set[str] = set()
    for _ in range(draw(st.integers(1, 3))):
        answers = [draw(results(call)) for call in open_calls]
        more = draw(st.lists(st.one_of(texts, images, files), min_size=0 if answers else 1, max_size=3))
        messages.append(Message(role="user", parts=(*answers, *more)))
        open_calls = draw(calls_of_a_turn(taken, laid_out))
        messages.append(Message(role="assistant", parts=draw(assistant_parts(open_calls))))
    return tuple(messages)


efforts: st.SearchStrategy[Effort] = st.sampled_from(["minimal", "low", "medium", "high"])
numbers = st.floats(0, 2, allow_nan=False)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What a Gemini caller can say and a Gemini model be told: no log probabilities, one answer."""
    tools = draw(
        st.lists(st.builds(Tool, name=names, description=st.just("") | words, schema=st.just("") | schemas), max_size=2)
    )
    choices = st.builds(
        ToolChoice, mode=st.sampled_from(["auto", "required"]), names=st.lists(names, max_size=2).map(tuple)
    ) | st.just(ToolChoice(mode="none"))
    shown = st.none() | st.booleans()
    return Conversation(
        messages=draw(dialogues()),
        tools=tuple(tools),
        tool_choice=draw(st.none() | choices) if tools else None,
        format=draw(st.none() | st.builds(Format, schema=st.just("") | schemas)),
        reasoning=draw(st.none() | st.builds(Reasoning, effort=efforts, shown=shown) | st.just(SHOWN)),
        sampling=draw(
            st.builds(
                Sampling,
                temperature=st.none() | numbers,
                top_p=st.none() | numbers,
                top_k=st.none() | st.integers(1, 100),
                seed=st.none() | st.integers(0, 2**31),
                presence_penalty=st.none() | numbers,
                frequency_penalty=st.none() | numbers,
            )
        ),
        max_output_tokens=draw(st.none() | st.integers(1, 10_000)),
        stop=tuple(draw(st.lists(words, max_size=5))),
        stream=draw(st.booleans()),
        tier=draw(st.sampled_from(["", "flex", "priority", "standard"])),
    )


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    thoughts = draw(st.integers(0, 500))
    return Tokens(
        input=draw(st.integers(1, 10_000)),
        output=draw(st.integers(0, 500)) + thoughts,
        cached=draw(st.integers(0, 100)),
        reasoning=thoughts,
    )


MEDIA: list[Media] = [
    Image(media_type="image/png", data="AAAA"),
    Image(media_type="image/png", url="https://example.test/a.png"),
    Audio(media_type="audio/wav", data="AAAA"),
    Document(media_type="video/mp4", data="AAAA", name="a"),
    Document(media_type="application/pdf", url="https://example.test/a.pdf", name="a"),
]
media = st.sampled_from(MEDIA)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    calls = draw(calls_of_a_turn(set(), objects))
    finishes: list[Finish] = ["tool_calls"] if calls else ["stop", "length", "content_filter", "error"]
    return Answer(
        parts=(*draw(assistant_parts(calls)), *draw(st.lists(media, max_size=2))),
        finish=draw(st.sampled_from(finishes)),
        tokens=draw(tokens()),
        id="resp-1",
        model="gemini-x",
    )
