"""No two endpoints take one another's kept answers, whatever the body says."""

import msgspec
import pytest

from keyrelay.api.doors import DOORS, Door, gemini_door
from keyrelay.core.records import RequestRecord
from keyrelay.engine.shelf import CacheSettings
from keyrelay.engine.wishes import Wishes
from keyrelay.wire.generate import encode_answer_generate
from tests.engine.cached import Front

EVERYTHING = msgspec.json.encode(
    {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "input": "hi",
        "content": {"parts": [{"text": "hi"}]},
        "contents": [{"parts": [{"text": "hi"}]}],
    }
)
"""A body that every endpoint below takes."""

PROMPTED = msgspec.json.encode({**msgspec.json.decode(EVERYTHING), "prompt": "hi"})


def door_at(path: str) -> Door:
    if path.startswith("/"):
        return DOORS[path]
    verb, _, events = path.partition("?")
    door = gemini_door("m", verb, events=bool(events))
    assert door is not None
    return door


def key_at(front: Front, path: str, body: bytes) -> bytes:
    """The key of a body at an endpoint, with the wishes that the data plane makes."""
    door = door_at(path)
    wishes = Wishes(shape_whole=encode_answer_generate) if door.generate else door.wishes
    request = door.decode(body, max_depth=64)
    asked = front.answers.asked(request, RequestRecord("req_x", 1.0, client="app"), wishes)
    assert asked is not None
    return asked.key


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (EVERYTHING, ("/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/api/chat")),
        (PROMPTED, ("/v1/chat/completions", "/v1/completions", "/v1/generate", "/api/chat", "/api/generate")),
        (PROMPTED, ("/v1/embeddings", "/api/embed", "/api/embeddings", "embedContent", "batchEmbedContents")),
        (
            EVERYTHING,
            ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse", "embedContent", "/api/chat"),
        ),
    ],
)
async def test_each_endpoint_has_keys_of_its_own(body: bytes, paths: tuple[str, ...]) -> None:
    front = Front(settings=CacheSettings(mode="all"))
    assert len({key_at(front, path, body) for path in paths}) == len(paths)
    assert key_at(front, paths[0], body) == key_at(front, paths[0], body)


@pytest.mark.parametrize(
    ("path", "together"),
    [("/v1/chat/completions", True), ("/v1/responses", False), ("/v1/messages", False), ("/api/chat", False)],
)
async def test_clients_share_answers_on_purpose_and_calls_only_where_nothing_else_is_remembered_of_them(
    path: str, together: bool
) -> None:
    front = Front(settings=CacheSettings(mode="all", shared=True))
    door = door_at(path)
    request = door.decode(EVERYTHING, max_depth=64)
    one, other = (
        front.answers.asked(request, RequestRecord("req_x", 1.0, client=client), door.wishes) for client in "ab"
    )
    assert one is not None
    assert other is not None
    assert one.key == other.key
    assert (one.flight == other.flight) is together
