"""Servers that repeat whatever they are told, in every way in which a provider, a proxy or a hook can go wrong."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterator

import msgspec

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)", re.IGNORECASE)
_CREDENTIAL = re.compile(rb"\r\n(?:proxy-)?authorization: (?:(?:bearer|basic) )?([^\r]+)", re.IGNORECASE)
STATUSES = (400, 401, 402, 403, 404, 407, 408, 409, 413, 422, 429, 500, 502, 503, 529, 200, 204, 302)
_SHAPES = ("error", "detail", "text", "list")
_SILENT_S = 5.0


class Tattler:
    """An HTTP server. `heard` is what it was sent; `answer` is what it says when nothing goes wrong."""

    def __init__(self, answer: str = "") -> None:
        self.heard: list[bytes] = []
        self.answer = answer
        self.port = 0
        self._ways = itertools.cycle(_ways())
        self.ways = len(list(_ways()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            self.heard.append(head + body)
            found = _CREDENTIAL.search(head)
            await self._tell(writer, next(self._ways), head + body, found[1].decode("latin-1") if found else "")
        writer.close()

    async def _tell(self, writer: asyncio.StreamWriter, way: str, asked: bytes, secret: str) -> None:
        name, _, rest = way.partition(" ")
        said = asked.decode("latin-1")
        if name == "status":
            status, _, shape = rest.partition(" ")
            body = _body(shape, said, secret)
            fields = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-echo: {secret}"
            limits = (
                f"retry-after: {secret}\r\nx-ratelimit-limit-requests: {secret}\r\nlocation: http://a.test/{secret}"
            )
            writer.write(f"HTTP/1.1 {status} {secret}\r\n{fields}\r\n{limits}\r\n\r\n".encode("latin-1") + body)
        elif name == "raw":
            writer.write(_RAW[rest].replace("SECRET", secret).encode("latin-1"))
        elif name == "stream":
            start = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            piece = _chunk(self.answer)
            ending = _STREAMS[rest].replace("SECRET", secret)
            writer.write(f"{start}data: {piece}\n\n{ending}".encode("latin-1"))
        else:
            writer.write(_answered(self.answer) if name == "answer" else b"")
        await writer.drain()
        if name == "silence":
            await asyncio.sleep(_SILENT_S)


_RAW = {
    "half head": "HTTP/1.1 200 OK\r\nx-echo: SECRET",
    "bad status": "HTTP/1.1 SECRET OK\r\n\r\n",
    "bad line": "SECRET\r\n\r\n",
    "bad field": "HTTP/1.1 200 OK\r\nSECRET\r\n\r\n",
    "bad length": "HTTP/1.1 200 OK\r\ncontent-length: SECRET\r\n\r\n",
    "bad chunk": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nSECRET\r\n",
    "bad encoding": "HTTP/1.1 200 OK\r\ncontent-encoding: SECRET\r\ncontent-length: 2\r\n\r\n{}",
    "bad type": "HTTP/1.1 200 OK\r\ncontent-type: SECRET\r\ncontent-length: 6\r\n\r\nSECRET",
    "bad json": 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"error": SECRET',
    "html": "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html>SECRET</html>",
    "cut off": "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{SECRET",
}
_STREAMS = {
    "error": 'data: {"error": {"message": "no SECRET", "code": "SECRET", "type": "SECRET"}}\n\n',
    "event": 'event: error\ndata: {"message": "SECRET"}\n\n',
    "no json": "data: SECRET\n\n",
    "cut off": "data: {SECRET",
}


def _ways() -> Iterator[str]:
    """Everything that can go wrong, each once; now and then nothing does."""
    for number, status in enumerate(STATUSES):
        yield f"status {status} {_SHAPES[number % len(_SHAPES)]}"
    yield "answer"
    yield from (f"raw {name}" for name in _RAW)
    yield "silence"
    for name in _STREAMS:
        yield f"stream {name}"
        yield "answer"


def _body(shape: str, said: str, secret: str) -> bytes:
    message = f"the key {secret} of {said} ({secret * 2}, x{secret}y, {secret!r}) will not do"
    if shape == "error":
        error = {"message": message, "code": secret, "type": secret, "param": secret}
        return msgspec.json.encode({"error": error})
    if shape == "detail":
        return msgspec.json.encode({"detail": [{"msg": message, "input": secret, "loc": [secret]}], secret: secret})
    if shape == "list":
        return msgspec.json.encode([{"error": {"message": message, "status": secret, "details": [{"reason": secret}]}}])
    return message.encode()


def _chunk(text: str) -> str:
    return msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}).decode()


def _answered(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 9, "completion_tokens": 9}
    body = msgspec.json.encode(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage, "data": [{"id": "m"}]}
    )
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@contextlib.asynccontextmanager
async def tattler(answer: str = "") -> AsyncIterator[Tattler]:
    """A server on a free port."""
    told = Tattler(answer)
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
        await asyncio.sleep(0)
