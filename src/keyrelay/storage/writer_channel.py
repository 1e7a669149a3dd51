"""What the gateway and the process that writes rows for it say to each other, over a pair of sockets.

Nothing of it is in the file system or among arguments: when either side dies, the other one sees the end at once, and
the database's password is where nobody can look it up. A message is a length (4 bytes, the most significant first) and
MessagePack. The gateway speaks, and each message has one answer.
"""

import asyncio
import socket
from typing import TypeVar

import msgspec

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""No message is longer; batches are far shorter."""

_LENGTH_BYTES = 4
_BUFFER_BYTES = 1024 * 1024


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all messages."""


class Opening(Message, frozen=True):
    """From the gateway, first of all: what `open_database` is to be called with.

    `environment` are variables that the database's driver reads, of which some may hold a password.
    """

    url: str
    data_dir: str
    durable: bool
    environment: dict[str, str]

    def __repr__(self) -> str:
        return f"<Opening in {self.data_dir}>"


class Batch(Message, frozen=True):
    """From the gateway: rows to be kept, all or none."""

    lines: list[bytes]

    def __repr__(self) -> str:
        return f"<Batch of {len(self.lines)} lines>"


class Done(Message, frozen=True):
    """The answer: so it is."""


class Refused(Message, frozen=True):
    """The answer: a `StoreError`."""

    problem: str
    lasting: bool


class BadLine(Message, frozen=True):
    """The answer: a `batches.LineError`."""

    place: int | None
    problem: str


AnyMessage = Opening | Batch | Done | Refused | BadLine

_MessageT = TypeVar("_MessageT", bound=Message)

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


class BrokenChannel(Exception):  # noqa: N818 - reads as what it is
    """What came is not what the other side was to say."""


async def open_streams(end: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Both directions of this end of the pair, which belongs to them from now on. Raise OSError."""
    end.setblocking(False)
    return await asyncio.open_unix_connection(sock=end, limit=_BUFFER_BYTES)


async def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send a message. Raise OSError when the other side has gone."""
    data = _encode(message)
    writer.writelines((len(data).to_bytes(_LENGTH_BYTES, "big"), data))
    await writer.drain()


async def receive(reader: asyncio.StreamReader, *kinds: type[_MessageT]) -> _MessageT:
    """The next message, of one of these kinds.

    Raise EOFError or OSError when the other side has gone, BrokenChannel when it is none of them.
    """
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    if length > MAX_FRAME_BYTES:
        raise BrokenChannel("a message is too long")
    try:
        message = _decoder.decode(await reader.readexactly(length))
    except msgspec.MsgspecError as error:
        raise BrokenChannel("a message cannot be read") from error
    if not isinstance(message, kinds):
        raise BrokenChannel("a message has come out of turn")
    return message
