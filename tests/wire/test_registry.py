"""Every codec keeps the contract: the same question twice gives the same bytes, and nothing given is changed."""

import copy
import json

import pytest

from keyrelay.core.conversation import Answer, Conversation, Dialect, Message, Text, Tokens
from keyrelay.core.errors import CallerError
from keyrelay.wire import registry
from keyrelay.wire.dialects import AnswerFacts, CallerCodec, Target, Unreadable
from keyrelay.wire.openai import decode_request
from keyrelay.wire.registry import DIALECTS

TURN = [{"role": "user", "content": "Hello"}]
BODIES: dict[Dialect, dict[str, object]] = {
    "openai": {"model": "m", "messages": TURN},
    "responses": {"model": "m", "input": "Hello"},
    "anthropic": {"model": "m", "max_tokens": 9, "messages": TURN},
    "gemini": {"contents": [{"parts": [{"text": "Hello"}]}]},
    "ollama": {"model": "m", "stream": False, "messages": TURN},
}
CODECS = {name: value for name, value in vars(registry).items() if name.isupper() and name != "DIALECTS"}
ANSWER = Answer(parts=(Text(text="Hi."),), tokens=Tokens(input=3, output=2), id="a", model="m")


@pytest.mark.parametrize("dialect", DIALECTS.callers)
def test_every_callers_question_reaches_the_same_form(dialect: Dialect) -> None:
    codec = DIALECTS.callers[dialect]
    body = json.dumps(BODIES[dialect]).encode()
    request = codec.request("chat", body, max_depth=64, model="m", stream=False)
    assert (request.dialect, request.model, request.stream, request.body) == (dialect, "m", False, body)
    assert codec.conversation(request).messages == (Message(role="user", parts=(Text(text="Hello"),)),)
    assert codec.conversation(request) == codec.conversation(request)


@pytest.mark.parametrize("dialect", DIALECTS.providers)
def test_writing_twice_gives_the_same_and_changes_nothing(dialect: Dialect) -> None:
    conversation = Conversation(messages=(Message(role="user", parts=(Text(text="Hello"),)),))
    before = copy.deepcopy(conversation)
    codec = DIALECTS.providers[dialect]
    target = Target(provider_id=dialect, model="m")
    assert codec.request(conversation, target) == codec.request(conversation, target)
    assert conversation == before
    assert codec.dialect == dialect


@pytest.mark.parametrize("dialect", DIALECTS.providers)
@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b'{"error":{"message":"no"}}', b"\xff", b"<html>"])
def test_what_is_no_answer_is_said_to_be_none(dialect: Dialect, body: bytes) -> None:
    codec = DIALECTS.providers[dialect]
    assert isinstance(codec.answer(body), Unreadable)
    assert isinstance(codec.embeddings(body), Unreadable)
    assert list(codec.reader().read(b"data: " + body + b"\n\n")) == list(
        codec.reader().read(b"data: " + body + b"\n\n")
    )


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_errors_hold_their_words(codec: CallerCodec) -> None:
    error = CallerError(429, "All keys rest.", kind="rate_limit_error", headers=(("retry-after", "7"),))
    status, body = codec.error(error, "req_1")
    assert status == 429
    assert b"All keys rest." in body
    assert b"All keys rest." in codec.error_event(error, "req_1")


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_answers_hold_theirs(codec: CallerCodec) -> None:
    asked = decode_request("chat", json.dumps(BODIES["openai"]).encode(), max_depth=64)
    facts = AnswerFacts(
        id="0" * 32,
        model="m",
        created_s=1.0,
        input_tokens=3,
        request=asked,
        conversation=DIALECTS.callers["openai"].conversation(asked),
    )
    assert b"Hi." in codec.answer(ANSWER, facts)
    assert codec.whole_type.startswith("application/json")
