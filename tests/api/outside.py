"""What a gateway connects to, seen from below: names are what a test says, and every address that is dialled is noted.

On 127.0.0.2 listens what stands for a public server, which the operator has allowed. On 127.0.0.1, at the same port,
and on ::1 where there is one, listens a canary that nobody may reach. Replaced are the system's look-up and what every
socket connects by: all calls of the process go through them, whoever makes them, unless its event loop is uvloop's.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from unittest import mock

PUBLIC, CANARY, CANARY_6 = "127.0.0.2", "127.0.0.1", "::1"

_PATIENCE_S = 0.05
_real_getaddrinfo, _real_connect = socket.getaddrinfo, socket.socket.connect


class Outside:
    """The network below a gateway. `names` lead where a test says, each time to the next answer, in the end the last.

    `asked` are the look-ups, of these names and others, and `dialled` the addresses, all since `clear`.
    """

    def __init__(self, own_ports: frozenset[int]) -> None:
        self.names: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.own_ports = own_ports

    def clear(self) -> None:
        """Begin a new count."""
        self.asked.clear()
        self.dialled.clear()

    def say(self, name: str, *answers: Sequence[str]) -> None:
        """Have a name lead to these addresses, one answer after the other."""
        self.names[name] = list(answers)

    def getaddrinfo(self, host: Any, port: Any, *more: Any, **others: Any) -> list[Any]:
        """In the place of the system's."""
        text = host.decode() if isinstance(host, bytes) else host
        numeric = others.get("flags", 0) & socket.AI_NUMERICHOST
        if not numeric:
            self.asked.append(text)
        answers = self.names.get(str(text))
        if answers is None or numeric:
            return _real_getaddrinfo(host, port, *more, **others)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answer
        ]

    @contextlib.contextmanager
    def watched(self) -> Iterator["Outside"]:
        """Stand below every socket of this process."""
        outside = self

        def connect(self: socket.socket, address: Any) -> None:
            if self.family in {socket.AF_INET, socket.AF_INET6} and address[1] not in outside.own_ports:
                outside.dialled.append(address[:2])
            _real_connect(self, address)

        with (
            mock.patch.object(socket, "getaddrinfo", self.getaddrinfo),
            mock.patch.object(socket.socket, "connect", connect),
        ):
            yield self

    def __repr__(self) -> str:
        return f"<Outside asked={self.asked} dialled={self.dialled}>"


class Listeners:
    """The public server, which gives one `answer` to each connection, and the canary, which counts them."""

    def __init__(self) -> None:
        self.answer = b""
        self.canary = 0
        self.port = 0

    async def _public(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(_PATIENCE_S):  # who speaks SMTP waits for us
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if b"content-length: " in head:
                    await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                elif b"transfer-encoding: chunked" in head:
                    await reader.readuntil(b"0\r\n\r\n")
            writer.write(self.answer)
        writer.close()

    async def _canary(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        self.canary += 1
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Listeners"]:
        """Listen until the end."""
        servers = [await asyncio.start_server(self._public, PUBLIC, 0)]
        self.port = servers[0].sockets[0].getsockname()[1]
        servers.append(await asyncio.start_server(self._canary, CANARY, self.port))
        with contextlib.suppress(OSError):  # no IPv6 here
            servers.append(await asyncio.start_server(self._canary, CANARY_6, self.port))
        try:
            yield self
        finally:
            for server in servers:
                server.close()

    def __repr__(self) -> str:
        return f"<Listeners at port {self.port}, {self.canary} on the canary>"
