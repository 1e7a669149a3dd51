"""Faults of streams: cut, stalled, endless, or in one of the forms that the standard allows and parsers forget."""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from keyrelay.simulator.answers import Answer
from keyrelay.simulator.delivery import close_stream, open_stream, send_event
from keyrelay.simulator.errors.reasons import JSON
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.faults.body import flood
from keyrelay.simulator.faults.model import SILENCE_S, Fault, Strike, number, silence
from keyrelay.simulator.http import chunk

_SETTLE_S = 0.02
_MOST_EVENTS = 1_000_000
_BATCH = 500
_BOM = b"\xef\xbb\xbf"


async def begin_half(exchange: Exchange) -> None:
    """Open the stream and send the first half of its content, one event at least."""
    events = exchange.events()
    open_stream(exchange)
    for event in events.opening:
        await send_event(exchange, event)
    for event in events.content[: max(len(events.content) // 2, 1)]:
        await send_event(exchange, event, content=True)


async def _reset(exchange: Exchange, _: str) -> None:
    await begin_half(exchange)
    await asyncio.sleep(_SETTLE_S)
    exchange.end(200)
    exchange.connection.reset()


async def _end(exchange: Exchange, _: str) -> None:
    await begin_half(exchange)
    close_stream(exchange)


async def _stall(exchange: Exchange, argument: str) -> None:
    await begin_half(exchange)
    await silence(argument)
    exchange.end(200)
    exchange.connection.close()


async def _no_done(exchange: Exchange, _: str) -> None:
    events = exchange.events()
    open_stream(exchange)
    for event in (*events.opening, *events.content, *events.closing):
        await send_event(exchange, event)
    exchange.sent_tokens = exchange.answer.output_tokens
    close_stream(exchange)


async def _pings(exchange: Exchange, argument: str) -> None:
    open_stream(exchange)
    until = time.monotonic() + SILENCE_S
    while time.monotonic() < until:
        await send_event(exchange, exchange.dialect.ping)
        await asyncio.sleep(number(argument, 1000, SILENCE_S * 1000) / 1000)
    exchange.end(200)
    exchange.connection.close()


def _error_event(exchange: Exchange) -> bytes:
    error = msgspec.json.decode(exchange.refusal("overloaded").body)
    return exchange.dialect.error_event(error[0] if isinstance(error, list) else error)


def event_first(event: Callable[[Exchange], bytes]) -> Strike:
    """A stream whose first event is this one, and its last."""

    async def strike(exchange: Exchange, _: str) -> None:
        open_stream(exchange)
        await send_event(exchange, event(exchange))
        close_stream(exchange)

    return strike


def event_mid(event: Callable[[Exchange], bytes]) -> Strike:
    """A stream that ends with this event when half of its content has come."""

    async def strike(exchange: Exchange, _: str) -> None:
        await begin_half(exchange)
        await send_event(exchange, event(exchange))
        close_stream(exchange)

    return strike


async def _endless_line(exchange: Exchange, argument: str) -> None:
    open_stream(exchange)
    exchange.connection.write(chunk(b'data: {"id":"' if exchange.dialect.sse else b'{"id":"'))
    await flood(exchange, argument)
    exchange.end(200)
    exchange.connection.close()


async def _tiny_events(exchange: Exchange, argument: str) -> None:
    events = exchange.events()
    open_stream(exchange)
    for event in events.opening:
        await send_event(exchange, event)
    assert exchange.envelope is not None  # noqa: S101 - only streams have this fault
    first = exchange.dialect.events(Answer(tokens=["a"]), exchange.envelope)
    await send_event(exchange, first.content[0])  # which begins the part that the others go on with
    tiny = chunk(exchange.dialect.text_event("a", exchange.envelope))
    count = int(number(argument, 100_000, _MOST_EVENTS)) - 1
    for at in range(0, count, _BATCH):
        exchange.connection.write(tiny * min(_BATCH, count - at))
        await exchange.connection.drain()
        await asyncio.sleep(0)
    exchange.sent_tokens = exchange.answer.output_tokens
    for event in (*events.closing, events.done):
        if event:
            await send_event(exchange, event)
    close_stream(exchange)


def _written(change: Callable[[bytes], bytes], first: bytes = b"") -> Strike:
    """The whole stream, each event written in another way."""
    return _rewritten(lambda _, event: change(event), first)


def _rewritten(change: Callable[[Exchange, bytes], bytes], first: bytes = b"") -> Strike:
    async def strike(exchange: Exchange, _: str) -> None:
        open_stream(exchange)
        for at, event in enumerate(filter(None, exchange.events().all())):
            await send_event(exchange, change(exchange, event) if at else first + change(exchange, event))
        exchange.sent_tokens = exchange.answer.output_tokens
        close_stream(exchange)

    return strike


def _plain(event: bytes) -> bytes:
    return event.replace(b"\r\n", b"\n")


def _separated(exchange: Exchange, event: bytes) -> bytes:
    member = exchange.dialect.text_member
    return event.replace(member, member + "\u2028".encode())


async def _split(exchange: Exchange, _: str) -> None:
    open_stream(exchange)
    for byte in b"".join(exchange.events().all()):
        await send_event(exchange, bytes((byte,)))
    exchange.sent_tokens = exchange.answer.output_tokens
    close_stream(exchange)


async def _whole_instead(exchange: Exchange, _: str) -> None:
    body = exchange.whole_body()
    exchange.respond(200, exchange.headers(JSON), body, tokens=exchange.answer.output_tokens)


def _fault(
    name: str,
    description: str,
    strike: Strike,
    strikes: Literal["before", "after", "harmless"],
    argument: str = "",
    *,
    sse: bool = False,
) -> Fault:
    return Fault(
        name=name,
        description=description,
        group="stream",
        strikes=strikes,
        strike=strike,
        only="stream",
        argument=argument,
        sse=sse,
    )


_SILENCE = "seconds, default 60"

STREAM_FAULTS: tuple[Fault, ...] = (
    _fault("rst_mid_stream", "half the content, then a reset", _reset, "after"),
    _fault("eof_mid_stream", "half the content, then a clean end of the body", _end, "after"),
    _fault("no_done", "everything but [DONE]", _no_done, "after"),
    _fault("stall_mid_stream", "half the content, then silence", _stall, "after", _SILENCE),
    _fault("only_pings", "nothing but comments for a minute", _pings, "before", "milliseconds between, default 1000"),
    _fault("error_event_first", "an error as the first event", event_first(_error_event), "before"),
    _fault("error_event_mid", "half the content, then an error event", event_mid(_error_event), "after"),
    _fault("endless_line", "a line without end", _endless_line, "before", "megabytes, default 64 and at most"),
    _fault("tiny_events", "very many events of one letter", _tiny_events, "harmless", "how many, default 100000"),
    _fault("crlf", "lines that end with CR LF", _written(lambda e: _plain(e).replace(b"\n", b"\r\n")), "harmless"),
    _fault(
        "cr_only", "lines that end with CR", _written(lambda e: _plain(e).replace(b"\n", b"\r")), "harmless", sse=True
    ),
    _fault("bom", "a byte order mark before the first event", _written(lambda e: e, _BOM), "harmless", sse=True),
    _fault(
        "comments_between",
        "a comment before each event",
        _written(lambda e: b": keep-alive\n\n" + e),
        "harmless",
        sse=True,
    ),
    _fault(
        "u2028",
        "U+2028 unescaped inside the content, which ends no line in SSE",
        _rewritten(_separated),
        "harmless",
    ),
    _fault("split_everywhere", "each byte in a write and a chunk of its own", _split, "harmless"),
    _fault("json_instead_of_stream", "a whole JSON answer where a stream was asked", _whole_instead, "harmless"),
)
