"""Synthetic traffic for the demo: a small, seeded mix of requests to a gateway at a steady rate.

The client is as small as can be: one connection per request, read to its end.
"""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

Kind = Literal["chat", "stream", "tools", "embeddings"]

MAX_IN_FLIGHT = 64
MAX_ANSWER_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 90.0

MIX: Mapping[Kind, float] = MappingProxyType({"chat": 0.5, "stream": 0.3, "tools": 0.1, "embeddings": 0.1})
"""Share of each kind of request."""

MODELS: Mapping[Kind, str] = MappingProxyType(
    {
        "chat": "auto",
        "stream": "auto",
        "tools": "auto",
        "embeddings": "gemini-embedding-001",
    }
)
"""The model asked for by each kind of request."""

_QUESTIONS = (
    "Explain in two sentences why tides differ from place to place.",
    "Write a short product note for a travel kettle.",
    "Which three questions should a new tenant ask?",
    "Summarise the plot of a story about a lighthouse.",
    "How do I sort a list of dates in a spreadsheet?",
    "Translate 'the early train is late' into French.",
)
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["city"],
        },
    },
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How one request ended. `status` is 0 and `error` says why when there was no answer at all."""

    kind: Kind
    status: int
    duration_s: float
    complete: bool
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether the caller got everything it asked for."""
        return self.status == _OK and self.complete


_OK = 200


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much traffic: `rate_per_s` on average, ending after `requests` or `duration_s`, whichever comes first."""

    rate_per_s: float = 2.0
    requests: int = 1000
    duration_s: float = 3600.0
    seed: int = 1
    mix: Mapping[Kind, float] = MIX
    models: Mapping[Kind, str] = MODELS


async def send_traffic(
    base_url: str, client_secret: str, *, plan: Plan | None = None, on_result: Callable[[Result], None]
) -> None:
    """Send the plan's requests to a gateway (`http://host:port`, with or without `/v1`) and report each one's end.

    Cancelling stops it; requests under way are dropped then. It waits for the last answers otherwise.
    """
    plan = plan or Plan()
    source = random.Random(plan.seed)  # noqa: S311 - a mix of requests, no secret
    gate = asyncio.Semaphore(MAX_IN_FLIGHT)
    ends_at = time.monotonic() + plan.duration_s

    async def one(kind: Kind, body: bytes) -> None:
        try:
            on_result(await _request(base_url, client_secret, kind, body))
        finally:
            gate.release()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.requests):
            await asyncio.sleep(source.expovariate(plan.rate_per_s))
            await gate.acquire()
            if time.monotonic() >= ends_at:
                gate.release()
                return
            kind = source.choices(list(plan.mix), list(plan.mix.values()))[0]
            group.create_task(one(kind, msgspec.json.encode(_body(kind, plan.models[kind], source))))


def _body(kind: Kind, model: str, source: random.Random) -> dict[str, Any]:
    question = source.choice(_QUESTIONS)
    if kind == "embeddings":
        return {"model": model, "input": question}
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 120}
    if kind == "stream":
        return {**body, "stream": True}
    return {**body, "tools": [_TOOL], "tool_choice": "required"} if kind == "tools" else body


async def _request(base_url: str, secret: str, kind: Kind, body: bytes) -> Result:
    began = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await _exchange(base_url, secret, kind, body)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as exc:
        error = type(exc).__name__
        return Result(kind=kind, status=0, duration_s=time.monotonic() - began, complete=False, error=error)
    first_line = answer.partition(b"\r\n")[0].split(b" ")
    status = int(first_line[1]) if len(first_line) > 1 and first_line[1].isdigit() else 0
    complete = bool(status) and (kind != "stream" or b"data: [DONE]" in answer)
    return Result(kind=kind, status=status, duration_s=time.monotonic() - began, complete=complete)


async def _exchange(base_url: str, secret: str, kind: Kind, body: bytes) -> bytes:
    url = urlsplit(base_url)
    path = url.path.rstrip("/").removesuffix("/v1") + _PATHS.get(kind, "/v1/chat/completions")
    context = ssl.create_default_context() if url.scheme == "https" else None
    port = url.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=context)
    try:
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {url.netloc}\r\nauthorization: Bearer {secret}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return await _read_all(reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while total < MAX_ANSWER_BYTES:
        part = await reader.read(65536)
        if not part:
            break
        parts.append(part)
        total += len(part)
    return b"".join(parts)


_PATHS: Mapping[Kind, str] = {"embeddings": "/v1/embeddings"}
