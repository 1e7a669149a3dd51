"""Delivering an answer without faults, at the pace that the scenario asks for."""

import asyncio
import math
import random

import msgspec

from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.http import LAST_CHUNK, chunk, head
from keyrelay.simulator.scenario import Latency

_NINE_TENTHS = 1.645  # standard deviations to either side that hold 90 % of a normal distribution
_LONGEST = 4.0


class Pace(msgspec.Struct, frozen=True):
    """One answer's timing in seconds: until its first token, and between tokens."""

    first_s: float
    gap_s: float

    @property
    def instant(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.first_s <= 0 and self.gap_s <= 0


INSTANT = Pace(0.0, 0.0)


def pace_of(latency: Latency, source: random.Random) -> Pace:
    """Draw an answer's timing."""
    low, high = latency.first_token_ms
    gap_s = 1 / latency.tokens_per_s if latency.tokens_per_s > 0 else 0.0
    if high <= 0 and not gap_s:
        return INSTANT
    if low >= high:
        first_ms = low
    elif low <= 0:
        first_ms = source.uniform(low, high)
    else:
        spread = math.log(high / low) / (2 * _NINE_TENTHS)
        first_ms = min(source.lognormvariate(math.log(math.sqrt(low * high)), spread), high * _LONGEST)
    return Pace(first_ms / 1000, gap_s)


def deliver(exchange: Exchange, pace: Pace) -> None:
    """Send the answer; at once if nothing has to be waited for."""
    if exchange.streaming:
        exchange.run(stream(exchange, pace))
    elif pace.instant:
        _send_whole(exchange)
    else:
        exchange.run(_send_later(exchange, pace))


def _send_whole(exchange: Exchange) -> None:
    body = exchange.whole_body()
    exchange.sent_tokens = exchange.answer.output_tokens
    exchange.end(200)  # before the headers, so that what they say remains is what remains
    exchange.connection.respond(200, exchange.headers(exchange.whole_type), body)


async def _send_later(exchange: Exchange, pace: Pace) -> None:
    await asyncio.sleep(pace.first_s + pace.gap_s * exchange.answer.output_tokens)
    _send_whole(exchange)


def open_stream(exchange: Exchange) -> None:
    """Send the head of an event stream."""
    exchange.call.status = 200
    headers = [
        *exchange.headers(exchange.dialect.stream_type),
        ("cache-control", "no-cache"),
        ("transfer-encoding", "chunked"),
    ]
    exchange.connection.write(head(200, headers))


def close_stream(exchange: Exchange) -> None:
    """Send the last chunk and end the exchange."""
    exchange.end(200)
    exchange.connection.write(LAST_CHUNK)
    exchange.connection.finish()


async def send_event(exchange: Exchange, data: bytes, *, content: bool = False) -> None:
    """Send one event in a write of its own and let it leave before the next."""
    exchange.connection.write(chunk(data))
    exchange.sent_tokens += content
    await exchange.connection.drain()
    await asyncio.sleep(0)


async def stream(exchange: Exchange, pace: Pace) -> None:
    """Send the events one by one, each when it is due."""
    events = exchange.events()
    loop = asyncio.get_running_loop()
    due_s = loop.time() + pace.first_s
    if pace.first_s > 0:
        await asyncio.sleep(pace.first_s)
    open_stream(exchange)
    for event in events.opening:
        await send_event(exchange, event)
    for event in events.content:
        await send_event(exchange, event, content=True)
        due_s += pace.gap_s
        if pace.gap_s:
            await asyncio.sleep(max(due_s - loop.time(), 0))
    exchange.sent_tokens = exchange.answer.output_tokens
    for event in (*events.closing, events.done):
        if event:
            await send_event(exchange, event)
    close_stream(exchange)
