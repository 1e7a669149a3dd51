"""What goes through both sides of the dialect comes back as it was."""

import contextlib
import itertools
import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Event,
    Finished,
    Media,
    MediaPiece,
    Text,
    TextPiece,
    Thinking,
    ThinkingPiece,
    Tokens,
    ToolCall,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.dialects import StreamEnded, StreamFailure, UntranslatableError
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.caller import GeminiCaller
from tests.wire.gemini.shared import (
    ARRAY,
    EVENTS,
    FLASH,
    MINIMAL,
    NEWEST,
    PROVIDER,
    SHOWN,
    answers,
    conversations,
    facts,
    fewer,
    json_values,
    many,
)


def pieces_of(answer: Answer) -> list[Event]:
    """The events of an answer whose call arguments come in two pieces."""
    events: list[Event] = [Begun(id=answer.id, model=answer.model)]
    for part in answer.parts:
        if isinstance(part, ToolCall):
            events.append(CallBegun(id=part.id, name=part.name, signature=part.signature, signed_by=part.signed_by))
            events += [CallPiece(arguments=part.arguments[:2]), CallPiece(arguments=part.arguments[2:])]
        elif isinstance(part, Thinking):
            events.append(ThinkingPiece(text=part.text, signature=part.signature, signed_by=part.signed_by))
        elif isinstance(part, Media):
            events.append(MediaPiece(part))
        else:
            events.append(TextPiece(text=part.text))
    assert answer.tokens is not None
    return [*events, Finished(finish=answer.finish), Counted(tokens=answer.tokens)]


def joined(events: Sequence[Event]) -> list[Event]:
    """The events with the arguments of each call in one piece."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, CallPiece) and isinstance(found[-1], CallPiece):
            found[-1] = CallPiece(arguments=found[-1].arguments + event.arguments)
        else:
            found.append(event)
    return found


def streamed(caller: GeminiCaller, events: Sequence[Event]) -> bytes:
    writer = caller.writer(facts(reasoning=SHOWN))
    return b"".join(map(writer.write, events)) + writer.end()


def events_in(stream: bytes, cuts: Sequence[int] = ()) -> list[Event | StreamEnded | StreamFailure]:
    splitter, reader = PROVIDER.splitter(1_000_000), PROVIDER.reader()
    found: list[Event | StreamEnded | StreamFailure] = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(stream)]):
        for event in splitter.feed(stream[start:end]):
            found += reader.read(event)
    rest = splitter.rest()
    return [*found, *reader.read(rest)] if rest else found


@many
@given(conversations())
def test_a_conversation(conversation: Conversation) -> None:
    written = PROVIDER.request(conversation, MINIMAL)
    assert PROVIDER.request(conversation, MINIMAL) == written
    assert written.left_out == ()
    request = EVENTS.request(
        "chat", written.body, max_depth=100, model="gemini-3-flash-preview", stream=conversation.stream
    )
    assert EVENTS.conversation(request) == conversation
    assert PROVIDER.passed(request, MINIMAL).body == written.body
    in_snake = msgspec.structs.replace(request, body=in_snake_case(written.body))
    assert EVENTS.conversation(in_snake) == conversation


OWN = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}


def in_snake_case(body: bytes) -> bytes:
    """The body with the dialect's own names in snake case, values untouched."""

    def turned(raw: msgspec.Raw) -> msgspec.Raw:
        text = bytes(raw)
        if text[:1] == b"[":
            return msgspec.Raw(
                msgspec.json.encode([turned(item) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])])
            )
        if text[:1] != b"{":
            return raw
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return msgspec.Raw(
            msgspec.json.encode(
                {
                    "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): value
                    if name in OWN
                    else turned(value)
                    for name, value in members.items()
                }
            )
        )

    return bytes(turned(msgspec.Raw(body)))


@many
@given(answers())
def test_an_answer(answer: Answer) -> None:
    body = EVENTS.answer(answer, facts(reasoning=SHOWN))
    assert PROVIDER.answer(body) == answer


@many
@given(answers())
def test_a_stream(answer: Answer) -> None:
    events = pieces_of(answer)
    assert events_in(streamed(EVENTS, events)) == joined(events)


