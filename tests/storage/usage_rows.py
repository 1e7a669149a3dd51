"""Records of requests for tests of the store's readers, written through the store as the recorder would."""

import datetime as dt
import random
from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.ids import request_id
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.core.usage import Usage
from keyrelay.storage.database import Database
from keyrelay.storage.schema import ATTEMPTS, REQUESTS

CALLS = sa.select(
    sa.select(sa.func.coalesce(sa.func.sum(ATTEMPTS.c.requests), 0)).scalar_subquery()
    + sa.select(sa.func.count(REQUESTS.c.sent_ms)).scalar_subquery()
)
"""How many requests the ledger counted for calls, those that have no row of their own among them."""

PROVIDERS = {"groq": ("work", "home"), "gemini": ("alice", "work"), "mistral": ("main",)}
MODELS = {"groq": ("llama-3.3-70b", "gpt-oss"), "gemini": ("gemini-2.5-flash",), "mistral": ("small", "gpt-oss")}
CLIENTS = ("tests", "other", "=evil()")
CATEGORIES = ("", "", "", "", "rate", "timeout", "caller_gone")


def a_record(moment_ms: int, chance: random.Random, **changes: object) -> RequestRecord:
    """A request that came at this time, otherwise as chance has it."""
    provider = chance.choice(sorted(PROVIDERS))
    category = chance.choice(CATEGORIES)
    nobody = category in {"rate", "timeout"}
    key, model = chance.choice(PROVIDERS[provider]), chance.choice(MODELS[provider])
    stream, ms = chance.random() < 0.5, round(10 ** chance.uniform(0.5, 5), 2)
    failures = [chance.random() < 0.2, nobody]
    attempts = [_attempt(provider, key, model, moment_ms, failed=failed) for failed in failures[not failures[0] :]]
    tokens = Usage(chance.randrange(1000), chance.randrange(500), estimated=chance.random() < 0.3)
    record = RequestRecord(
        id=request_id(moment_ms, chance.getrandbits(74)),
        time=dt.datetime.fromtimestamp((moment_ms + ms) / 1000, dt.UTC).isoformat().replace("+00:00", "Z"),
        client=chance.choice(CLIENTS),
        operation="chat",
        model_asked="auto",
        provider="" if nobody else provider,
        key="" if nobody else key,
        model="" if nobody else model,
        status={"rate": 429, "timeout": 504}.get(category, 200),
        category=category,
        stream=stream,
        ms=ms,
        upstream_ms=round(ms * 0.9, 2),
        first_token_ms=round(ms / 3, 2) if stream else None,
        usage=None if nobody else tokens,
        cost_usd=None if nobody or chance.random() < 0.2 else round(chance.uniform(0, 0.01), 9),
        price_version="test-1",
        cached=chance.choice(("", "", "", "hit", "shared")) if not category else "",
        attempts=attempts,
    )
    if not nobody and chance.random() < 0.5:
        call = attempts[-1]  # it did what calls do
        call.ms, call.input_tokens, call.output_tokens = record.upstream_ms, tokens.input_tokens, tokens.output_tokens
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def _attempt(provider: str, key: str, model: str, moment_ms: int, *, failed: bool) -> Attempt:
    failure = Failure(kind=FailureKind.RATE, scope=FailureScope.PAIR, message="Too many", status=429)
    return Attempt(
        provider,
        key,
        model,
        ms=12.5,
        failure=failure if failed else None,
        sent_s=moment_ms / 1000,
        requests=1,
        input_tokens=3,
        output_tokens=4,
    )


def lines_of(records: Iterable[RequestRecord]) -> list[bytes]:
    """The lines that the log and the journal have of records."""
    return [msgspec.json.encode(record) for record in records]


async def keep(database: Database, records: Sequence[RequestRecord]) -> None:
    """Write records through the store."""
    for start in range(0, len(records), 500):
        await database.write(lines_of(records[start : start + 500]))
