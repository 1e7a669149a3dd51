"""A storm of callers, many of whom hang up, looking for text that is somebody else's.

Each client puts canaries of its own into its prompts, and the provider says them back together with a number of the
call. Cache and single flight are on. No client may ever see a canary of another's, nor the number of a call that was
made for another. `python -m tests.faults.canaries --requests 100000` is the long form.
"""

import argparse
import asyncio
import collections
import contextlib
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import uvloop

from tests.e2e.harness import Caller, Embedded, embedded, read_head, until

_CANARY = re.compile(rb"canary-([0-9]+)-[0-9]+-end")
_CALL = re.compile(rb"call-([0-9]+)-end")
_PROMPTS = 3
_CHANGE_EVERY = 150
"""After so many requests everybody asks for something else, all at once: then calls are shared."""

_PATHS = ("/v1/chat/completions", "/v1/chat/completions", "/v1/generate")
_WAYS: tuple[dict[str, str], ...] = ({}, {}, {}, {}, {"x-keyrelay-cache": "refresh"}, {"cache-control": "max-age=1"})


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. `cancelled` is the share of callers who hang up."""

    requests: int
    clients: int = 8
    concurrency: int = 64
    cancelled: float = 0.2
    seed: int = 1


class Outcome(msgspec.Struct):
    """What came of it. `foreign` says what somebody saw that was not theirs; has to be empty."""

    answers: int = 0
    hung_up: int = 0
    calls: int = 0
    seconds: float = 0.0
    caches: collections.Counter[str] = msgspec.field(default_factory=collections.Counter)
    bad: list[str] = []
    foreign: list[str] = []
    call_of: dict[bytes, int] = {}

    def look(self, client: int, body: bytes) -> None:
        """Look for what is not this client's, in whatever it has read."""
        self.foreign += [
            f"client {client} saw {found[0]!r}" for found in _CANARY.finditer(body) if int(found[1]) != client
        ]
        for call in _CALL.findall(body):
            if self.call_of.setdefault(call, client) != client:
                self.foreign.append(f"client {client} saw the answer to a call of client {self.call_of[call]}")

    def __str__(self) -> str:
        caches = ", ".join(f"{count} {name or 'not looked up'}" for name, count in sorted(self.caches.items()))
        return (
            f"{self.answers} answers, {self.hung_up} hung up, {self.calls} calls in {self.seconds:.1f} s; {caches}; "
            f"{len(self.bad)} bad, {len(self.foreign)} foreign"
        )


