import asyncio
import gc
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.origins import Origin
from keyrelay.upstream.connection import Connection
from keyrelay.upstream.exchange import Exchange
from keyrelay.upstream.pool import Pool
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.transport import HttpTransport
from tests.upstream.hostile import (
    Peer,
    answer_of,
    answering,
    call,
    chunk,
    chunked,
    events,
    fault_of,
    http,
    once,
    read_all,
    serving,
    silent_after,
    soon,
)

MIB = 1 << 20


async def test_whole_answer(transport: HttpTransport) -> None:
    async with serving(answering(http(b'{"a": 1}', "Content-Type: application/json", "X-A: 1", "x-a:  2 "))) as server:
        answer = answer_of(await transport.send(call(server.origin)))
        assert (answer.status, answer.body, answer.streaming, answer.fault) == (200, b'{"a": 1}', False, None)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-a"] == "1, 2"
        assert repr(answer) == "<Exchange 200 ended buffered=8>"
        assert await answer.read() == b'{"a": 1}'
        assert await answer.read() == b""


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (http(b"", status="204 No Content").replace(b"content-length: 0\r\n", b""), 204, b""),
        (http(b"", "etag: x", status="304 Not Modified").replace(b": 0", b": 999"), 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + http(b"late"), 200, b"late"),
        (b"\r\n\r\n" + http(b"late"), 200, b"late"),
        (chunked(b"ab", b"c"), 200, b"abc"),
        (chunked(b"ab", end=False) + b"0\r\nx-trailer: 1\r\n\r\n", 200, b"ab"),
        (chunked(), 200, b""),
        (http(b"x", "content-encoding: identity"), 200, b"x"),
        (http(b"busy", status="429"), 429, b"busy"),
    ],
)
async def test_bodies_that_leave_the_connection_usable(
    transport: HttpTransport, raw: bytes, status: int, body: bytes
) -> None:
    async with serving(answering(raw)) as server:
        for _ in range(3):
            answer = answer_of(await transport.send(call(server.origin)))
            assert (answer.status, answer.body) == (status, body)
        assert server.connections == 1


async def test_head_has_no_body_and_the_connection_serves_again(transport: HttpTransport) -> None:
    head_only = http(b"").replace(b": 0", b": 999")
    async with serving(answering(head_only, http(b"next"))) as server:
        first = answer_of(await transport.send(call(server.origin, method="HEAD", body=b"", max_body_bytes=10)))
        assert (first.status, first.body, first.headers["content-length"]) == (200, b"", "999")
        assert answer_of(await transport.send(call(server.origin))).body == b"next"
        assert server.connections == 1
        assert b"content-length" not in server.heads[0]


@pytest.mark.parametrize(
    "raw",
    [
        http(b"ab", "connection: close"),
        http(b"ab").replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"HTTP/1.1 200 OK\r\n\r\nab",
        http(b"ab") + http(b"cd"),
        http(b"ab") + b"garbage",
        http(b"ab") + b"HT",
    ],
)
async def test_answers_after_which_the_connection_is_dropped(transport: HttpTransport, raw: bytes) -> None:
    async with serving(once(raw)) as server:
        for _ in range(3):
            assert answer_of(await transport.send(call(server.origin))).body == b"ab"
            assert transport.counters().open == 0
        assert server.connections == 3


