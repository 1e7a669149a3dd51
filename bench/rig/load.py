"""The load: wrk for whole answers, a client of our own for streams. Both check every answer."""

import asyncio
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop

from rig.payloads import DONE, STREAM_EVENTS, Scenario
from rig.processes import BenchError

CLIENT_SECRET = "bench-client-secret-0123456789abcdef"  # noqa: S105 - lives as long as the run, on loopback
CONNECTIONS = 64
STREAMS_AT_ONCE = 32

_SCRIPT = Path(__file__).with_name("post.lua")
_STREAM_TIMEOUT_S = 60.0
_OK = 200


class Load(msgspec.Struct, frozen=True):
    """What came of a load on one server: `sent` includes what was under way when time was up."""

    answered: int
    sent: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    alone: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answered / self.duration_s


class _WrkResult(msgspec.Struct, frozen=True):
    answered: int
    sent: int
    refused: int
    wrong: int
    socket_errors: int
    timeouts: int
    duration_us: int
    p50_us: int
    p99_us: int


def run_wrk(wrk: str, url: str, scenario: Scenario, *, duration_s: int, pause_ms: int = 0, cpu: int | None) -> Load:
    """Load `url` with 64 connections. Raise BenchError unless every single answer was the right one."""
    with tempfile.NamedTemporaryFile(prefix="bench-body-") as body:
        body.write(scenario.body)
        body.flush()
        arguments = [body.name, str(len(scenario.answer)), CLIENT_SECRET, str(pause_ms)]
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{duration_s}s", "--timeout", "10s", "-s", str(_SCRIPT), url]
        pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
        finished = subprocess.run(
            [*pin, *command, "--", *arguments], capture_output=True, text=True, check=False, timeout=duration_s + 30
        )
    found = re.search(r"^RESULT (.*)$", finished.stdout, re.MULTILINE)
    if finished.returncode or not found:
        raise BenchError(f"wrk failed with status {finished.returncode}:\n{finished.stdout}{finished.stderr}")
    result = msgspec.json.decode(found[1], type=_WrkResult)
    for count, what in (
        (result.refused, "answers were not 200"),
        (result.wrong, f"bodies were not {len(scenario.answer)} bytes long"),
        (result.socket_errors, "socket errors"),
        (result.timeouts, "answers took more than 10 s"),
    ):
        if count:
            raise BenchError(f"{scenario.title} at {url}: {count} {what}")
    if not result.answered:
        raise BenchError(f"{scenario.title} at {url}: no answer at all")
    return Load(
        answered=result.answered,
        sent=result.sent,
        duration_s=result.duration_us / 1e6,
        p50_ms=result.p50_us / 1e3,
        p99_ms=result.p99_us / 1e3,
    )


class _StreamClient(asyncio.Protocol):
    """One connection that asks for one stream after the other."""

    def __init__(self, request: bytes, scenario: Scenario, pending: "_Pending") -> None:
        self._request = request
        self._scenario = scenario
        self._pending = pending
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._body = bytearray()
        self._reads = 0
        self._read_from = 0
        self._asked_at_s = 0.0
        self._first_s = 0.0
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, no subclass
        self._ask()

    def _ask(self) -> None:
        if not self._pending.take():
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._reads = self._read_from = 0
        self._busy = True
        self._asked_at_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read_from = len(self._body)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._pending.fail(f"not HTTP: {error}")
        self._count_read()

    def _count_read(self) -> None:
        """Count a read that brought something of the body, once."""
        if len(self._body) > self._read_from:
            self._reads += 1
            self._read_from = len(self._body)

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self._first_s = time.perf_counter() - self._asked_at_s
        self._body += body

    def on_message_complete(self) -> None:
        self._busy = False
        self._count_read()
        body = bytes(self._body)
        if self._parser.get_status_code() != _OK:
            self._pending.fail(f"status {self._parser.get_status_code()}: {body[:300]!r}")
        elif not self._scenario.is_answered_by(body):
            self._pending.fail(describe_difference(body, self._scenario.answer))
        else:
            self._pending.finish(self._reads, self._first_s)
            self._loop.call_soon(self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._pending.fail(f"connection lost within a stream: {exc}")


def describe_difference(body: bytes, expected: bytes) -> str:
    """Say in which way a stream is not the one that was sent."""
    events = body.count(b"\n\n")
    if not body.endswith(DONE):
        return f"a stream did not end with [DONE], after {events} events: …{body[-200:]!r}"
    if events != STREAM_EVENTS + 1:
        return f"a stream had {events - 1} events, not {STREAM_EVENTS}"
    pairs = zip(body.split(b"\n\n"), expected.split(b"\n\n"), strict=True)
    return next(f"an event differs: {got!r} instead of {sent!r}" for got, sent in pairs if got != sent)


class _Pending:
    """How many streams are still to be asked for, and what came of the others."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.unfinished = count
        self.reads: list[int] = []
        self.first_s: list[float] = []
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def finish(self, reads: int, first_s: float) -> None:
        self.reads.append(reads)
        self.first_s.append(first_s)
        self.unfinished -= 1
        if not self.unfinished and not self.end.done():
            self.end.set_result(None)

    def fail(self, why: str) -> None:
        if not self.end.done():
            self.end.set_exception(BenchError(why))


def run_streams(port: int, path: str, scenario: Scenario, *, count: int) -> Load:
    """Ask for `count` streams, 32 at a time. Raise BenchError unless each one arrived as it was sent."""
    try:
        return uvloop.run(_run_streams(port, path, scenario, count))
    except (OSError, TimeoutError) as error:
        raise BenchError(f"{scenario.title} at port {port}: {error or 'took too long'}") from error


async def _run_streams(port: int, path: str, scenario: Scenario, count: int) -> Load:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(scenario.body)}\r\n\r\n"
    )
    request = head.encode() + scenario.body
    loop = asyncio.get_running_loop()
    pending = _Pending(count)
    began_at_s = loop.time()
    for _ in range(min(STREAMS_AT_ONCE, count)):
        await loop.create_connection(lambda: _StreamClient(request, scenario, pending), "127.0.0.1", port)
        # The connections shall not march in step.
        await asyncio.sleep(0.007)
    async with asyncio.timeout(_STREAM_TIMEOUT_S):
        await pending.end
    first_ms = sorted(first_s * 1e3 for first_s in pending.first_s)
    return Load(
        answered=count,
        sent=count,
        duration_s=loop.time() - began_at_s,
        p50_ms=first_ms[len(first_ms) // 2],
        p99_ms=first_ms[len(first_ms) * 99 // 100],
        # All that can arrive alone is every event and [DONE].
        alone=sum(pending.reads) / count / (STREAM_EVENTS + 1),
    )
