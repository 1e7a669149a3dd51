"""Servers that take messages: one of HTTP and one of SMTP, both over real sockets, both as bad as a test wants."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from email import message_from_bytes
from email.message import Message
from typing import Any

import msgspec


class Taken(msgspec.Struct):
    """One request that came: its target, its headers in lower case, its body."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Hooks:
    """An HTTP server: answers with the next status of `statuses`, then with 200; 0 never answers."""

    def __init__(self, statuses: Iterable[int] = ()) -> None:
        self.statuses = list(statuses)
        self.taken: list[Taken] = []
        self.connections = 0
        self.port = 0
        self.heard = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/T0SECRETPATH?token=s3cr3t-in-query"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers["content-length"]))
                self.taken.append(Taken(head[0].split(" ")[1], headers, body))
                self.heard.set()
                status = self.statuses.pop(0) if self.statuses else 200
                if not status:
                    await asyncio.sleep(3600)
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\nlocation: /elsewhere\r\n\r\nok".encode())
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def hooks(*statuses: int) -> AsyncIterator[Hooks]:
    server = Hooks(statuses)
    async with _listening(server._serve) as port:
        server.port = port
        yield server


class Post:
    """An SMTP server. `answers` are by command what it says instead; `silent` commands get no answer at all."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        users: dict[str, str] | None = None,
        answers: dict[str, str] | None = None,
        silent: str = "",
    ) -> None:
        self.tls = tls
        self.users = users or {}
        self.answers = answers or {}
        self.silent = silent
        self.mails: list[Message] = []
        self.recipients: list[str] = []
        self.commands: list[str] = []
        self.encrypted = False
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent == "greeting":
            await asyncio.sleep(3600)
        writer.write(b"220 post ESMTP\r\n")
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().strip()
            verb = line.split(" ")[0].upper()
            self.commands.append(line)
            if verb == self.silent:
                await asyncio.sleep(3600)
            writer.write(f"{self.answers.get(verb) or self._answer(verb, line)}\r\n".encode())
            await writer.drain()
            if verb == "STARTTLS" and self.tls is not None and verb not in self.answers:
                await writer.start_tls(self.tls)
                self.encrypted = True
            if verb == "DATA" and verb not in self.answers:
                data = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append(message_from_bytes(data[:-5]))
                writer.write(b"250 taken\r\n")
            if verb == "QUIT":
                return

    def _answer(self, verb: str, line: str) -> str:
        if verb == "EHLO":
            more = "250-STARTTLS\r\n" if self.tls is not None and not self.encrypted else ""
            return f"250-post\r\n{more}250 AUTH PLAIN"
        if verb == "AUTH":
            _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            return "235 come in" if self.users.get(user) == password else f"535 not {password}"
        if verb == "RCPT":
            self.recipients.append(line.partition("<")[2].rstrip(">"))
        return {"DATA": "354 go on", "STARTTLS": "220 begin", "QUIT": "221 bye"}.get(verb, "250 fine")


@contextlib.asynccontextmanager
async def post(*, wrapped: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Post]:
    """`wrapped`: it speaks TLS from the first byte on."""
    server = Post(**options)
    async with _listening(server._serve, wrapped) as port:
        server.port = port
        yield server


@contextlib.asynccontextmanager
async def _listening(serve: Callable[..., Any], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    tasks = set[asyncio.Task[None]]()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
