"""What a supervisor and its workers say to each other, over a pair of sockets that each worker inherits.

Nothing of it is in the file system: there is no path to guard, to shorten or to clean up, and when either side dies the
other one sees the end at once. A message is a length (4 bytes, the most significant first) and MessagePack.

Workers do not speak with each other: the supervisor passes on what one asks the others.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Self

import msgspec

MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH_BYTES = 4


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all messages."""


class Orders(Message, frozen=True):
    """To a worker, first of all: who it is and what it shares.

    `overrides` are settings of the command line, `listener` and `shared` descriptors that it has inherited: the socket
    to listen on, and a file without a name that holds the lock of the log and what workers know of each other's load.
    `instance` and `slot` are its identity.
    """

    overrides: dict[str, str]
    listener: int
    shared: int
    instance: str
    slot: int


class Reload(Message, frozen=True):
    """To a worker: the configuration has changed and is valid; take it."""


class Drain(Message, frozen=True):
    """To a worker: take no more connections, let requests under way end, then end.

    `handing_over`: another worker serves on the same port, so no caller needs to notice.
    """

    handing_over: bool


class Stop(Message, frozen=True):
    """To a worker: end now."""


class Ready(Message, frozen=True):
    """From a worker: requests are taken, with what the store holds too: ids of providers, how many keys and clients.

    `knows_clients`: the store has said which ones there are. `lacks_client`: it has, and there is none. It is said once
    more after each `Reload`.
    """

    providers: tuple[str, ...] = ()
    keys: int = 0
    clients: int = 0
    lacks_client: bool = False
    knows_clients: bool = True


class Farewell(Message, frozen=True):
    """From a worker, last of all: its metrics as they are in the end."""

    sample: bytes


class Ask(Message, frozen=True):
    """From a worker to all others, and from the supervisor to each of them: a question of a kind that `name` says."""

    id: int
    name: str
    payload: bytes


class Answer(Message, frozen=True):
    """From a worker: its answer to a question; None when it has none."""

    id: int
    payload: bytes | None


class Answers(Message, frozen=True):
    """To a worker: what the others answered in time."""

    id: int
    payloads: tuple[bytes, ...]


class Scrape(Message, frozen=True):
    """From a worker: its own metrics; those of all others are wanted."""

    id: int
    sample: bytes


class Scraped(Message, frozen=True):
    """To a worker: the metrics of all others, those that have ended included.

    `workers` counts all that live, `answering` those that answered in time; both include who asked.
    """

    id: int
    sample: bytes
    workers: int
    answering: int


AnyMessage = (
    Orders | Reload | Drain | Stop | Ready | Farewell | Ask | Answer | Answers | Scrape | Scraped
)  # what a decoder may meet

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


class BrokenChannel(Exception):  # noqa: N818 - reads as what it is
    """What came over a channel is no message: the two ends are of different versions."""


def encode(message: AnyMessage) -> bytes:
    """A message as it is sent."""
    data = _encoder.encode(message)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


class Frames:
    """Puts messages together from bytes as they come."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def missing(self) -> int:
        """How many bytes the next message lacks, as far as is known: at least one, and none of the one behind it."""
        buffer = self._buffer
        if len(buffer) < _LENGTH_BYTES:
            return _LENGTH_BYTES - len(buffer)
        return int.from_bytes(buffer[:_LENGTH_BYTES], "big") + _LENGTH_BYTES - len(buffer)

    def feed(self, data: bytes) -> list[AnyMessage]:
        """The messages that are complete now. Raise BrokenChannel."""
        buffer = self._buffer
        buffer += data
        messages: list[AnyMessage] = []
        while len(buffer) >= _LENGTH_BYTES:
            end = int.from_bytes(buffer[:_LENGTH_BYTES], "big") + _LENGTH_BYTES
            if end > MAX_FRAME_BYTES:
                raise BrokenChannel("a message is too large")
            if len(buffer) < end:
                break
            try:
                messages.append(_decoder.decode(bytes(buffer[_LENGTH_BYTES:end])))
            except msgspec.MsgspecError as error:
                raise BrokenChannel("a message cannot be read") from error
            del buffer[:end]
        return messages

    def __repr__(self) -> str:
        return f"<Frames {len(self._buffer)} bytes waiting>"


def receive_first(end: socket.socket) -> AnyMessage:
    """Wait for the first message, and leave what is behind it to the channel. Raise BrokenChannel.

    A worker that starts is told to end, or of a change, before it has read its orders.
    """
    frames = Frames()
    while True:
        data = end.recv(frames.missing)
        if not data:
            raise BrokenChannel("the supervisor has gone")
        messages = frames.feed(data)
        if messages:
            return messages[0]


class Channel(asyncio.Protocol):
    """One end of a channel in an event loop. `on_end` is called once, whichever side ended it."""

    def __init__(self, on_message: Callable[[AnyMessage], None], on_end: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def over(
        cls, end: socket.socket, on_message: Callable[[AnyMessage], None], on_end: Callable[[], None]
    ) -> Self:
        """A channel over this end of a pair of sockets, which belongs to the channel from now on."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(on_message, on_end), sock=end)
        return channel

    def send(self, message: AnyMessage) -> None:
        """Send a message; nothing happens when the other side has gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the other side has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self) -> None:
        """End the channel once everything is sent."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is for a stream
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on each message; end what cannot be read."""
        try:
            messages = self._frames.feed(data)
        except BrokenChannel:
            if self._transport is not None:
                self._transport.abort()
            return
        for message in messages:
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it is over."""
        del exc
        self._on_end()

    def __repr__(self) -> str:
        return f"<Channel {self.waiting_bytes} bytes waiting>"
