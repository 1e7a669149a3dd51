"""Faults in the body of an answer with status 200, whole or streamed."""

import asyncio
import zlib
from typing import Any, Literal

import msgspec

from keyrelay.simulator.answers import Answer
from keyrelay.simulator.bodies import Envelope
from keyrelay.simulator.errors.reasons import HTML, JSON
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.faults.model import Fault, Strike, number
from keyrelay.simulator.http import LAST_CHUNK, chunk, head

_MEGABYTE = 1024 * 1024
_MOST_MEGABYTES = 64
_PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"
_INVALID = b"\xff\xfe\xc3("
_PLACE = "@@place@@"


def _send(exchange: Exchange, content_type: str, body: bytes, *headers: tuple[str, str]) -> None:
    tokens = exchange.answer.output_tokens
    exchange.respond(200, (*exchange.headers(content_type), *headers), body, tokens=tokens)


def _type(exchange: Exchange) -> str:
    return exchange.dialect.stream_type if exchange.streaming else JSON


def _as_asked(exchange: Exchange, whole: bytes, event: bytes) -> None:
    """The broken body, or the broken event as the first of a stream."""
    if exchange.streaming:
        dialect = exchange.dialect
        _send(exchange, dialect.stream_type, dialect.framed(event) + dialect.done)
    else:
        _send(exchange, JSON, whole)


async def _malformed(exchange: Exchange, _: str) -> None:
    _as_asked(exchange, b'{"id":"x","choices":[{"index":0,"message":oops}]}', b'{"id":"x","choices":[oops]}')


async def _truncated(exchange: Exchange, _: str) -> None:
    whole = exchange.whole_body()
    _as_asked(exchange, whole[: len(whole) // 2], b'{"id":"x","choices":[{"index":0,"delta":{"cont')


async def _html(exchange: Exchange, _: str) -> None:
    _send(exchange, HTML, _PAGE)


async def _empty(exchange: Exchange, _: str) -> None:
    _send(exchange, _type(exchange), b"")


async def _error(exchange: Exchange, _: str) -> None:
    _send(exchange, JSON, exchange.refusal("server_error").body)


async def _empty_choices(exchange: Exchange, _: str) -> None:
    whole = exchange.dialect.hollow(exchange.whole())
    event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": exchange.call.model, "choices": []}
    if exchange.dialect.name != "openai":
        event = whole
    _as_asked(exchange, msgspec.json.encode(whole), msgspec.json.encode(event))


def _usage(prompt_tokens: Any, completion_tokens: Any) -> Strike:
    values = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": prompt_tokens}
    return _forced_usage(values)


def _forced_usage(values: Any) -> Strike:
    async def strike(exchange: Exchange, _: str) -> None:
        exchange.force_usage(values)
        content_type, body = exchange.payload()
        _send(exchange, content_type, body)

    return strike


async def _bomb(exchange: Exchange, argument: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(b'{"id":"')]
    for _ in range(int(number(argument, 16, _MOST_MEGABYTES))):
        packed.append(packer.compress(b"0" * _MEGABYTE))
        await asyncio.sleep(0)
    packed.append(packer.flush())
    _send(exchange, _type(exchange), b"".join(packed), ("content-encoding", "gzip"))


async def _lie(exchange: Exchange, _: str) -> None:
    content_type, body = exchange.payload()
    _send(exchange, content_type, body, ("content-encoding", "gzip"))


async def _huge(exchange: Exchange, argument: str) -> None:
    exchange.call.status = 200
    headers = (*exchange.headers(_type(exchange)), ("transfer-encoding", "chunked"))
    start = b"data: " if exchange.streaming and exchange.dialect.sse else b""
    exchange.connection.write(head(200, headers) + chunk(start + b'{"id":"'))
    await flood(exchange, argument)
    exchange.end(200)
    exchange.connection.write(LAST_CHUNK)
    exchange.connection.close()


async def flood(exchange: Exchange, argument: str) -> None:
    """As many megabytes of one letter as the argument says, 64 by default and at most."""
    block = chunk(b"a" * _MEGABYTE)
    for _ in range(int(number(argument, _MOST_MEGABYTES, _MOST_MEGABYTES))):
        exchange.connection.write(block)
        await exchange.connection.drain()
        await asyncio.sleep(0)


async def _invalid_utf8(exchange: Exchange, _: str) -> None:
    envelope = exchange.envelope
    if envelope is None:
        _send(exchange, JSON, b'{"data":"%b"}' % _INVALID)
    elif exchange.streaming:
        dialect = exchange.dialect
        event = dialect.text_event(_PLACE, envelope).replace(_PLACE.encode(), _INVALID)
        _send(exchange, dialect.stream_type, event + dialect.done)
    else:
        _send(exchange, JSON, _whole_with_place(exchange, envelope).replace(_PLACE.encode(), _INVALID))


def _whole_with_place(exchange: Exchange, envelope: Envelope) -> bytes:
    return msgspec.json.encode(exchange.dialect.whole(Answer(tokens=[_PLACE]), envelope))


def _fault(
    name: str,
    description: str,
    strike: Strike,
    *,
    strikes: Literal["before", "harmless"] = "before",
    argument: str = "",
) -> Fault:
    return Fault(name=name, description=description, group="body", strikes=strikes, strike=strike, argument=argument)


_SIZE = "megabytes, at most 64"

BODY_FAULTS: tuple[Fault, ...] = (
    _fault("malformed_json", "a body or first event that is no JSON", _malformed),
    _fault("truncated_json", "JSON that breaks off, with a right content-length", _truncated),
    _fault("html_200", "an HTML page", _html),
    _fault("empty_200", "no body at all", _empty),
    _fault("error_in_200", "the provider's error body under status 200", _error),
    _fault("empty_choices", "choices: []", _empty_choices),
    _fault("null_usage", "usage: null", _forced_usage(None), strikes="harmless"),
    _fault("negative_usage", "token counts below zero", _usage(-5, -7), strikes="harmless"),
    _fault("string_usage", "token counts as strings", _usage("many", "12"), strikes="harmless"),
    _fault("huge_usage", "token counts of 2**63", _usage(2**63, 2**63), strikes="harmless"),
    _fault("gzip_bomb", "gzip that grows a thousandfold", _bomb, argument=f"{_SIZE}, default 16"),
    _fault("encoding_lie", "content-encoding: gzip over plain text", _lie),
    _fault("huge_body", "a body without end", _huge, argument=f"{_SIZE}, default 64"),
    _fault("invalid_utf8", "bytes that are no UTF-8 inside the content", _invalid_utf8),
)
