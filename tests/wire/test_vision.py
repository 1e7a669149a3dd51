"""A request with pictures says so, and no model without eyes is chosen for it; one that speaks of them does not."""

import json
from typing import Any

import pytest

from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.registry import ANTHROPIC, GEMINI_EVENTS, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI, RESPONSES

PNG = "iVBORw0KGgoA"
WORDS = '"type":"image" "image_url" "input_image" "images" {"mimeType":"image/png"}'
PICTURES: list[tuple[CallerCodec, dict[str, Any]]] = [
    (OPENAI, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}]}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a"}]}]}),
    (RESPONSES, {"input": [{"type": "image_generation_call", "id": "a", "result": PNG}]}),
    (
        ANTHROPIC,
        {
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a"}}]}
            ],
        },
    ),
    (GEMINI_EVENTS, {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}]}),
    (GEMINI_EVENTS, {"contents": [{"parts": [{"file_data": {"mime_type": "image/png", "file_uri": "https://a"}}]}]}),
    (OLLAMA_CHAT, {"messages": [{"role": "user", "content": "a", "images": [PNG]}]}),
    (OLLAMA_GENERATE, {"prompt": "a", "images": [PNG]}),
]
NONE: list[tuple[CallerCodec, dict[str, Any]]] = [
    (OPENAI, {"messages": [{"role": "user", "content": WORDS}]}),
    (RESPONSES, {"input": WORDS}),
    (ANTHROPIC, {"max_tokens": 9, "messages": [{"role": "user", "content": WORDS}]}),
    (GEMINI_EVENTS, {"contents": [{"parts": [{"text": WORDS}]}]}),
    (OLLAMA_CHAT, {"messages": [{"role": "user", "content": WORDS}]}),
    (OLLAMA_GENERATE, {"prompt": WORDS, "images": []}),
]


@pytest.mark.parametrize(
    ("codec", "body", "sees"), [*((*case, True) for case in PICTURES), *((*case, False) for case in NONE)]
)
@pytest.mark.parametrize("spaced", [True, False])
def test_pictures_need_a_model_that_sees(codec: CallerCodec, body: dict[str, Any], *, sees: bool, spaced: bool) -> None:
    separators = None if spaced else (",", ":")
    data = json.dumps({"model": "m", **body}, separators=separators).encode()
    request = codec.request("chat", data, max_depth=20, model="m" if codec is GEMINI_EVENTS else "")
    assert ("vision" in request.needs) is sees
