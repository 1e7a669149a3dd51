from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Tokens
from keyrelay.wire.chat.counts import read_tokens


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, Tokens(input=5, output=2)),
        ({"prompt_tokens": 5, "total_tokens": 7}, Tokens(input=5, output=2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Tokens(input=9, output=4, cached=5, cache_written=2, reasoning=3),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5},
            Tokens(input=9, output=4, cached=5),
        ),
        (
            {
                "prompt_tokens": 2,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": -1},
            },
            Tokens(input=2, output=3, cached=2),
        ),
        ({"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": "many"}, Tokens(input=2, output=3)),
        ({"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": None}, Tokens(input=2, output=3)),
    ],
)
def test_tokens_as_reported(usage: Any, tokens: Tokens | None) -> None:
    assert read_tokens(msgspec.Raw(msgspec.json.encode(usage))) == tokens
