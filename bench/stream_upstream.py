"""An upstream that streams: every event is one write, a few milliseconds after the one before.

Run as a program with the port as its argument. Its own CPU time counts for nobody.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

from rig.payloads import DONE, STREAM_GAP_S, stream_events


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WRITES = (_HEAD, *map(_chunk, stream_events()), _chunk(DONE) + b"0\r\n\r\n")
_READY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class StreamServer(asyncio.Protocol):
    """One connection. GET answers at once and empty, anything else with a stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: httptools.HttpRequestParser
        self._next = 0
        self._next_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to parse."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, no subclass
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Begin to answer; the next request comes when this answer has ended."""
        if self._parser.get_method() == b"GET":
            self._transport.write(_READY)
            return
        self._next = 0
        self._next_at_s = self._loop.time()
        self._write_next()

    def _write_next(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_WRITES[self._next])
        self._next += 1
        if self._next < len(_WRITES):
            self._next_at_s += STREAM_GAP_S
            self._loop.call_at(self._next_at_s, self._write_next)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(StreamServer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
