import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from keyrelay.outbox import MAX_WAITING, MOST_BYTES, Outbox


class Line:
    """A transport, and the other end of its connection."""

    def __init__(self, transport: asyncio.WriteTransport, end: socket.socket) -> None:
        self.transport = transport
        self._end = end

    def received(self) -> bytes:
        """What has come so far."""
        try:
            return self._end.recv(65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.transport.close()
        self._end.close()


@pytest.fixture
async def lines() -> AsyncIterator[list[Line]]:
    opened = []
    for _ in range(3):
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        opened.append(Line(transport, theirs))
    yield opened
    for line in opened:
        line.close()
    await asyncio.sleep(0)


def received(lines: list[Line]) -> list[bytes]:
    return [line.received() for line in lines]


async def test_what_waits_goes_out_before_anything_that_is_scheduled_later(lines: list[Line]) -> None:
    prepared: list[list[bytes]] = []
    outbox = Outbox(lambda: prepared.append(received(lines)))
    for number, line in enumerate(lines):
        outbox.write(line.transport, b"a%d" % number)
    outbox.write(lines[0].transport, b"b0")
    assert repr(outbox) == "<Outbox 4 waiting>"
    later: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: later.set_result(received(lines)))
    assert received(lines) == [b"", b"", b""]
    assert await later == [b"a0b0", b"a1", b"a2"]
    assert prepared == [[b"", b"", b""]]


async def test_so_many_do_not_wait_for_the_end_of_the_turn(lines: list[Line]) -> None:
    outbox = Outbox()
    for _ in range(MAX_WAITING - 1):
        outbox.write(lines[0].transport, b"x")
    assert lines[0].received() == b""
    outbox.write(lines[1].transport, b"y")
    assert received(lines) == [b"x" * (MAX_WAITING - 1), b"y", b""]
    outbox.write(lines[2].transport, b"z")
    await asyncio.sleep(0)
    assert received(lines) == [b"", b"", b"z"]


async def test_a_transport_that_is_closed_meanwhile_holds_up_no_other(lines: list[Line]) -> None:
    outbox = Outbox()
    for line in lines:
        outbox.write(line.transport, b"x")
    lines[0].transport.abort()
    outbox.flush()
    assert received(lines)[1:] == [b"x", b"x"]
    assert lines[0].received() == b""


async def test_what_is_large_goes_out_at_once_behind_what_waits(lines: list[Line]) -> None:
    prepared: list[list[bytes]] = []
    outbox = Outbox(lambda: prepared.append(received(lines)))
    outbox.write(lines[0].transport, b"small")
    outbox.write(lines[0].transport, b"x" * (MOST_BYTES + 1))
    assert lines[0].received() == b"small" + b"x" * (MOST_BYTES + 1)
    assert prepared == [[b"", b"", b""]]
    lines[1].transport.abort()
    outbox.write(lines[1].transport, b"x" * (MOST_BYTES + 1))
    assert lines[1].received() == b""