async def test_redirects_are_answers(transport: HttpTransport) -> None:
    async with serving(answering(http(b"stolen"))) as thief:
        location = f"location: {thief.origin}/v1/chat"
        async with serving(answering(http(b"", location, status="302 Found"))) as server:
            answer = answer_of(await transport.send(call(server.origin)))
            assert (answer.status, answer.headers["location"]) == (302, f"{thief.origin}/v1/chat")
        assert (thief.connections, thief.heads) == (0, [])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (http(b"\x1f\x8b", "Content-Encoding: gzip"), "encoded"),
        (http(b"\x1f\x8b", "content-encoding: identity", "content-encoding: gzip"), "encoded"),
        (events(b"x").replace(b"\r\n\r\n", b"\r\ncontent-encoding: br\r\n\r\n", 1), "encoded"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab", "transfer encoding"),
        (chunked(b"ab", end=False) + b"zz\r\n", "chunk size"),
        (chunked(b"ab", end=False) + b"ffffffffffffffffff\r\n", "hunk size"),
        (http(b"ab", "transfer-encoding: chunked"), "Content-Length"),
        (http(b"ab", "content-length: 3"), "Content-Length"),
        (http(b"ab", "x y: 1"), "header"),
        (http(b"ab", "folded: 1", " 2"), "whitespace"),
        (http(b"ab").replace(b"\r\n", b"\n"), "CR"),
        (b"220 mail.example.com ESMTP\r\n", "HTTP/"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc", "nobody asked"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + http(b"ab"), "nobody asked"),
        (http(b"a" * 101), "larger than 100 bytes"),
        (http(b"").replace(b": 0", b": 101"), "larger than 100 bytes"),
        (chunked(b"a" * 60, b"a" * 60, end=False), "larger than 100 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 101, "larger than 100 bytes"),
        (http(b"", *(f"x-{number}: 1" for number in range(201))), "head is too large"),
        (http(b"", "x: " + "y" * 66000), "head is too large"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 66000, "head is too large"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20000, "head is too large"),
    ],
)
async def test_answers_that_cannot_be_used(transport: HttpTransport, raw: bytes, words: str) -> None:
    async with serving(silent_after(raw)) as server:
        fault = fault_of(await transport.send(call(server.origin, max_body_bytes=100)))
        assert fault.kind == "malformed"
        assert words in fault.message
        assert fault.reached
        await soon(lambda: server.closed_by_client == 1)
        assert transport.counters().open == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        http(b"abcdef")[:-1],
        chunked(b"abcdef", end=False),
        chunked(b"abcdef", end=False)[:-4],
        chunked(b"abcdef")[:-2],
    ],
)
@pytest.mark.parametrize("reset", [True, False])
async def test_broken_off(transport: HttpTransport, raw: bytes, reset: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        await asyncio.sleep(0.02)
        if reset:
            peer.reset()

    async with serving(script) as server:
        fault = fault_of(await transport.send(call(server.origin)))
        assert (fault.kind, fault.reached, server.connections) == ("network", True, 1)
        assert f"127.0.0.1:{server.port}" in fault.message


async def test_until_close_broken_by_a_reset_is_no_answer(transport: HttpTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        await asyncio.sleep(0.02)
        peer.reset()

    async with serving(script) as server:
        assert fault_of(await transport.send(call(server.origin))).kind == "network"


async def test_stream(transport: HttpTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            events(end=False), chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n") + chunk(b"data: 3\n\n"), gap_s=0.05
        )
        await peer.send(b"0\r\n\r\n")
        await peer.request()
        await peer.send(http(b"again"))

    async with serving(script) as server:
        answer = answer_of(await transport.send(call(server.origin)))
        assert (answer.streaming, answer.body) == (True, b"")
        assert transport.counters().in_flight == 1
        assert repr(answer) == "<Exchange 200 running buffered=0>"
        assert [await answer.read() for _ in range(4)] == [b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n", b"", b""]
        assert answer.fault is None
        assert answer_of(await transport.send(call(server.origin))).body == b"again"
        assert server.connections == 1


@pytest.mark.parametrize(
    ("rest", "kind"),
    [(b"", "network"), (b"5\r\nab", "network"), (b"zz\r\n", "malformed")],
)
async def test_stream_that_breaks_gives_what_came_and_then_the_fault(
    transport: HttpTransport, rest: bytes, kind: str
) -> None:
    async with serving(once(events(b"data: 1\n\n", end=False) + rest)) as server:
        answer = answer_of(await transport.send(call(server.origin)))
        assert (await read_all(answer)).startswith(b"data: 1\n\n")
        assert answer.fault is not None
        assert answer.fault.kind == kind
        assert repr(answer) == "<Exchange 200 failed buffered=0>"


async def test_stream_until_close(transport: HttpTransport) -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")) as server:
        answer = answer_of(await transport.send(call(server.origin)))
        assert await read_all(answer) == b"data: 1\n\n"
        assert answer.fault is None


@pytest.mark.parametrize(
    ("raw", "streaming", "content"),
    [
        (http(b"a" * 100), True, b"a" * 100),
        (chunked(b"a", b"b"), True, b"ab"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, b"until the end"),
        (http(b""), False, b""),
        (http(b'{"error": 1}', status="404 Not Found"), False, b'{"error": 1}'),
    ],
)
async def test_a_call_may_ask_for_a_stream_whatever_its_type(
    transport: HttpTransport, raw: bytes, streaming: bool, content: bytes
) -> None:
    async with serving(once(raw)) as server:
        answer = answer_of(await transport.send(call(server.origin, streams=True, max_body_bytes=50)))
        assert answer.streaming is streaming
        assert (await read_all(answer) if streaming else answer.body) == content
        assert answer.fault is None


@pytest.mark.parametrize("raw", [chunked(b'{"a"', b": 1}"), events(b"data: 1\n\n", b"data: [DONE]\n\n")])
async def test_every_split_gives_the_same_answer(raw: bytes) -> None:
    loop = asyncio.get_running_loop()
    whole = await _fed(loop, [raw])
    assert whole[1] in {b'{"a": 1}', b"data: 1\n\ndata: [DONE]\n\n"}
    for offset in range(1, len(raw)):
        assert await _fed(loop, [raw[:offset], raw[offset:]]) == whole
    assert await _fed(loop, [raw[offset : offset + 1] for offset in range(len(raw))]) == whole


class _NoTransport(asyncio.Transport):
    """Takes everything and does nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        pass


async def _fed(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> tuple[int, bytes, dict[str, str], str]:
    """What a connection makes of pieces of an answer."""
    origin = Origin("http", "provider.example", 80)
    connection = Connection(Pool(origin, TransportSettings(), loop))
    connection.connection_made(_NoTransport())
    exchange = Exchange(call(origin), loop)
    connection.begin(exchange, b"", b"", head_only=False)
    for piece in pieces:
        connection.data_received(piece)
    body = await read_all(exchange) if exchange.streaming else exchange.body
    assert exchange.fault is None
    return exchange.status, body, dict(exchange.headers), repr(connection)


async def test_slow_reader_stops_the_server(transport: HttpTransport) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(events(end=False))
        for _ in range(512):
            await peer.send(chunk(b"x" * 65535))
            sent += 65535
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server:
        answer = answer_of(await transport.send(call(server.origin)))
        await asyncio.sleep(0.3)
        assert sent < 16 * MIB  # the kernel's buffers, of 32 MiB that an unbounded reader would have taken
        assert answer.size < MIB
        assert len(await read_all(answer)) == 512 * 65535
        assert answer.fault is None
        assert transport.counters().idle == 1


async def test_large_body_is_sent_in_slices(transport: HttpTransport) -> None:
    body = bytes(range(256)) * (4096 * 8)
    async with serving(answering(http(b"ok")), small_buffers=True) as server:
        for _ in range(2):
            assert answer_of(await transport.send(call(server.origin, body=body))).body == b"ok"
        assert server.bodies == [body, body]
        assert server.connections == 1


async def test_large_body_is_not_copied_while_it_waits(transport: HttpTransport) -> None:
    body = b"x" * (32 * MIB)

    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(5)

    async with serving(script, small_buffers=True) as server:
        gc.collect()
        tracemalloc.start()
        try:
            fault = fault_of(await transport.send(call(server.origin, body=body, first_byte_s=0.3)))
            assert tracemalloc.get_traced_memory()[1] < 4 * MIB
        finally:
            tracemalloc.stop()
        assert fault.kind == "timeout"


async def test_answer_before_the_body_is_written(transport: HttpTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(http(b"too large", status="413 Content Too Large"))
        await asyncio.sleep(5)

    async with serving(script, small_buffers=True) as server:
        answer = answer_of(await transport.send(call(server.origin, body=b"x" * (16 * MIB))))
        assert (answer.status, answer.body) == (413, b"too large")
        assert transport.counters().open == 0


async def test_bytes_on_an_idle_connection_drop_it(transport: HttpTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(b"ok"))
        await asyncio.sleep(0.05)
        await peer.send(http(b"poison"))
        await peer.until_closed()

    async with serving(script) as server:
        assert answer_of(await transport.send(call(server.origin))).body == b"ok"
        assert transport.counters().idle == 1
        await soon(lambda: transport.counters().open == 0)
        assert answer_of(await transport.send(call(server.origin))).body == b"ok"


async def test_repr_tells_the_state() -> None:
    loop = asyncio.get_running_loop()
    pool = Pool(Origin("https", "provider.example", 443), TransportSettings(), loop)
    connection = Connection(pool)
    assert repr(connection) == "<Connection https://provider.example idle answers=0>"
    connection.drop()
    connection.drop()
    assert repr(connection) == "<Connection https://provider.example closed answers=0>"


async def test_a_connection_begins_only_after_it_is_made() -> None:
    origin = Origin("http", "provider.example", 80)
    loop = asyncio.get_running_loop()
    connection = Connection(Pool(origin, TransportSettings(), loop))
    with pytest.raises(RuntimeError, match="made"):
        connection.begin(Exchange(call(origin), loop), b"", b"", head_only=False)


@given(
    raw=st.sampled_from([chunked(b'{"a"', b": 1}"), events(b"data: 1\n\n"), http(b"abc", "connection: close")]),
    at=st.integers(0, 120),
    replacement=st.binary(max_size=3),
    cuts=st.lists(st.integers(1, 120), max_size=4),
)
def test_mutilated_answers_end_the_same_however_they_are_split(
    raw: bytes, at: int, replacement: bytes, cuts: list[int]
) -> None:
    raw = raw[:at] + replacement + raw[at + len(replacement) :]
    offsets = sorted({0, *(cut for cut in cuts if cut < len(raw)), len(raw)})

    async def outcome(pieces: list[bytes]) -> tuple[int, bytes, str]:
        origin = Origin("http", "provider.example", 80)
        loop = asyncio.get_running_loop()
        connection = Connection(Pool(origin, TransportSettings(), loop))
        connection.connection_made(_NoTransport())
        exchange = Exchange(call(origin), loop)
        connection.begin(exchange, b"", b"", head_only=False)
        for piece in pieces:
            connection.data_received(piece)
        connection.eof_received()
        body = await read_all(exchange) if exchange.streaming else exchange.body
        return exchange.status, body, exchange.fault.kind if exchange.fault else ""

    async def both() -> None:
        assert await outcome([raw]) == await outcome([raw[a:b] for a, b in pairwise(offsets)])

    asyncio.run(both())
