"""Nothing of what both sides of this dialect can say is lost on the way out and back.

Of a conversation this is: turns of neighbours with different roles; a system turn, and a user's turn of words, with one
text; an assistant's turn with at most one thought, one text and calls, in this order; results of tools that hold words,
before whatever else the user says; functions and, at OpenAI itself, custom tools.
"""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Audio,
    Begun,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Document,
    Embeddings,
    EmbeddingsAsked,
    Event,
    Finish,
    Finished,
    Format,
    Image,
    MediaPiece,
    Message,
    Part,
    Reasoning,
    Refusal,
    RefusalPiece,
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
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import EmbeddingFacts, StreamEnded, StreamFailure
from tests.wire.chat.samples import CALLER, EXAMPLES, ID, PROVIDER, asked, delta, facts, target

FEWER = EXAMPLES * 2 // 5
"""A whole conversation costs more than all else here together."""

WORDS = st.text(min_size=1, max_size=20) | st.sampled_from(["a\u2028b", 'say "[DONE]"', "data: x\n\ndata: y", "\r\n"])
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
IDS = st.from_regex(r"call_[A-Za-z0-9]{1,20}", fullmatch=True)
BASE64 = st.binary(max_size=12).map(lambda data: base64.b64encode(data).decode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=4,
)
PLAIN = st.none() | st.integers(-(2**53), 2**53) | WORDS
OBJECTS = st.sampled_from(["{}", '{"a": [{"b": null}, 1.5e3]}']) | st.dictionaries(
    WORDS, PLAIN, min_size=1, max_size=2
).map(lambda value: msgspec.json.encode(value).decode())
FINISHES: st.SearchStrategy[Finish] = st.sampled_from(["stop", "length", "content_filter"])
FLOATS = st.floats(-2, 2, allow_nan=False)

texts = st.builds(Text, text=WORDS)
pictures = st.builds(
    Image, media_type=st.just("image/png"), data=BASE64.filter(bool), detail=st.sampled_from(["", "low", "high"])
) | st.builds(Image, url=NAMES.map("https://example.test/{}".format))
sounds = st.builds(Audio, media_type=st.sampled_from(["audio/wav", "audio/mp3"]), data=BASE64)
documents = st.builds(
    Document, media_type=st.just("application/pdf"), data=BASE64.filter(bool), name=st.just("") | NAMES
) | st.builds(Document, file_id=NAMES)
rich = st.lists(texts | pictures | sounds | documents, min_size=1, max_size=4).filter(
    lambda parts: not all(isinstance(part, Text) for part in parts)
)


@st.composite
def calls(draw: st.DrawFn, *, custom: bool) -> list[ToolCall]:
    found = []
    for call_id in draw(st.lists(IDS, max_size=3, unique=True)):
        if custom and draw(st.booleans()):
            found.append(ToolCall(id=call_id, name=draw(NAMES), arguments=draw(WORDS), custom=True))
        else:
            found.append(ToolCall(id=call_id, name=draw(NAMES), arguments=draw(OBJECTS)))
    return found


@st.composite
def turns(draw: st.DrawFn, *, custom: bool, thoughts: bool) -> tuple[Message, ...]:
    messages = [Message(role="system", parts=(draw(texts),))] if draw(st.booleans()) else []
    open_calls: list[ToolCall] = []
    for number in range(draw(st.integers(1, 5))):
        parts: list[Part] = []
        if number % 2 == 0:
            parts += [
                ToolResult(call_id=call.id, parts=tuple(draw(st.lists(texts, max_size=1))), custom=call.custom)
                for call in open_calls
            ]
            parts += draw(st.lists(texts, min_size=0 if parts else 1, max_size=1) | rich)
            messages.append(Message(role="user", parts=tuple(parts)))
        else:
            if thoughts:
                parts.append(draw(st.builds(Thinking, text=WORDS)))
            open_calls = draw(calls(custom=custom))
            parts += draw(st.lists(texts, min_size=0 if open_calls else 1, max_size=1))
            messages.append(Message(role="assistant", parts=(*parts, *open_calls)))
    seen: set[str] = set()
    for message in messages:  # an id stands for one call
        for part in message.parts:
            if isinstance(part, ToolCall):
                if part.id in seen:
                    return draw(turns(custom=custom, thoughts=thoughts))
                seen.add(part.id)
    return tuple(messages)


