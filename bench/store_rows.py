"""Rows of ended requests as a busy gateway writes them, many and fast: for the benchmark of the store and its checks.

The same seed gives the same rows. Clients are as unequal as in life: the first has a third of the requests, `rare` one
in 20,000. One request in twenty fails, one in twenty comes from the cache, one in ten takes more than one attempt.
"""

import random
from collections.abc import Iterator

import msgspec

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.ids import request_id
from keyrelay.core.moments import rfc3339
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.usage import Usage

MODELS = {
    "groq": ("llama-3.3-70b-versatile", "openai/gpt-oss-120b"),
    "gemini": ("gemini-2.5-flash", "gemini-2.5-pro"),
    "mistral": ("mistral-small-latest",),
    "cerebras": ("gpt-oss-120b",),
    "openrouter": ("deepseek/deepseek-chat-v3.1:free",),
}
KEYS_PER_PROVIDER = 3
CLIENTS = tuple(f"app-{number}" for number in range(1, 9))
RARE_CLIENT = "rare"

_ONE_RARE_IN = 20_000
_FAILED, _CACHED, _RETRIED, _STREAMED = 0.05, 0.05, 0.10, 0.40
_KINDS = (FailureKind.RATE, FailureKind.QUOTA, FailureKind.SERVICE, FailureKind.TIMEOUT, FailureKind.REQUEST)
_STATUS = {
    FailureKind.RATE: 429,
    FailureKind.QUOTA: 429,
    FailureKind.SERVICE: 502,
    FailureKind.TIMEOUT: 504,
    FailureKind.REQUEST: 400,
}
_UNPRICED = "openrouter"


def records(count: int, *, from_s: float, to_s: float, seed: int = 0) -> Iterator[RequestRecord]:
    """So many records of requests that began, one after the other, between these two moments (epoch seconds)."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    step_s = (to_s - from_s) / count
    places = [(provider, model) for provider, models in MODELS.items() for model in models]
    weights = [2.0**-number for number in range(len(CLIENTS))]
    for number in range(count):
        began_s = from_s + number * step_s
        client = RARE_CLIENT if number % _ONE_RARE_IN == _ONE_RARE_IN // 2 else chance.choices(CLIENTS, weights)[0]
        yield _record(chance, began_s, client, chance.choice(places))


def lines(count: int, *, from_s: float, to_s: float, seed: int = 0) -> Iterator[bytes]:
    """The same as lines of JSON."""
    encode = msgspec.json.Encoder().encode
    return map(encode, records(count, from_s=from_s, to_s=to_s, seed=seed))


def _record(chance: random.Random, began_s: float, client: str, place: tuple[str, str]) -> RequestRecord:
    provider, model = place
    ms = round(min(chance.lognormvariate(6.6, 0.9), 300_000), 2)
    record = RequestRecord(
        id=request_id(int(began_s * 1000), chance.getrandbits(74)),
        time=rfc3339(began_s + ms / 1000),
        level="info",
        client=client,
        operation="chat",
        model_asked="fast",
        status=200,
        ms=ms,
        stream=chance.random() < _STREAMED,
    )
    if chance.random() < _CACHED:
        record.cached, record.ms, record.provider, record.model = "hit", 0.4, provider, model
        return record
    label = f"{provider}-{chance.randrange(KEYS_PER_PROVIDER) + 1}"
    record.attempts = []
    if chance.random() < _RETRIED:
        kind = chance.choice(_KINDS[:4])
        failure = Failure(
            kind=kind, scope=FailureScope.KEY, message="Rate limit reached, slow down", status=_STATUS[kind]
        )
        other = f"{provider}-{chance.randrange(KEYS_PER_PROVIDER) + 1}"
        record.attempts.append(Attempt(provider, other, model, ms=80.0, failure=failure, sent_s=began_s, requests=1))
    record.provider, record.key, record.model, record.upstream_ms = provider, label, model, ms - 1
    attempt = Attempt(provider, label, model, ms=ms - 1, sent_s=began_s, requests=1)
    record.attempts.append(attempt)
    if chance.random() < _FAILED:
        kind = chance.choice(_KINDS)
        attempt.failure = Failure(kind=kind, scope=FailureScope.REQUEST, message="It failed.", status=_STATUS[kind])
        record.status, record.category, record.level = _STATUS[kind], kind, "warning"
        return record
    usage = Usage(chance.randrange(50, 4_000), chance.randrange(10, 900), estimated=chance.random() < _CACHED)
    record.usage, attempt.input_tokens, attempt.output_tokens = usage, usage.input_tokens, usage.output_tokens
    if record.stream:
        record.first_token_ms = round(ms * 0.3, 2)
    if provider != _UNPRICED:
        record.cost_usd = usage.input_tokens * 1.5e-7 + usage.output_tokens * 6e-7
        record.price_version = "2026-11-01"
        attempt.usd_micros = int(record.cost_usd * 1_000_000)
    return record
