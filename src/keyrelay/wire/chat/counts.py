"""What providers of OpenAI's dialect say of tokens."""

import msgspec

from keyrelay.core.conversation import Tokens
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.chat.shapes import CompletionDetails, PromptDetails, UsageDetails
from keyrelay.wire.openai import read_usage

_details = msgspec.json.Decoder(UsageDetails)
_NO_DETAILS = UsageDetails()
_NO_PROMPT = PromptDetails()
_NO_COMPLETION = CompletionDetails()


def read_tokens(raw: msgspec.Raw) -> Tokens | None:
    """Tokens as reported, None when absent or absurd; details that are absurd count as none."""
    used = read_usage(raw)
    if used is None:
        return None
    try:
        details = _details.decode(raw)
    except JSON_ERRORS:
        details = _NO_DETAILS
    prompt = details.prompt_tokens_details or _NO_PROMPT
    cached = _within(prompt.cached_tokens or details.prompt_cache_hit_tokens, used.input_tokens)
    return Tokens(
        input=used.input_tokens,
        output=used.output_tokens,
        cached=cached,
        cache_written=_within(prompt.cache_write_tokens, used.input_tokens - cached),
        reasoning=_within((details.completion_tokens_details or _NO_COMPLETION).reasoning_tokens, used.output_tokens),
    )


def _within(count: int | None, most: int) -> int:
    return max(0, min(count or 0, most))
