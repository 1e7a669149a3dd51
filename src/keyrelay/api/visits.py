"""Requests under way at the front door, and one clock for all of them.

Instead of a timer and a task per request there is one tick for all, four times a second. It looks for callers who
have sent half a body and stopped, for callers who do not take their answer, and, once a request has lasted a
moment, for callers who have gone: then the request's task is cancelled, and with it the call to the provider.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from keyrelay.api.answering import Known, direct_answer, head_pairs, send_whole
from keyrelay.api.text_copies import Copies
from keyrelay.core.configuration import Client

TICK_S: Final = 0.25


class Ended(StrEnum):
    """Why a visit was ended from outside."""

    GONE = "gone"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"


class Held(Protocol):
    """What a visit takes up beyond memory."""

    def close(self) -> None:
        """Let go of it."""
        ...


class Visit:
    """One request at the front door, and the sink of its streamed answer. What is the same at first is in the class.

    `reading_since` and `writing_since` are set while it waits for the caller (event-loop clock, else 0). `spool` is
    what it uploads, `copies` take down what is asked and answered, where that is kept. `client` is who calls if more is
    said of it than its secret, and `limit_lines` give what the answer's head says of its limits if it has some.
    `known` is its head, where the server remembers that.
    """

    writing_since = 0.0
    started = False
    finished = False
    ended: Ended | None = None
    watcher: asyncio.Task[None] | None = None
    copies: Copies | None = None
    client: Client | None = None
    limit_lines: Callable[[], bytes] | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, now: float) -> None:
        self.receive = receive
        self.since = self.reading_since = now
        self.spool: Held | None = None
        self._send = send
        self._direct = direct = direct_answer(scope)
        self.known: Known | None = None
        if direct is None:
            task = asyncio.current_task()
        else:
            task, self.known = direct.runner, direct.known
        if task is None:
            raise RuntimeError("a visit begins inside a task")
        self.task = task

    @property
    def gone(self) -> bool:
        """Whether the caller has left, or does not read."""
        return self.ended is not None

    def take_body(self) -> bytes | None:
        """The whole body if the server has it already; else None, and `receive` will bring it."""
        return None if self._direct is None else self._direct.take_body()

    def write_whole(self, head: bytes, body: bytes) -> bool:
        """Send an answer with status 200 in one write; False where the server cannot do that."""
        if self._direct is None:
            return False
        if self.limit_lines is not None:
            head += self.limit_lines()
        self._direct.write_whole(200, head, body)
        return True

    async def send_whole(self, head: bytes, body: bytes) -> None:
        """Send an answer with status 200 in one piece."""
        self.writing_since = asyncio.get_running_loop().time()
        if self.limit_lines is not None:
            head += self.limit_lines()
        await send_whole(self._direct, self._send, 200, head, body)

    async def start(self, head: bytes) -> None:
        """Send status 200 and the head of a stream."""
        self.started = True
        if self.limit_lines is not None:
            head += self.limit_lines()
        await self._send({"type": "http.response.start", "status": 200, "headers": head_pairs(head)})

    def write_now(self, data: bytes) -> bool:
        """Send a piece of a stream if the caller keeps up; False when it has to be waited for."""
        return self._direct is not None and self._direct.write_now(data)

    async def write(self, data: bytes) -> None:
        """Send a piece of a stream; waits for the caller to take what was written before."""
        self.writing_since = asyncio.get_running_loop().time()
        try:
            if self._direct is not None:
                await self._direct.write_piece(data)
            else:
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self.writing_since = 0.0

    async def end(self, data: bytes) -> None:
        """Send the last piece of a stream."""
        self.finished = True
        self.writing_since = asyncio.get_running_loop().time()
        if self._direct is not None:
            await self._direct.write_piece(data, more=False)
        else:
            await self._send({"type": "http.response.body", "body": data})

    def break_off(self) -> None:
        """End an answer that is not whole and cannot say so itself: the connection ends with it."""
        self.finished = True
        if self._direct is not None:
            self._direct.break_off()

    def cut(self, reason: Ended) -> None:
        """Cancel the request for this reason."""
        if self.ended is None:
            self.ended = reason
            self.task.cancel()

    def __repr__(self) -> str:
        state = "finished" if self.finished else "streaming" if self.started else "under way"
        return f"<Visit since {self.since:.3f} {self.ended or state}>"


class CopiedVisit(Visit):
    """A visit whose answer is taken down as it goes out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, now: float, copies: Copies) -> None:
        super().__init__(scope, receive, send, now)
        self.copies = copies
        self._copies = copies

    def write_whole(self, head: bytes, body: bytes) -> bool:
        """The same."""
        sent = super().write_whole(head, body)
        if sent:
            self._copies.whole(head, body)
        return sent

    async def send_whole(self, head: bytes, body: bytes) -> None:
        """The same."""
        self._copies.whole(head, body)
        await super().send_whole(head, body)

    async def start(self, head: bytes) -> None:
        """The same."""
        self._copies.began(head)
        await super().start(head)

    def write_now(self, data: bytes) -> bool:
        """The same."""
        sent = super().write_now(data)
        if sent:
            self._copies.answer.add(data)
        return sent

    async def write(self, data: bytes) -> None:
        """The same."""
        self._copies.answer.add(data)
        await super().write(data)

    async def end(self, data: bytes) -> None:
        """The same."""
        self._copies.answer.add(data)
        await super().end(data)


class Visits:
    """All requests under way."""

    __slots__ = ("_present", "_reader_timeout_s", "_ticking", "body_timeout_s")

    def __init__(self, *, body_timeout_s: float, reader_timeout_s: float) -> None:
        self._present: set[Visit] = set()
        self.body_timeout_s = body_timeout_s
        self._reader_timeout_s = reader_timeout_s
        self._ticking = False

    def __len__(self) -> int:
        return len(self._present)

    def enter(self, scope: Scope, receive: Receive, send: Send, now: float, copies: Copies | None = None) -> Visit:
        """Note a request that is about to read its body at `now` (event-loop clock); call in its own task."""
        visit = Visit(scope, receive, send, now) if copies is None else CopiedVisit(scope, receive, send, now, copies)
        self._present.add(visit)
        if not self._ticking:
            self._ticking = True
            loop = asyncio.get_running_loop()
            loop.call_later(TICK_S, self._tick, loop)
        return visit

    def leave(self, visit: Visit) -> None:
        """Note that a request has ended."""
        self._present.discard(visit)
        if visit.watcher is not None:
            visit.watcher.cancel()
        if visit.spool is not None:
            visit.spool.close()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for visit in self._present:
            if visit.ended is not None:
                continue
            if visit.reading_since:
                if now - visit.reading_since > self.body_timeout_s:
                    visit.cut(Ended.SLOW_BODY)
            elif visit.writing_since and now - visit.writing_since > self._reader_timeout_s:
                visit.cut(Ended.SLOW_READER)
            elif visit.watcher is None and now - visit.since >= TICK_S:
                visit.watcher = loop.create_task(_watch(visit))
        self._ticking = bool(self._present)
        if self._ticking:
            loop.call_later(TICK_S, self._tick, loop)

    def __repr__(self) -> str:
        return f"<Visits {len(self._present)} under way>"


async def _watch(visit: Visit) -> None:
    """Wait for the caller to leave."""
    while True:
        message = await visit.receive()
        if message["type"] == "http.disconnect":
            visit.cut(Ended.GONE)
            return