@st.composite
def tools(draw: st.DrawFn, *, custom: bool) -> tuple[Tool, ...]:
    functions = st.builds(
        Tool,
        name=NAMES,
        description=st.just("") | WORDS,
        schema=st.just("") | OBJECTS,
        strict=st.none() | st.booleans(),
    )
    customs = st.builds(
        Tool, name=NAMES, description=st.just("") | WORDS, grammar=st.just("") | OBJECTS, custom=st.just(True)
    )
    kinds = functions | customs if custom else functions
    return tuple(draw(st.lists(kinds, max_size=4, unique_by=lambda tool: tool.name)))


@st.composite
def conversations(draw: st.DrawFn, *, custom: bool, thoughts: bool = False) -> Conversation:
    offered = draw(tools(custom=custom))
    names = st.lists(st.sampled_from([tool.name for tool in offered] or [""]), max_size=3, unique=True).map(tuple)
    choice = st.none() | st.builds(
        ToolChoice, mode=st.sampled_from(["auto", "required"]), names=names, parallel=st.none() | st.booleans()
    )
    choice |= st.builds(ToolChoice, mode=st.just("none"), parallel=st.none() | st.booleans())
    plain_choice = choice.map(
        lambda chosen: chosen if chosen is None or custom else msgspec.structs.replace(chosen, names=chosen.names[:1])
    ).map(
        lambda chosen: (
            msgspec.structs.replace(chosen, mode="required")
            if chosen is not None and chosen.names and not custom
            else chosen
        )
    )
    return Conversation(
        messages=draw(turns(custom=custom, thoughts=thoughts)),
        tools=offered,
        tool_choice=draw(plain_choice) if offered else None,
        format=draw(
            st.none()
            | st.just(Format())
            | st.builds(
                Format, schema=OBJECTS, name=NAMES, description=st.just("") | WORDS, strict=st.none() | st.booleans()
            )
        ),
        reasoning=draw(
            st.none() | st.builds(Reasoning, effort=st.sampled_from(["none", "minimal", "low", "high", "max"]))
        ),
        sampling=draw(
            st.builds(
                Sampling,
                temperature=st.none() | FLOATS,
                top_p=st.none() | FLOATS,
                seed=st.none() | st.integers(0, 2**31),
                presence_penalty=st.none() | FLOATS,
                frequency_penalty=st.none() | FLOATS,
            )
        ),
        max_output_tokens=draw(st.none() | st.integers(1, 10**6)),
        stop=draw(st.lists(WORDS, max_size=3).map(tuple)),
        stream=draw(st.booleans()),
        user=draw(st.just("") | NAMES),
        tier=draw(st.sampled_from(["", "auto", "flex"])),
        cache_key=draw(st.just("") | NAMES),
    )


def there_and_back(conversation: Conversation, provider_id: str, **quirks: Any) -> Conversation:
    out = PROVIDER.request(conversation, target(provider_id, **quirks))
    assert out.left_out == ()
    assert out == PROVIDER.request(conversation, target(provider_id, **quirks))
    return CALLER.conversation(CALLER.request("chat", out.body, max_depth=100))


@settings(max_examples=FEWER)
@given(conversations(custom=False))
def test_a_conversation_survives_any_provider(conversation: Conversation) -> None:
    assert there_and_back(conversation, "openai_compatible") == conversation


@settings(max_examples=FEWER)
@given(conversations(custom=True))
def test_a_conversation_with_custom_tools_survives_openai(conversation: Conversation) -> None:
    renamed = {"max_tokens": "max_completion_tokens"}
    assert there_and_back(conversation, "openai", rename=renamed) == conversation


@settings(max_examples=FEWER)
@given(conversations(custom=False, thoughts=True), st.sampled_from(["deepseek", "groq", "fireworks", "openrouter"]))
def test_thoughts_survive_where_they_are_taken_back(conversation: Conversation, provider_id: str) -> None:
    assert there_and_back(conversation, provider_id) == conversation


signed_thoughts = st.builds(
    Thinking,
    text=WORDS,
    signature=st.text(min_size=1, max_size=8),
    signed_by=st.sampled_from(["anthropic", "gemini", "responses", "openai"]),
) | st.builds(
    Thinking, redacted=st.text(min_size=1, max_size=8), signed_by=st.sampled_from(["anthropic", "responses", "openai"])
)
counts = st.integers(0, 10**6)


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    used_in, used_out = draw(counts), draw(counts)
    cached = draw(st.integers(0, used_in))
    return Tokens(
        input=used_in,
        output=used_out,
        cached=cached,
        cache_written=draw(st.integers(0, used_in - cached)),
        reasoning=draw(st.integers(0, used_out)),
    )


