"""Callers that are cut off ask again as the official SDKs do, and what came of it is counted."""

import asyncio

import msgspec
import pytest

from tests.faults import traffic
from tests.faults.traffic import SDK_RETRIES, Traffic

_ANSWER = msgspec.json.encode({"choices": [{"message": {"content": "hello"}}]})
CLOSED = b""
BROKEN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
BROKEN_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: "
GOOD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: "
    + str(len(_ANSWER)).encode()
    + b"\r\n\r\n"
    + _ANSWER
)


@pytest.mark.parametrize(
    ("answers", "retries", "failed", "streaming"),
    [
        ([GOOD], SDK_RETRIES, 0, []),
        ([CLOSED, BROKEN_STREAM, GOOD], SDK_RETRIES, 0, [False, True]),
        ([BROKEN, CLOSED, CLOSED, GOOD], SDK_RETRIES, 1, [False, False, False]),
        ([CLOSED, GOOD], 0, 1, [False]),
    ],
)
async def test_what_is_cut_off_is_asked_again_and_both_are_counted(
    monkeypatch: pytest.MonkeyPatch, answers: list[bytes], retries: int, failed: int, streaming: list[bool]
) -> None:
    monkeypatch.setattr(traffic, "_FIRST_PAUSE_S", 0.001)
    left, bodies = list(answers), set[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        bodies.add(await reader.readexactly(length))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        callers = Traffic(lambda: server.sockets[0].getsockname()[1], retries=retries)
        assert await callers.ask() is (failed == 0)
    assert (callers.tally.asked, callers.tally.failed) == (1, failed)
    assert [cut.streaming for cut in callers.tally.cut] == streaming
    assert callers.tally.acknowledged == (set() if failed else {"req_1"})
    assert len(bodies) == 1
