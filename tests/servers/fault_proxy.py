"""A TCP proxy that misbehaves as told, between a client under test and a real server.

What it does with connections is its `mode`, which may be changed at any time and holds for new connections as well as
for those that are open:

- `pass`: bytes go through, `latency_s` later where that is set, in each direction;
- `refuse`: nothing listens, so that connecting is refused; open connections stay as they are;
- `blackhole`: connections are accepted and nothing ever comes back; open ones fall silent too.

`cut()` ends all open connections in an orderly way, `reset()` with an RST. It runs in the event loop of the test.
"""

import asyncio
import contextlib
import socket
import struct
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.servers.guarded import free_port

Mode = Literal["pass", "refuse", "blackhole"]

_PIECE_BYTES = 65_536


class FaultProxy:
    """An asynchronous context manager; `port` is the server's port, `url()` rewrites the server's URL."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.mode: Mode = "pass"
        self.latency_s = 0.0
        self.accepted = 0
        """Connections accepted so far."""
        self.port = free_port()

    def __repr__(self) -> str:
        return (
            f"<FaultProxy 127.0.0.1:{self.port} to {self._target}: {self.mode}, {len(self._connections)} connections>"
        )

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._unlisten()
        self.reset()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def url(self, url: str) -> str:
        """A server's URL, with this proxy's port in place of the server's."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    async def set(self, mode: Mode) -> None:
        """Change the mode."""
        self.mode = mode
        if mode == "blackhole":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "refuse":
            await self._unlisten()
        elif self._server is None:
            await self._listen()

    def cut(self) -> None:
        """End all open connections with a FIN."""
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """End all open connections with an RST."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()  # its wait_closed would wait for the connections too
            self._server = None
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by __aexit__: the task ends here in any case
                await self._relay(reader, writer)
        finally:
            self._writers.discard(writer)
            self._connections.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(server_writer)
            try:
                there = asyncio.create_task(self._pump(reader, server_writer))
                back = asyncio.create_task(self._pump(server_reader, writer))
                try:
                    await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    there.cancel()
                    back.cancel()
                    await asyncio.gather(there, back, return_exceptions=True)
            finally:
                self._writers.discard(server_writer)
                server_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._passing.wait()
            writer.write(piece)
            await writer.drain()
