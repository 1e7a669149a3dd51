from typing import Any

import msgspec
import pytest

from keyrelay.wire.chat.shapes import CacheMark, CallShape, ChatMessage


@pytest.mark.parametrize(("members", "word"), [({}, "5m"), ({"type": "ephemeral"}, "5m"), ({"ttl": "1h"}, "1h")])
def test_a_cache_mark_holds_for_five_minutes_unless_it_says_otherwise(members: dict[str, Any], word: str) -> None:
    assert msgspec.convert(members, CacheMark).word == word


@pytest.mark.parametrize(
    ("members", "signature"),
    [
        ({}, ""),
        ({"extra_content": None}, ""),
        ({"extra_content": {"other": 1}}, ""),
        ({"extra_content": {"google": {}}}, ""),
        ({"extra_content": {"google": {"thought_signature": "c2ln"}}}, "c2ln"),
    ],
)
def test_a_call_may_have_geminis_signature(members: dict[str, Any], signature: str) -> None:
    assert msgspec.convert(members, CallShape).signature == signature


def test_members_that_nobody_knows_are_skipped() -> None:
    message = msgspec.json.decode(b'{"role":"user","content":"a","new":{"a":[1]}}', type=ChatMessage)
    assert (message.role, message.content) == ("user", "a")
