import asyncio

from keyrelay.core.origins import Origin
from keyrelay.ports import Fault
from keyrelay.upstream.exchange import Exchange
from tests.upstream.hostile import call

ORIGIN = Origin("http", "provider.example", 80)


async def test_before_the_answer() -> None:
    exchange = Exchange(call(ORIGIN), asyncio.get_running_loop())
    assert repr(exchange) == "<Exchange no answer yet ended buffered=0>"
    exchange.close()
    assert await exchange.read() == b""


async def test_headers_are_read_once_and_can_be_replaced() -> None:
    exchange = Exchange(call(ORIGIN), asyncio.get_running_loop())
    exchange.head = b"HTTP/1.1 200 OK\r\nA: 1"
    assert exchange.headers == {"a": "1"}
    assert exchange.headers is exchange.headers
    exchange.headers = {"b": "2"}
    assert exchange.headers["b"] == "2"


async def test_deadlines() -> None:
    loop = asyncio.get_running_loop()
    exchange = Exchange(call(ORIGIN, first_byte_s=10, total_s=20), loop)
    now = loop.time()
    assert [exchange.overdue(now + after) for after in (9, 11)] == [False, True]
    exchange.streaming = True
    assert [exchange.overdue(now + after) for after in (11, 21)] == [False, True]
    exchange.waiting = loop.create_future()
    assert exchange.overdue(now + 11)


async def test_failing_keeps_what_has_arrived() -> None:
    exchange = Exchange(call(ORIGIN), asyncio.get_running_loop())
    exchange.pieces.append(b"a")
    exchange.fail(Fault(kind="network", message="gone"))
    assert exchange.arrived.done()
    assert [await exchange.read(), await exchange.read()] == [b"a", b""]
    assert repr(exchange) == "<Exchange no answer yet failed buffered=0>"
