"""The rate headers that each provider really sends, as a table.

Gemini, Cohere, DeepSeek, Hugging Face, NVIDIA, Cloudflare, AI21, Perplexity and Ollama send none; OpenRouter's come
with its 429 only and stand in its error table. Limits that no header names stay invisible, as Groq's requests per
minute and tokens per day do.
"""

import math
from collections.abc import Callable

import msgspec

from keyrelay.core.limits import Unit
from keyrelay.simulator.limits import Standing
from keyrelay.simulator.spans import go_duration, rfc3339, span_of

_TOKENS = (Unit.TOKENS, Unit.INPUT_TOKENS)
_INPUT = (Unit.INPUT_TOKENS,)
_OUTPUT = (Unit.OUTPUT_TOKENS,)
_REQUESTS = (Unit.REQUESTS,)

Format = Callable[[float, float], str]


def _go(resets_in_s: float, _: float) -> str:
    return go_duration(resets_in_s)


def _seconds(resets_in_s: float, _: float) -> str:
    return f"{resets_in_s:.4f}"


def _whole_seconds(resets_in_s: float, _: float) -> str:
    return str(math.ceil(resets_in_s))


def _epoch(resets_in_s: float, now_s: float) -> str:
    return str(math.ceil(now_s + resets_in_s))


def _timestamp(resets_in_s: float, now_s: float) -> str:
    return rfc3339(now_s + resets_in_s)


class RateRow(msgspec.Struct, frozen=True, kw_only=True):
    """Headers for one limit: `names` has a place for `limit`, `remaining` and `reset`; no reset without a format."""

    names: str
    units: tuple[Unit, ...]
    span: str
    reset: Format | None = None


def _both(names: str, requests_span: str, tokens_span: str, reset: Format | None) -> tuple[RateRow, ...]:
    return (
        RateRow(names=names + "-requests", units=_REQUESTS, span=requests_span, reset=reset),
        RateRow(names=names + "-tokens", units=_TOKENS, span=tokens_span, reset=reset),
    )


_USUAL = "x-ratelimit-{}"
_ANTHROPIC = "anthropic-ratelimit-{}-{{}}"

RATES: dict[str, tuple[RateRow, ...]] = {
    "openai": _both(_USUAL, "minute", "minute", _go),
    "azure": _both(_USUAL, "minute", "minute", _go),
    "groq": _both(_USUAL, "day", "minute", _go),
    "cerebras": tuple(
        RateRow(names=f"{_USUAL}-{what}-{span}", units=units, span=span, reset=_seconds)
        for span in ("minute", "hour", "day")
        for what, units in (("requests", _REQUESTS), ("tokens", _TOKENS))
    ),
    "anthropic": tuple(
        RateRow(names=_ANTHROPIC.format(what), units=units, span="minute", reset=_timestamp)
        for what, units in (
            ("requests", _REQUESTS),
            ("tokens", (Unit.TOKENS,)),
            ("input-tokens", _INPUT),
            ("output-tokens", _OUTPUT),
        )
    ),
    "mistral": (
        RateRow(names="ratelimitbysize-{}", units=_TOKENS, span="minute", reset=_whole_seconds),
        RateRow(names="x-ratelimitbysize-{}-minute", units=_TOKENS, span="minute"),
        RateRow(names="x-ratelimitbysize-{}-month", units=_TOKENS, span="month"),
    ),
    "xai": _both(_USUAL, "minute", "minute", _epoch),
    "sambanova": (
        RateRow(names="x-ratelimit-{}-requests", units=_REQUESTS, span="minute", reset=_epoch),
        RateRow(names="x-ratelimit-{}-requests-day", units=_REQUESTS, span="day", reset=_epoch),
    ),
    "together": (
        RateRow(names="x-ratelimit-{}", units=_REQUESTS, span="second", reset=_whole_seconds),
        RateRow(names="x-tokenlimit-{}", units=_TOKENS, span="second"),
    ),
    "fireworks": (
        RateRow(names="x-ratelimit-{}-requests", units=_REQUESTS, span="minute"),
        RateRow(names="x-ratelimit-{}-tokens-prompt", units=_INPUT, span="minute"),
        RateRow(names="x-ratelimit-{}-tokens-generated", units=_OUTPUT, span="minute"),
    ),
}


def rate_headers(provider_id: str, standings: list[Standing], now_s: float) -> list[tuple[str, str]]:
    """The provider's headers for the limits that the caller is under; a row without such a limit gives none."""
    headers: list[tuple[str, str]] = []
    for row in RATES.get(provider_id, ()):
        for standing in standings:
            limit = standing.limit
            if standing.hidden or limit.unit not in row.units or span_of(limit.window) != row.span:
                continue
            headers.append((row.names.format("limit"), str(limit.amount)))
            headers.append((row.names.format("remaining"), str(max(limit.amount - standing.used, 0))))
            if row.reset is not None:
                headers.append((row.names.format("reset"), row.reset(standing.resets_in_s, now_s)))
            break
    return headers
