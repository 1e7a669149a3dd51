"""CPU that the upstream transport costs per call, measured against a raw server in a process of its own.

Run by hand: `.venv/bin/python bench/transport_cost.py [--loop asyncio] [--calls 40000] [--concurrency 64]`.
Prints microseconds of this process's CPU (user and system) per 1 kB exchange and per event of a stream whose events
arrive alone. The figure includes the event loop and the kernel's share of one send and one receive.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection as Pipe
from typing import cast

import uvloop

from keyrelay.core.configuration import Credential
from keyrelay.core.origins import Origin
from keyrelay.core.secrets import Secret
from keyrelay.ports import Fault, UpstreamCall
from keyrelay.upstream.transport import HttpTransport

_FIELDS = "".join(f"x-field-{number}: some value of usual length\r\n" for number in range(8))
_BODY = b'{"choices": "' + b"x" * 1000 + b'"}'
_WHOLE = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{_FIELDS}content-length: {len(_BODY)}\r\n\r\n".encode()
_STREAM = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{_FIELDS}transfer-encoding: chunked\r\n\r\n".encode()
_EVENT = b'data: {"choices": [{"delta": {"content": "' + b"y" * 120 + b'"}}]}\n\n'
_CHUNK = f"{len(_EVENT):x}\r\n".encode() + _EVENT + b"\r\n"
_EVENTS = 100
_EVENT_GAP_S = 0.01


class _Server(asyncio.Protocol):
    """Answers every request at once; a request for /stream gets events that arrive one by one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /stream"):
            self.transport.write(_STREAM)
            self.left = _EVENTS
            asyncio.get_running_loop().call_later(_EVENT_GAP_S, self.event)
        else:
            self.transport.write(_WHOLE + _BODY)

    def event(self) -> None:
        self.left -= 1
        self.transport.write(_CHUNK)
        if self.left:
            asyncio.get_running_loop().call_later(_EVENT_GAP_S, self.event)
        else:
            self.transport.write(b"0\r\n\r\n")


def _serve(pipe: Pipe) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class _Load:
    """Sends calls from `concurrency` tasks and counts."""

    def __init__(self, origin: Origin, concurrency: int) -> None:
        self.transport = HttpTransport()
        self.origin = origin
        self.credential = Credential(origin, "authorization", "Bearer ", Secret("sk-of-no-use"))
        self.concurrency = concurrency
        self.body = b'{"model": "m", "messages": "' + b"z" * 900 + b'"}'
        self.wake_ups = 0

    async def call(self, target: str) -> None:
        at = asyncio.get_running_loop().time() + 60
        call = UpstreamCall(
            origin=self.origin,
            target=target,
            credential=self.credential,
            body=self.body,
            first_byte_at=at,
            total_at=at,
            headers=(("content-type", "application/json"), ("user-agent", "keyrelay")),
        )
        answer = await self.transport.send(call)
        if isinstance(answer, Fault):
            raise TypeError(answer.message)
        while answer.streaming and await answer.read():
            self.wake_ups += 1

    async def calls(self, target: str, number: int) -> float:
        """CPU seconds of `number` calls."""

        async def worker() -> None:
            for _ in range(number // self.concurrency):
                await self.call(target)

        before = time.process_time()
        await asyncio.gather(*(worker() for _ in range(self.concurrency)))
        return time.process_time() - before


async def _measure(port: int, calls: int, concurrency: int) -> None:
    load = _Load(Origin("http", "127.0.0.1", port), concurrency)
    await load.calls("/whole", concurrency * 20)
    for _ in range(3):
        started = time.monotonic()
        cpu = await load.calls("/whole", calls)
        rate = calls / (time.monotonic() - started)
        sys.stdout.write(f"whole answer: {cpu / calls * 1e6:6.1f} us CPU per 1 kB exchange, {rate:,.0f} per second\n")
    streams = concurrency * 4
    cpu = await load.calls("/stream", streams)
    sys.stdout.write(
        f"stream:       {cpu / (streams * _EVENTS) * 1e6:6.1f} us CPU per event, "
        f"{load.wake_ups / (streams * _EVENTS):.2f} wake-ups per event\n{load.transport!r}\n"
    )
    await load.transport.aclose()


def main() -> None:
    """Start the server, measure, stop the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        work = _measure(ours.recv(), options.calls, options.concurrency)
        sys.stdout.write(f"{options.loop}, {options.concurrency} at once, {os.cpu_count()} cores\n")
        if options.loop == "uvloop":
            uvloop.run(work)
        else:
            asyncio.run(work)
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
