"""Requests, facts and targets that the tests of this dialect share."""

import os
from typing import Any

import msgspec

from keyrelay.core.conversation import Conversation
from keyrelay.core.providers import HabitsRow, Operation, QuirksRow
from keyrelay.core.requests import CallRequest
from keyrelay.wire.chat.caller import OpenAICaller
from keyrelay.wire.chat.provider import OpenAIProvider
from keyrelay.wire.dialects import AnswerFacts, Target
from tests.shipped import shipped_rows

CALLER = OpenAICaller()
PROVIDER = OpenAIProvider()
EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "250"))
ID = "0190a0b0c0d0e0f0a1b2c3d4e5f60718"


def asked(operation: Operation = "chat", **members: Any) -> CallRequest:
    """A caller's request; without messages it greets."""
    if operation == "chat":
        members = {"messages": [{"role": "user", "content": "Hello"}], **members}
    return CALLER.request(operation, msgspec.json.encode({"model": "fast", **members}), max_depth=100)


def read(**members: Any) -> Conversation:
    return CALLER.conversation(asked(**members))


def facts(request: CallRequest | None = None, **members: Any) -> AnswerFacts:
    request = request or asked(**members)
    return AnswerFacts(
        id=ID,
        model="some-model",
        created_s=1_780_000_000.75,
        input_tokens=11,
        request=request,
        conversation=CALLER.conversation(request),
    )


def target(provider_id: str = "openai_compatible", model: str = "some-model", **quirks: Any) -> Target:
    """A target with the habits that the catalogue knows of its provider."""
    row = shipped_rows().get(provider_id)
    habits = HabitsRow() if row is None else row.habits
    return Target(provider_id=provider_id, model=model, quirks=QuirksRow(**quirks), habits=habits)


def written(conversation: Conversation, to: Target | None = None) -> dict[str, Any]:
    """What a provider gets."""
    return msgspec.json.decode(PROVIDER.request(conversation, to or target()).body, type=dict[str, Any])


def chunk(**members: Any) -> bytes:
    """An event of a stream, as a provider sends it."""
    return b"data: " + msgspec.json.encode({"id": "c1", "model": "m1", **members}) + b"\n\n"


def delta(finish_reason: str | None = None, **members: Any) -> bytes:
    """An event with a delta."""
    return chunk(choices=[{"index": 0, "delta": members, "finish_reason": finish_reason}])
