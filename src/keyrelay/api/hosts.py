"""The workers of other hosts: what is in their memory can be asked for, and what happens here can be told to them.

Each process says again and again who it is, so that all know who is there, and how many answers there will be: whoever
asks waits for these and no longer than ASK_TIMEOUT_S. The workers of one's own instance are not meant; their supervisor
joins them. While the others cannot be reached nobody waits, and answers are those of this instance alone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from keyrelay.api.worker_channel import Answer, Ask, Message

ASK_TIMEOUT_S = 0.3
"""How long the others have for an answer."""

GONE_AFTER_S = 6.5
"""Who has not been heard of for so long is gone."""

MAX_PEERS = 1_000
MAX_WAITING = 256
"""Questions that may be under way at a time; beyond them nobody is asked."""

_ID_BITS = 32


class Here(Message, frozen=True):
    """A process is there, of this instance; `leaving`: it is so no longer."""

    instance: str
    leaving: bool = False


class Tell(Message, frozen=True):
    """Something that wants no answer."""

    name: str
    payload: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Here | Tell | Ask | Answer] = msgspec.msgpack.Decoder(Here | Tell | Ask | Answer)

Handle = Callable[[str, bytes, Callable[[bytes | None], None]], None]
"""Answers a question, by name and payload, some time later, by calling what it is given; None: not here."""


class Exchange(Protocol):
    """Passes messages on between processes, as they come; what cannot be passed on is gone."""

    @property
    def address(self) -> str:
        """Names this process."""
        ...

    @property
    def joined(self) -> bool:
        """Whether the others can be reached."""
        ...

    @property
    def problem(self) -> str:
        """Why they cannot; empty before that is known."""
        ...

    def start(self, hello: bytes, receive: Callable[[str, bytes], None], changed: Callable[[str], None]) -> None:
        """Begin. `hello` is said to all again and again; `receive` gets address and message of others.

        `changed` is told the problem when the others cannot be reached any more, and "" when they can again.
        """
        ...

    def send(self, message: bytes, to: str = "") -> bool:
        """Say something to all, or to one; False when it will not be said."""
        ...

    def aclose(self, last_word: bytes = b"") -> Awaitable[None]:
        """Say a last word and leave."""
        ...


class _Peer(msgspec.Struct):
    """Who has been heard of, and when (event loop's clock)."""

    instance: str
    heard_at: float


class _Call:
    """A question under way."""

    __slots__ = ("done", "payloads", "waiting")

    def __init__(self, waiting: set[str], done: "asyncio.Future[None]") -> None:
        self.waiting = waiting
        self.payloads: list[bytes] = []
        self.done = done

    def strike(self, address: str) -> None:
        """Wait no longer for this one."""
        self.waiting.discard(address)
        if not self.waiting and not self.done.done():
            self.done.set_result(None)


class Hosts:
    """Asks and tells the workers of other instances over an exchange; `instance` is one's own."""

    def __init__(self, exchange: Exchange, instance: str) -> None:
        self._exchange = exchange
        self._instance = instance
        self._peers: dict[str, _Peer] = {}
        self._calls: dict[int, _Call] = {}
        self._last_id = random.getrandbits(_ID_BITS)
        self._handle: Handle | None = None
        self.watcher: Callable[[str], None] | None = None
        """Told the problem when the others cannot be reached any more, and "" when they can (again)."""

    @property
    def problem(self) -> str:
        """Why the others cannot be reached; empty while they can, or as long as nobody knows."""
        return self._exchange.problem

    def answer_by(self, handle: Handle) -> None:
        """Have the questions of others, and what they tell, go this way."""
        self._handle = handle

    def start(self) -> None:
        """Be there."""
        self._exchange.start(_encoder.encode(Here(self._instance)), self._receive, self._changed)

    async def stop(self) -> None:
        """Leave."""
        await self._exchange.aclose(_encoder.encode(Here(self._instance, leaving=True)))

    def others(self) -> list[str]:
        """The addresses of the workers of other instances that are there."""
        if not self._exchange.joined:
            return []
        since_at = asyncio.get_running_loop().time() - GONE_AFTER_S
        return [
            address
            for address, peer in self._peers.items()
            if peer.heard_at >= since_at and peer.instance != self._instance
        ]

    async def ask(self, name: str, payload: bytes) -> tuple[bytes, ...]:
        """What the others answered, in no order that means anything. Never raises, and waits 0.3 s at most."""
        others = set(self.others())
        if not others or len(self._calls) >= MAX_WAITING:
            return ()
        self._last_id = call_id = (self._last_id + 1) % (1 << _ID_BITS)
        call = self._calls[call_id] = _Call(others, asyncio.get_running_loop().create_future())
        try:
            if self._exchange.send(_encoder.encode(Ask(call_id, name, payload))):
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    await call.done
        except TimeoutError:
            pass
        finally:
            del self._calls[call_id]
        return tuple(call.payloads)

    def tell(self, name: str, payload: bytes) -> None:
        """Tell the others something, if there are any. Neither waits nor raises."""
        if self.others():
            self._exchange.send(_encoder.encode(Tell(name, payload)))

    def _receive(self, sender: str, message: bytes) -> None:
        try:
            said = _decoder.decode(message)
        except msgspec.MsgspecError:
            return
        if isinstance(said, Here):
            self._note(sender, said)
        elif isinstance(said, Answer):
            call = self._calls.get(said.id)
            if call is not None and sender in call.waiting:
                if said.payload is not None:
                    call.payloads.append(said.payload)
                call.strike(sender)
        elif self._handle is not None and self._is_elsewhere(sender):
            if isinstance(said, Tell):
                self._handle(said.name, said.payload, _unheard)
            else:
                self._handle(said.name, said.payload, lambda payload: self._reply(sender, said.id, payload))

    def _note(self, sender: str, said: Here) -> None:
        if said.leaving:
            self._peers.pop(sender, None)
            for call in tuple(self._calls.values()):
                call.strike(sender)
            return
        now_at = asyncio.get_running_loop().time()
        peer = self._peers.get(sender)
        if peer is not None:
            peer.heard_at = now_at
            return
        self._peers = {address: peer for address, peer in self._peers.items() if now_at - peer.heard_at < GONE_AFTER_S}
        if len(self._peers) < MAX_PEERS:
            self._peers[sender] = _Peer(said.instance, now_at)
            self._exchange.send(_encoder.encode(Here(self._instance)), sender)

    def _is_elsewhere(self, sender: str) -> bool:
        """Whether a question comes from another instance; one's own workers ask each other over their supervisor."""
        peer = self._peers.get(sender)
        return peer is not None and peer.instance != self._instance

    def _reply(self, to: str, call_id: int, payload: bytes | None) -> None:
        if not self._exchange.send(_encoder.encode(Answer(call_id, payload)), to):
            self._exchange.send(_encoder.encode(Answer(call_id, None)), to)

    def _changed(self, problem: str) -> None:
        if problem:
            self._peers.clear()
            for call in tuple(self._calls.values()):
                call.waiting.clear()
                call.strike("")
        if self.watcher is not None:
            self.watcher(problem)

    def __repr__(self) -> str:
        return f"<Hosts of {len(self._peers)} workers over {self._exchange!r}>"


def _unheard(payload: bytes | None) -> None:
    """Nobody waits for an answer."""
