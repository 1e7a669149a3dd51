"""Faults below HTTP: connections closed, reset, silent, slow, or with wrong framing."""

import asyncio
import time

from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.faults.model import SILENCE_S, Fault, Strike, number, silence
from keyrelay.simulator.http import chunk, head

_SETTLE_S = 0.02
"""A reset overtakes what the peer has not read yet: give it time to."""

_FIRST_EVENT_BYTES = 20


async def _refuse(exchange: Exchange, _: str) -> None:
    exchange.end(0)
    exchange.connection.close()


async def _reset_before_head(exchange: Exchange, _: str) -> None:
    exchange.end(0)
    exchange.connection.reset()


async def _half_head(exchange: Exchange, argument: str) -> None:
    exchange.connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: appli")
    await silence(argument)
    exchange.end(0)
    exchange.connection.close()


async def _slow_head(exchange: Exchange, argument: str) -> None:
    content_type, body = exchange.payload()
    exchange.call.status = 200
    await _drip(exchange, head(200, (*exchange.headers(content_type), _length(body))), number(argument, 200, 5000))
    _finish(exchange, body)


async def _slow_body(exchange: Exchange, argument: str) -> None:
    body = _begin(exchange)
    await _drip(exchange, body, number(argument, 20, 5000))
    _finish(exchange, b"")


async def _reset_mid_body(exchange: Exchange, _: str) -> None:
    exchange.connection.write(_part(exchange, _begin(exchange)))
    await asyncio.sleep(_SETTLE_S)
    exchange.end(200)
    exchange.connection.reset()


async def _short(exchange: Exchange, _: str) -> None:
    exchange.connection.write(_part(exchange, _begin(exchange)))
    exchange.end(200)
    exchange.connection.close()


async def _stall_body(exchange: Exchange, argument: str) -> None:
    exchange.connection.write(_part(exchange, _begin(exchange)))
    await silence(argument)
    exchange.end(200)
    exchange.connection.close()


async def _truncated_chunk(exchange: Exchange, _: str) -> None:
    body = _begin_chunked(exchange)
    exchange.connection.write(b"%x\r\n" % len(body) + _part(exchange, body))
    exchange.end(200)
    exchange.connection.close()


async def _bad_chunk(exchange: Exchange, _: str) -> None:
    body = _begin_chunked(exchange)
    exchange.connection.write(chunk(_part(exchange, body)) + b"zz\r\n")
    exchange.end(200)
    exchange.connection.close()


def _length(body: bytes) -> tuple[str, str]:
    return "content-length", str(len(body))


def _begin(exchange: Exchange) -> bytes:
    """Send an honest head and return the body that it announces."""
    content_type, body = exchange.payload()
    exchange.call.status = 200
    exchange.connection.write(head(200, (*exchange.headers(content_type), _length(body))))
    return body


def _begin_chunked(exchange: Exchange) -> bytes:
    content_type, body = exchange.payload()
    exchange.call.status = 200
    headers = (*exchange.headers(content_type), ("transfer-encoding", "chunked"))
    exchange.connection.write(head(200, headers))
    return body


def _part(exchange: Exchange, body: bytes) -> bytes:
    """Half of a whole answer; of a stream so little that no event is complete."""
    return body[:_FIRST_EVENT_BYTES] if exchange.streaming else body[: len(body) // 2]


async def _drip(exchange: Exchange, data: bytes, gap_ms: float) -> None:
    """Byte by byte, and after a minute all that is left."""
    until = time.monotonic() + SILENCE_S
    for at in range(len(data)):
        if time.monotonic() > until:
            exchange.connection.write(data[at:])
            return
        exchange.connection.write(data[at : at + 1])
        await exchange.connection.drain()
        await asyncio.sleep(gap_ms / 1000)


def _finish(exchange: Exchange, rest: bytes) -> None:
    exchange.sent_tokens = exchange.answer.output_tokens
    exchange.end(200)
    exchange.connection.write(rest)
    exchange.connection.finish()


def _fault(name: str, description: str, strike: Strike, *, admission: bool = True, argument: str = "") -> Fault:
    return Fault(
        name=name,
        description=description,
        group="connection",
        strikes="before",
        strike=strike,
        before_admission=not admission,
        argument=argument,
    )


_SILENCE = "seconds, default 60"

CONNECTION_FAULTS: tuple[Fault, ...] = (
    _fault("refuse", "closes without a byte once the request is read", _refuse, admission=False),
    _fault("rst_before_head", "resets before the head", _reset_before_head, admission=False),
    _fault("half_head", "half a head, then silence", _half_head, admission=False, argument=_SILENCE),
    _fault("slow_head", "the head byte by byte", _slow_head, argument="milliseconds per byte, default 200"),
    _fault("rst_mid_body", "resets in the middle of the body", _reset_mid_body),
    _fault("short_content_length", "closes before the announced length is reached", _short),
    _fault("truncated_chunk", "closes in the middle of a chunk", _truncated_chunk),
    _fault("bad_chunk", "a chunk size that is no number", _bad_chunk),
    _fault("stall_body", "half the body, then silence", _stall_body, argument=_SILENCE),
    _fault("slow_body", "the body byte by byte", _slow_body, argument="milliseconds per byte, default 20"),
)
