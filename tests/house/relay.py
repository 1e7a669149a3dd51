"""A gateway in the smallest sense, for the benchmark's own tests: passes on, counts, and lies when told to.

Run as a program; reads what the benchmark tells its gateway. `RELAY_LIE`: `count`, `event`, `done`, `status`, `body`.
"""

import asyncio
import os
import re

import uvicorn
from starlette.types import Message, Receive, Scope, Send

LIE = os.environ.get("RELAY_LIE", "")


class Relay:
    """The application. `models` maps a model to the place that serves it."""

    def __init__(self) -> None:
        self._count = 0
        self._models: dict[str, tuple[str, int, str]] = {}
        for prefix in ("BENCH", "BENCHLARGE", "BENCHSTREAM"):
            found = re.fullmatch(r"http://([\d.]+):(\d+)(/.*)", os.environ[prefix + "_BASE_URL"])
            assert found
            self._models[os.environ[prefix + "_MODELS"]] = (found[1], int(found[2]), found[3])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] == "/livez":
            await answer(send, b"ok")
        elif scope["path"] == "/metrics":
            await answer(send, b'keyrelay_requests_total{model="a"} %d\n' % self._count)
        else:
            await self._relay(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})

    async def _relay(self, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message: Message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        found = re.search(rb'"model": "([^"]+)"', body)
        assert found
        host, port, path = self._models[found[1].decode()]
        reader, writer = await asyncio.open_connection(host, port)
        head = f"POST {path}/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        length = re.search(rb"(?i)content-length: (\d+)", await reader.readuntil(b"\r\n\r\n"))
        if length:
            await answer(send, await reader.readexactly(int(length[1])))
        else:
            await self._stream(reader, send)
        writer.close()
        self._count += 2 if LIE == "count" else 1

    async def _stream(self, reader: asyncio.StreamReader, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        number = 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            event = (await reader.readexactly(size + 2))[:-2]
            number += 1
            kept = not (LIE == "event" and number == 7) and not (LIE == "done" and b"[DONE]" in event)
            await send({"type": "http.response.body", "body": event if kept else b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def answer(send: Send, body: bytes) -> None:
    """Answer in one piece."""
    if LIE == "body" and len(body) > 100:
        body = body[:-1]
    status = 500 if LIE == "status" and len(body) > 100 else 200
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(Relay(), port=int(os.environ["PORT"]), log_level="warning")