@many
@given(answers())
def test_the_array_holds_what_the_events_hold(answer: Answer) -> None:
    events = pieces_of(answer)
    chunks = [json.loads(line[6:]) for line in streamed(EVENTS, events).split(b"\n\n") if line]
    assert json.loads(streamed(ARRAY, events)) == chunks


@many
@given(answers(), st.data())
def test_an_array_that_breaks_off_anywhere_is_json(answer: Answer, draw: st.DataObject) -> None:
    events = pieces_of(answer)
    writer = ARRAY.writer(facts())
    written = b"".join(map(writer.write, events[: draw.draw(st.integers(0, len(events)))]))
    error = CallerError(502, "It broke off.")
    chunks = json.loads(written + writer.fail(error))
    assert chunks[-1]["error"]["message"] == "It broke off."
    assert not written or json.loads(written + ARRAY.error_event(error, "req_resp-1")) == chunks


ANSWER = Answer(
    parts=(
        Thinking(text="hm\u2028m", signature="c2ln", signed_by="gemini"),
        Text(text="a\u2028b"),
        ToolCall(id="call_1", name="look", arguments='{"city":"Bern\u2028"}', signature="c2ln", signed_by="gemini"),
    ),
    finish="tool_calls",
    tokens=Tokens(input=5, output=9, cached=1, reasoning=3),
    id="resp-1",
    model="gemini-x",
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_cut_at_every_byte(line_end: bytes) -> None:
    events = pieces_of(ANSWER)
    stream = streamed(EVENTS, events)
    assert b"\xe2\x80\xa8" not in stream  # the official client takes it for the end of a line
    stream = stream.replace(b"\\u2028", b"\xe2\x80\xa8").replace(b"\n", line_end)
    for cut in range(len(stream) + 1):
        assert events_in(stream, [cut]) == joined(events)


@many
@given(st.lists(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()), max_size=5))
def test_no_event_makes_the_reader_raise(bodies: list[bytes]) -> None:
    reader = PROVIDER.reader()
    for body in bodies:
        reader.read(body)
        reader.read(b"data: " + body + b"\n\n")
        PROVIDER.answer(body)
        PROVIDER.embeddings(body)


NAMES = sorted(
    {
        name
        for kind in vars(shapes).values()
        if isinstance(kind, type) and issubclass(kind, shapes.Shape)
        for field in msgspec.structs.fields(kind)
        for name in (field.name, field.encode_name)
    }
)
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
PARTS = st.dictionaries(
    st.sampled_from(["text", "functionCall", "functionResponse", "inlineData", "file_data"]),
    SHAPES,
    min_size=1,
    max_size=2,
)
BODIES = st.fixed_dictionaries(
    {
        "contents": st.lists(
            st.fixed_dictionaries({"parts": st.lists(PARTS, min_size=1, max_size=3)}), min_size=1, max_size=3
        )
        | SHAPES
    },
    optional={"tools": SHAPES, "generationConfig": SHAPES, "systemInstruction": SHAPES, "toolConfig": SHAPES},
)


@fewer
@given(BODIES)
def test_whatever_a_caller_sends_is_read_or_refused(body: dict[str, object]) -> None:
    with contextlib.suppress(CallerError):
        conversation = EVENTS.conversation(EVENTS.request("chat", json.dumps(body).encode(), max_depth=50, model="m"))
        for target in (NEWEST, FLASH):
            with contextlib.suppress(UntranslatableError):
                json.loads(PROVIDER.request(conversation, target).body)


@many
@given(SHAPES)
def test_whatever_a_provider_answers_is_read(body: object) -> None:
    text = json.dumps(body).encode()
    PROVIDER.answer(text)
    PROVIDER.embeddings(text)
    PROVIDER.reader().read(b"data: " + text + b"\n\n")


@many
@given(st.dictionaries(st.sampled_from(["content", "requests", "taskType"]), SHAPES))
def test_whatever_is_to_be_embedded_is_read_or_refused(body: dict[str, object]) -> None:
    with contextlib.suppress(CallerError):
        request = EVENTS.request("embeddings", json.dumps(body).encode(), max_depth=50, model="m")
        PROVIDER.passed(request, NEWEST)
        EVENTS.embeddings_asked(request)
