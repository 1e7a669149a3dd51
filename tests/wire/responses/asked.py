"""Requests and what answers to them need, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from keyrelay.core.conversation import Answer, Begun, Conversation, Counted, Event, Finished
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.responses.building import events_of
from keyrelay.wire.responses.caller import ResponsesCaller
from keyrelay.wire.sse import EventSplitter, event_data

CALLER = ResponsesCaller()
FIXTURES = Path(__file__).parent / "fixtures"
ANSWER_ID = "0199f3a07c3e70008000000000000001"

_stream_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def asked(**members: Any) -> CallRequest:
    """A request with these members."""
    return CALLER.request("chat", json.dumps({"model": "m", "input": "Hi", **members}).encode(), max_depth=64)


def understood(**members: Any) -> Conversation:
    """The same in the canonical form."""
    return CALLER.conversation(asked(**members))


def fixture(name: str) -> CallRequest:
    """A recorded request."""
    return CALLER.request("chat", (FIXTURES / f"{name}.json").read_bytes(), max_depth=64)


def facts_of(request: CallRequest | None = None, *, input_tokens: int = 7) -> AnswerFacts:
    """What an answer to this request needs."""
    request = request or asked()
    return AnswerFacts(
        id=ANSWER_ID,
        model="served-model",
        created_s=1_780_000_000.75,
        input_tokens=input_tokens,
        request=request,
        conversation=CALLER.conversation(request),
    )


def checked(body: bytes) -> dict[str, Any]:
    """A `response` object that OpenAI's own types take."""
    Response.model_validate_json(body)
    return json.loads(body)  # type: ignore[no-any-return]  # an object, or the line above had failed


def events_in(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each as OpenAI's own types take it, under its own name, numbered from 0."""
    splitter = EventSplitter(1 << 20)
    framed = splitter.feed(stream)
    assert not splitter.rest()
    events = []
    for number, text in enumerate(framed):
        data = event_data(text)
        assert data is not None
        event = _stream_event.validate_json(data)
        assert text.startswith(f"event: {event.type}\n".encode())
        assert event.sequence_number == number
        events.append(json.loads(data))
    return events


def streamed(answer: Answer, facts: AnswerFacts) -> bytes:
    """An answer as a stream."""
    writer = CALLER.writer(facts)
    pieces: list[Event] = [Begun(id=answer.id, model=answer.model), *events_of(answer.parts)]
    pieces.append(Finished(answer.finish, answer.stop_sequence))
    if answer.tokens is not None:
        pieces.append(Counted(tokens=answer.tokens))
    return b"".join(map(writer.write, pieces)) + writer.end()
