import base64
import json

import pytest

from keyrelay.quota.estimates import (
    COMPLETION_TOKENS,
    MEDIA_TOKENS,
    embedded_media,
    estimate,
    estimate_input_tokens,
    estimate_raw,
    with_exact,
)
from keyrelay.quota.values import Amounts, RawEstimate

PICTURE = base64.b64encode(bytes(range(256)) * 400).decode()


def messages(content: object) -> bytes:
    return json.dumps([{"role": "user", "content": content}]).encode()


def test_english_text_comes_out_within_a_fifth_or_so() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 100  # 10 tokens a sentence in OpenAI's vocabularies
    assert 1_000 <= estimate_input_tokens(messages(text)) <= 1_350


def test_the_smallest_request_costs_something() -> None:
    assert estimate(b"") == Amounts(requests=1, input_tokens=1, output_tokens=COMPLETION_TOKENS)


@pytest.mark.parametrize(
    ("max_tokens", "guess", "expected"),
    [(None, 256, 256), (100, 256, 100), (4096, 256, 256), (-5, 256, 0), (None, 0, 0)],
)
def test_the_answer_is_guessed_and_bounded_by_the_caller(max_tokens: int | None, guess: int, expected: int) -> None:
    assert estimate(b"[]", max_tokens=max_tokens, completion_tokens=guess).output_tokens == expected


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
        {"inlineData": {"mimeType": "image/png", "data": PICTURE}},
        {"inline_data": {"mime_type": "image/png", "data": PICTURE}},
        {"role": "user", "images": [PICTURE]},
        {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}},
    ],
    ids=["openai", "anthropic", "gemini", "gemini snake", "ollama", "openai audio"],
)
def test_embedded_media_cost_a_fixed_amount(part: dict[str, object]) -> None:
    content = messages([part, {"type": "text", "text": "What is this?"}])
    media, media_bytes = embedded_media(content)
    assert media == 1
    assert len(PICTURE) <= media_bytes <= len(PICTURE) + len("data:image/png;base64,")
    assert MEDIA_TOKENS < estimate_input_tokens(content) < MEDIA_TOKENS + 100


def test_each_picture_counts() -> None:
    assert embedded_media(messages([{"images": [PICTURE, PICTURE, PICTURE]}])) == (3, 3 * len(PICTURE))


def test_text_and_media_are_kept_apart() -> None:
    text = {"type": "text", "text": "What is this? " * 50}
    alone = estimate_raw(messages([text]))
    with_pictures = estimate_raw(messages([text, {"images": [PICTURE, PICTURE]}]))
    assert alone == RawEstimate(alone.input_tokens, 0)
    assert with_pictures.media_tokens == 2 * MEDIA_TOKENS
    assert alone.text_tokens < with_pictures.text_tokens < alone.text_tokens + 10
    assert with_pictures.input_tokens == estimate_input_tokens(messages([text, {"images": [PICTURE, PICTURE]}]))


def test_talk_about_base64_is_text() -> None:
    content = messages("How does base64 work? " * 100)
    assert embedded_media(content) == (0, 0)


def test_a_long_word_in_a_text_does_not_make_the_text_a_picture() -> None:
    content = messages("a" * 3000 + " is no picture. " * 500)
    assert embedded_media(content) == (0, 0)


@pytest.mark.parametrize("content", [b"a" * 5000, b'"' + b"a" * 5000, b"a" * 5000 + b'"', b"a" * 64])
def test_what_is_not_json_is_measured_all_the_same(content: bytes) -> None:
    assert estimate_input_tokens(content) > 0


def test_the_scan_is_linear_whatever_the_text() -> None:
    for text in (b"a" * 4_000_000 + b" ", (b"a" * 2000 + b" ") * 2_000):
        assert embedded_media(b'["' + text + b'"]') == (0, 0)  # seconds, were each step to look at the whole text


class TestExactCounts:
    def test_vocabularies_that_count_stand_beside_the_estimate(self) -> None:
        body = messages("hello")
        counted = with_exact(estimate_raw(body), body, ("a", "passes"), lambda name, _: 7 if name == "a" else None)
        assert counted.exact == {"a": 7}
        assert counted.text_tokens == estimate_raw(body).text_tokens
        assert [counted.exact_input_tokens(name) for name in ("a", "passes", "")] == [7, None, None]

    def test_media_are_added_to_what_is_counted(self) -> None:
        raw = RawEstimate(5, MEDIA_TOKENS)
        assert with_exact(raw, b"", ("a",), lambda *_: 2).exact_input_tokens("a") == 2 + MEDIA_TOKENS

    def test_when_all_pass_nothing_changes(self) -> None:
        raw = RawEstimate(5)
        assert with_exact(raw, b"", ("a",), lambda *_: None) is raw
        assert raw.exact_input_tokens("a") is None
