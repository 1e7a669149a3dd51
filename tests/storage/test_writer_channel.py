"""What the gateway and the process that writes rows say to each other."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from keyrelay.storage.writer_channel import (
    MAX_FRAME_BYTES,
    BadLine,
    Batch,
    BrokenChannel,
    Done,
    Message,
    Opening,
    Refused,
    open_streams,
    receive,
    send,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Streams, Streams]]:
    first, second = [await open_streams(end) for end in socket.socketpair()]
    yield first, second
    for _, writer in (first, second):
        writer.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "message",
    [
        Opening("postgresql://user:sk-test-password@db/usage", str(Path("data")), True, {"PGAPPNAME": "x"}),
        Batch([b"\x00\xff", b"", bytes(1_000_000)]),
        Done(),
        Refused("the disk is full", False),
        BadLine(7, "no id"),
        BadLine(None, "too large"),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_a_message_arrives_as_it_was_sent(ends: tuple[Streams, Streams], message: Message) -> None:
    (_, writer), (reader, _) = ends
    sending = asyncio.create_task(send(writer, message))
    assert await receive(reader, type(message)) == message
    await sending


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((MAX_FRAME_BYTES + 1).to_bytes(4, "big"), "too long"),
        ((3).to_bytes(4, "big") + b"\xc1\xc1\xc1", "cannot be read"),
        ((7).to_bytes(4, "big") + msgspec.msgpack.encode(["Other"]), "cannot be read"),
        ((5).to_bytes(4, "big") + msgspec.msgpack.encode(["Done"])[:5], "cannot be read"),
        ((6).to_bytes(4, "big") + msgspec.msgpack.encode(["Done"]), "out of turn"),
    ],
)
async def test_anything_else_breaks_the_channel(ends: tuple[Streams, Streams], data: bytes, words: str) -> None:
    (_, writer), (reader, _) = ends
    writer.write(data)
    with pytest.raises(BrokenChannel, match=words):
        await receive(reader, Batch)


async def test_the_end_of_the_other_side_is_noticed(ends: tuple[Streams, Streams]) -> None:
    (_, writer), (reader, _) = ends
    writer.write(b"\x00\x00")
    writer.close()
    with pytest.raises(EOFError):
        await receive(reader, Batch)


def test_neither_the_url_nor_lines_are_shown() -> None:
    opening = Opening("postgresql://user:sk-test-password@db/usage", "/data", True, {"PGPASSWORD": "sk-test-password"})
    assert repr(opening) == "<Opening in /data>"
    assert repr(Batch([b"line"])) == "<Batch of 1 lines>"
