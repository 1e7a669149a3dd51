import json
from typing import Any

import pytest

from keyrelay.core.conversation import (
    Begun,
    TextPiece,
)
from keyrelay.wire.sse import EventTooLargeError
from tests.wire.gemini.shared import EVENTS, NEWEST, PROVIDER, data


def candidate(*parts: Any, reason: str | None = None, **members: Any) -> dict[str, Any]:
    content = {"content": {"parts": list(parts), "role": "model"}}
    return {"candidates": [{**content, **({"finishReason": reason} if reason else {}), "index": 0, **members}]}


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("framed", [json.dumps(ERROR, indent=2).encode(), json.dumps([ERROR], indent=1).encode()])
def test_the_splitter_finds_a_bare_error_behind_an_event(framed: bytes) -> None:
    splitter = PROVIDER.splitter(10_000)
    events = splitter.feed(data(candidate({"text": "a"})) + framed)
    assert events == [data(candidate({"text": "a"}))]
    assert splitter.rest() == framed


def test_streams_are_framed_as_events_of_a_bounded_size() -> None:
    splitter = PROVIDER.splitter(10)
    assert (PROVIDER.dialect, splitter.feed(b"data: 1\n\n")) == ("gemini", [b"data: 1\n\n"])
    with pytest.raises(EventTooLargeError):
        splitter.feed(b"data: 1234567890")


def test_readers_do_not_share_what_they_have_read() -> None:
    event = data(candidate({"text": "a"}))
    first, second = PROVIDER.reader(), PROVIDER.reader()
    assert first.read(event) == second.read(event) == [Begun(), TextPiece(text="a")]
    assert first.read(event) == [TextPiece(text="a")]


def test_requests_are_passed_by_their_operation() -> None:
    chat = EVENTS.request("chat", b'{"contents":"a"}', max_depth=9, model="m")
    vectors = EVENTS.request("embeddings", b'{"content":"a"}', max_depth=9, model="m")
    assert PROVIDER.passed(chat, NEWEST).body == b'{"contents":"a"}'
    assert b'"requests"' in PROVIDER.passed(vectors, NEWEST).body
