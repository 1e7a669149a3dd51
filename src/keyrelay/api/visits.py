"""Requests under way at the front door, and one clock for all of them.

Instead of a timer and a task per request there is one tick for all, four times a second. It looks for callers who
have sent half a body and stopped, for callers who do not take their answer, and, once a request has lasted a
moment, for callers who have gone: then the request's task is cancelled, and with it the call to the provider.
"""

import asyncio
from enum import StrEnum
from typing import Any

from starlette.types import Receive

TICK_S = 0.25


class Ended(StrEnum):
    """Why a visit was ended from outside."""

    GONE = "gone"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"


class Visit:
    """One request. `reading_since` and `writing_since` are set while it waits for the caller (monotonic, else 0)."""

    __slots__ = ("ended", "reading_since", "receive", "since", "task", "watcher", "writing_since")

    def __init__(self, task: asyncio.Task[Any], receive: Receive, now: float) -> None:
        self.task = task
        self.receive = receive
        self.since = now
        self.reading_since = now
        self.writing_since = 0.0
        self.ended: Ended | None = None
        self.watcher: asyncio.Task[None] | None = None

    def end(self, reason: Ended) -> None:
        """Cancel the request for this reason."""
        if self.ended is None:
            self.ended = reason
            self.task.cancel()

    def __repr__(self) -> str:
        return f"<Visit since {self.since:.3f} {self.ended or 'under way'}>"


class Visits:
    """All requests under way."""

    __slots__ = ("_body_timeout_s", "_present", "_reader_timeout_s", "_ticking")

    def __init__(self, *, body_timeout_s: float, reader_timeout_s: float) -> None:
        self._present: set[Visit] = set()
        self._body_timeout_s = body_timeout_s
        self._reader_timeout_s = reader_timeout_s
        self._ticking = False

    def __len__(self) -> int:
        return len(self._present)

    def enter(self, receive: Receive) -> Visit:
        """Note a request that is about to read its body; call in its own task."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a visit begins inside a task")
        visit = Visit(task, receive, loop.time())
        self._present.add(visit)
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_S, self._tick, loop)
        return visit

    def leave(self, visit: Visit) -> None:
        """Note that a request has ended."""
        self._present.discard(visit)
        if visit.watcher is not None:
            visit.watcher.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for visit in self._present:
            if visit.ended is not None:
                continue
            if visit.reading_since:
                if now - visit.reading_since > self._body_timeout_s:
                    visit.end(Ended.SLOW_BODY)
            elif visit.writing_since and now - visit.writing_since > self._reader_timeout_s:
                visit.end(Ended.SLOW_READER)
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
            visit.end(Ended.GONE)
            return