pictures = st.builds(
    Image,
    media_type=st.sampled_from(["image/png", "image/webp"]),
    data=st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode()),
) | st.builds(Image, url=st.just("https://example.test/a.png"))


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    thoughts = draw(
        st.just([]) | st.builds(Thinking, text=WORDS).map(lambda one: [one]) | st.lists(signed_thoughts, max_size=3)
    )
    refusals = st.lists(st.builds(Refusal, text=WORDS), max_size=1)
    signed = st.builds(
        ToolCall, id=IDS, name=NAMES, arguments=OBJECTS, signature=WORDS, signed_by=st.just("gemini")
    ).map(lambda call: [call])
    called = draw(calls(custom=True) | signed)
    finish: Finish = "tool_calls" if called else draw(FINISHES)
    return Answer(
        parts=(
            *thoughts,
            *draw(st.lists(texts, max_size=1)),
            *draw(st.lists(pictures, max_size=2)),
            *draw(refusals),
            *called,
        ),
        finish=finish,
        tokens=draw(tokens()),
        id="chatcmpl-" + ID,
        model="some-model",
    )


@settings(max_examples=EXAMPLES)
@given(answers())
def test_an_answer_survives(answer: Answer) -> None:
    said = facts()
    assert PROVIDER.answer(CALLER.answer(answer, said)) == answer


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Events as a reader may give them: pieces of parts, none of them empty, and no two parts of one kind in a row."""
    events: list[Event] = [Begun(id="chatcmpl-" + ID, model="some-model")]
    events += [ThinkingPiece(text=text) for text in draw(st.lists(WORDS, max_size=3))]
    if len(events) > 1 and draw(st.booleans()):
        events.append(ThinkingPiece(signature=draw(WORDS), signed_by=draw(st.sampled_from(["anthropic", "openai"]))))
    events += [TextPiece(text=text) for text in draw(st.lists(WORDS, max_size=4))]
    events += [MediaPiece(picture) for picture in draw(st.lists(pictures, max_size=2))]
    events += [RefusalPiece(text=text) for text in draw(st.lists(WORDS, max_size=2))]
    called = draw(calls(custom=False))
    for call in called:
        events.append(CallBegun(id=call.id, name=call.name))
        cut = draw(st.integers(0, len(call.arguments)))
        events += [CallPiece(arguments=piece) for piece in (call.arguments[:cut], call.arguments[cut:]) if piece]
    finish: Finish = "tool_calls" if called else draw(FINISHES)
    return [*events, Finished(finish=finish), Counted(tokens=draw(tokens()))]


def stream_of(events: list[Event]) -> bytes:
    writer = CALLER.writer(facts(stream=True, stream_options={"include_usage": True}))
    return b"".join(map(writer.write, events)) + writer.end()


def events_of(chunks: list[bytes]) -> list[Event | StreamEnded | StreamFailure]:
    splitter = PROVIDER.splitter(1 << 20)
    reader = PROVIDER.reader()
    framed = [event for chunk in chunks for event in splitter.feed(chunk)]
    rest = splitter.rest()
    return [said for event in [*framed, *([rest + b"\n\n"] if rest else [])] for said in reader.read(event)]


@settings(max_examples=EXAMPLES)
@given(streams())
def test_a_stream_survives(events: list[Event]) -> None:
    assert events_of([stream_of(events)]) == [*events, StreamEnded()]


RECORDED = [
    delta(role="assistant", content=""),
    b": keep-alive\n\n",
    delta(reasoning_content="h\u2028m"),
    delta(content="it's \u2029 \r\n \x85 here"),
    delta(tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]),
    delta(tool_calls=[{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x"'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"data: \\n\\n": 1'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": "}"}}, {"index": 1, "function": {"arguments": ":2}"}}]),
    delta("tool_calls"),
    b'data: {"id":"c1","choices":[],\ndata: "usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',
    b"data: [DONE]\n\n",
]
SAID = [
    Begun(id="c1", model="m1"),
    ThinkingPiece(text="h\u2028m"),
    TextPiece(text="it's \u2029 \r\n \x85 here"),
    CallBegun(id="a", name="f"),
    CallPiece(arguments='{"data: \\n\\n": 1'),
    CallPiece(arguments="}"),
    CallBegun(id="b", name="g"),
    CallPiece(arguments='{"x"'),
    CallPiece(arguments=":2}"),
    Finished(finish="tool_calls"),
    Counted(tokens=Tokens(input=3, output=4)),
    StreamEnded(),
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_says_the_same_wherever_it_is_cut(line_end: bytes) -> None:
    recorded = b"".join(RECORDED).replace(b"\n", line_end)
    assert events_of([recorded]) == SAID
    for cut in range(1, len(recorded)):
        assert events_of([recorded[:cut], recorded[cut:]]) == SAID, cut
    assert events_of([recorded[index : index + 1] for index in range(len(recorded))]) == SAID


inputs = st.one_of(
    st.builds(EmbeddingsAsked, inputs=st.tuples(WORDS), single=st.booleans()),
    st.builds(EmbeddingsAsked, inputs=st.lists(WORDS, min_size=1, max_size=4).map(tuple)),
    st.builds(EmbeddingsAsked, token_inputs=st.tuples(st.lists(counts, min_size=1, max_size=4).map(tuple))),
    st.builds(
        EmbeddingsAsked,
        token_inputs=st.tuples(st.lists(counts, min_size=1, max_size=4).map(tuple)),
        single=st.just(True),
    ),
)


@settings(max_examples=EXAMPLES)
@given(inputs, st.none() | st.integers(1, 4096))
def test_a_request_for_embeddings_survives(wanted: EmbeddingsAsked, dimensions: int | None) -> None:
    wanted = msgspec.structs.replace(wanted, dimensions=dimensions)
    out = PROVIDER.embeddings_request(wanted, target())
    assert out.left_out == ()
    assert CALLER.embeddings_asked(CALLER.request("embeddings", out.body, max_depth=10)) == wanted


@settings(max_examples=EXAMPLES)
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)).map(tuple), min_size=1), counts)
def test_vectors_survive_in_numbers_and_in_base64(vectors: list[tuple[float, ...]], used: int) -> None:
    embeddings = Embeddings(vectors=tuple(vectors), tokens=Tokens(input=used), model="e")
    for packed in (False, True):
        said = EmbeddingFacts(model="e", input_tokens=1, asked=EmbeddingsAsked(inputs=("a",), base64=packed))
        assert PROVIDER.embeddings(CALLER.embeddings(embeddings, said)) == embeddings


# fmt: off
ODD_NAMES = [
    "choices", "delta", "message", "content", "tool_calls", "function", "name", "index", "id", "usage", "error", "text",
    "arguments", "type", "reasoning_details", "finish_reason", "custom", "data", "embedding",
]
# fmt: on
MEMBERS = st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({"role": JSON | st.sampled_from(["user", "tool"]), "content": JSON}))},
    optional=dict.fromkeys(("tools", "tool_choice", "response_format", "stop", "n", "reasoning", "functions"), JSON),
)


@settings(max_examples=EXAMPLES)
@given(MEMBERS)
def test_whatever_a_caller_sends_is_read_or_refused_with_400(members: dict[str, Any]) -> None:
    refusal = None
    try:
        CALLER.conversation(asked(**members))
    except CallerError as error:
        refusal = error
    assert refusal is None or (refusal.status == 400 and refusal.param)


ODD = st.recursive(
    JSON | st.sampled_from(["f", "call_1", "text", "thinking", "stop"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(ODD_NAMES), inner, max_size=4),
    max_leaves=5,
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": ODD | WORDS,
        "tool_calls": st.lists(
            ODD | st.fixed_dictionaries({"index": ODD | st.integers(0, 2), "function": ODD}), max_size=3
        ),
        "reasoning_details": ODD,
        "function_call": ODD,
        "refusal": ODD,
    },
)
ODD_ANSWERS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"delta": DELTAS, "message": DELTAS, "finish_reason": ODD}), max_size=2
        )
    },
    optional={"usage": ODD, "error": ODD, "data": ODD, "id": ODD},
)


@settings(max_examples=EXAMPLES)
@given(st.lists((ODD | ODD_ANSWERS).map(msgspec.json.encode) | st.binary(max_size=20), max_size=4))
def test_whatever_a_provider_sends_is_read_without_an_exception(bodies: list[bytes]) -> None:
    reader = PROVIDER.reader()
    for body in bodies:
        PROVIDER.answer(body)
        PROVIDER.embeddings(body)
        said = [*reader.read(b"data: " + body + b"\n\n"), *reader.read(body)]
        assert all(isinstance(item, Event | StreamEnded | StreamFailure) for item in said)