class Parrot:
    """A provider that says what it was told, whole or as a stream, sooner or later."""

    def __init__(self, source: random.Random) -> None:
        self.calls = 0
        self._source = source
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: ([0-9]+)", head, re.IGNORECASE)
                await self._answer(
                    msgspec.json.decode(await reader.readexactly(int(length[1]) if length else 0)), writer
                )
        writer.close()

    async def _answer(self, asked: dict[str, object], writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        (message,) = msgspec.convert(asked["messages"], list[dict[str, str]])
        words = f"call-{self.calls}-end you said {message['content']} and that is all".split(" ")
        usage = {"prompt_tokens": 9, "completion_tokens": len(words)}
        await asyncio.sleep(self._source.random() * 0.004)
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"content": " ".join(words)}, "finish_reason": "stop"}
            body = msgspec.json.encode({"choices": [choice], "usage": usage})
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in _events(words, usage):
            data = b"data: %b\n\n" % event
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(self._source.random() * 0.002)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _events(words: list[str], usage: object) -> Iterator[bytes]:
    for word in words:
        yield msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]})
    yield msgspec.json.encode({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
    yield b"[DONE]"


def _secret(client: int) -> str:
    return f"{client:032x}"


@contextlib.asynccontextmanager
async def parroted(storm: Storm, directory: Path, **more: str) -> AsyncIterator[tuple[Embedded, Parrot]]:
    """A gateway in front of the provider; `more` adds to its environment."""
    parrot = Parrot(random.Random(storm.seed))
    server = await asyncio.start_server(parrot.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environ = {
        "CLIENT_API_KEYS_MAP": ",".join(f"{_secret(client)}:client{client}" for client in range(storm.clients)),
        "KEYRELAY_LOG_FORMAT": "json",
        "PARROT_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "PARROT_API_KEYS": ",".join(f"k{number}=sk-test-{number}" for number in range(4)),
        "PARROT_MODELS": "m",
        **more,
    }
    try:
        async with embedded(environ, directory) as gateway:
            yield gateway, parrot
    finally:
        server.close()
        await asyncio.sleep(0.05)


async def rage(storm: Storm, gateway: Embedded, outcome: Outcome) -> None:
    """Send everything."""
    source = random.Random(storm.seed)
    numbers = iter(range(storm.requests))

    async def work() -> None:
        callers = [Caller(gateway.port, _secret(client)) for client in range(storm.clients)]
        for number in numbers:
            client = source.randrange(storm.clients)
            hangs_up = source.random() < storm.cancelled
            after_s = source.random() * 0.01 if hangs_up else None
            topic = number // _CHANGE_EVERY * _PROMPTS + source.randrange(_PROMPTS)
            await _ask(callers[client], client, topic, outcome, source=source, after_s=after_s)
        for caller in callers:
            await caller.close()

    began_at = time.monotonic()
    await asyncio.gather(*(work() for _ in range(storm.concurrency)))
    outcome.seconds = time.monotonic() - began_at


async def _ask(
    caller: Caller, client: int, topic: int, outcome: Outcome, *, source: random.Random, after_s: float | None
) -> None:
    prompt = f"canary-{client}-{topic}-end" if topic % 3 else f"the same from everybody {topic}"
    path, stream = source.choice(_PATHS), source.random() < 0.5
    body: dict[str, object] = {"model": "m", "stream": stream}
    if path == "/v1/generate":
        body["prompt"] = prompt
    else:
        body["messages"] = [{"role": "user", "content": prompt}]
        body |= {"temperature": 0} if source.random() < 0.9 else {}
    data = msgspec.json.encode(body)
    reader, writer = await caller.streams()
    writer.write(_head(caller, path, len(data), source.choice(_WAYS)) + data)
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(after_s or 30.0):
            await _read(reader, pieces, outcome)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
        await caller.close()
        if after_s is None:
            outcome.bad.append(f"{type(error).__name__} after {b''.join(pieces)[:200]!r}")
        outcome.hung_up += 1
    else:
        outcome.answers += 1
        answer = b"".join(pieces).replace(b'"}', b"").replace(b" ", b"")
        if prompt.split(" ", maxsplit=1)[0].encode() not in answer:
            outcome.bad.append(f"{prompt!r} got {answer[:300]!r}")
    outcome.look(client, b"".join(pieces))


def _head(caller: Caller, path: str, length: int, way: dict[str, str]) -> bytes:
    fields = {"authorization": f"Bearer {caller._secret}", "content-length": str(length), "host": "x", **way}
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    ).encode()


async def _read(reader: asyncio.StreamReader, pieces: list[bytes], outcome: Outcome) -> None:
    status, headers = await read_head(reader)
    if "content-length" in headers:
        pieces.append(await reader.readexactly(int(headers["content-length"])))
    else:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
    outcome.caches[headers.get("x-keyrelay-cache", "")] += 1
    if status != 200:
        outcome.bad.append(f"{status} {b''.join(pieces)[:200]!r}")


async def run(storm: Storm, directory: Path, **more: str) -> Outcome:
    """One storm from beginning to end. What is left behind, or written down twice, is bad too."""
    outcome = Outcome()
    async with parroted(storm, directory, **more) as (gateway, parrot):
        await rage(storm, gateway, outcome)
        answers = gateway.application.data._gateway.answers
        assert answers is not None
        await until(lambda: not len(answers.flights), "no call is under way any more")
        if answers.flights.held_bytes:
            outcome.bad.append(f"left behind: {answers!r}")
        rows = collections.Counter(line["request_id"] for line in gateway.lines())
        outcome.bad += [f"{count} rows of {name}" for name, count in rows.items() if count > 1]
        if not outcome.answers <= len(rows) <= storm.requests:
            outcome.bad.append(f"{len(rows)} rows of {storm.requests} requests")
        outcome.calls = parrot.calls
    return outcome


def main() -> int:
    """Entry point; 1 when anybody saw what is not theirs, or an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="requests to send (default 100000)")
    parser.add_argument("--clients", type=int, default=16, help="clients among them (default 16)")
    parser.add_argument("--concurrency", type=int, default=64, help="requests at a time (default 64)")
    parser.add_argument("--cancelled", type=float, default=0.2, help="share of callers who hang up (default 0.2)")
    parser.add_argument("--seed", type=int, default=1, help="seed of what is asked and when (default 1)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="environment of the gateway")
    given = parser.parse_args()
    storm = Storm(
        requests=given.requests,
        clients=given.clients,
        concurrency=given.concurrency,
        cancelled=given.cancelled,
        seed=given.seed,
    )
    more = dict(pair.partition("=")[::2] for pair in given.set)
    with tempfile.TemporaryDirectory() as directory:
        outcome = uvloop.run(run(storm, Path(directory), **more))
    sys.stdout.write(f"{outcome}\n")
    sys.stdout.writelines(f"  {line}\n" for line in (*outcome.foreign[:10], *outcome.bad[:10]))
    return 1 if outcome.foreign or outcome.bad else 0


if __name__ == "__main__":
    sys.exit(main())
