"""The raw server: keep-alive, pipelining, bounds, ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.simulator.helpers import Bench, chat, raw, request_bytes, row

KEY = {"authorization": "Bearer sim-a"}
PATH = "/openai/v1/chat/completions"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench(row("openai")) as bench:
        yield bench


async def test_requests_in_one_packet_are_answered_in_order(bench: Bench) -> None:
    data = b"".join(request_bytes(PATH, chat(stream=True), headers=KEY) for _ in range(3))
    data += request_bytes(PATH, chat("unknown"), headers={**KEY, "connection": "close"})
    received, end = await raw(bench.port, data)
    assert end == "fin"
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b"data: [DONE]") == 3
    assert received.rindex(b"HTTP/1.1 404") > received.rindex(b"[DONE]")


async def test_a_request_in_single_bytes(bench: Bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    for byte in request_bytes(PATH, chat(), headers={**KEY, "connection": "close"}):
        writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_nonsense_is_refused(bench: Bench) -> None:
    received, end = await raw(bench.port, b"nonsense\r\n\r\n")
    assert (received.partition(b"\r\n")[0], end) == (b"HTTP/1.1 400 Bad Request", "fin")


async def test_a_body_that_waits_for_leave(bench: Bench) -> None:
    headers = {**KEY, "expect": "100-continue", "connection": "close"}
    received, _ = await raw(bench.port, request_bytes(PATH, chat(), headers=headers))
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_stopping_drops_what_is_under_way(bench: Bench) -> None:
    waiting = asyncio.create_task(
        raw(bench.port, request_bytes(PATH, chat(stream=True), headers={**KEY, "x-sim-fault": "stall_mid_stream"}))
    )
    await asyncio.sleep(0.1)
    await bench.simulator.stop()
    received, end = await waiting
    assert b"200 OK" in received
    assert end in ("fin", "rst")
