import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message, Scope

from keyrelay.api.visits import Ended, Visit, Visits
from tests.e2e.harness import until

SCOPE: Scope = {"type": "http", "extensions": {}}


class Peer:
    """A caller as an ASGI server shows him."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue(10)
        self.taking = asyncio.Event()
        self.taking.set()
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return await self.messages.get()

    async def send(self, message: Message) -> None:
        await self.taking.wait()
        self.sent.append(message)


@contextlib.asynccontextmanager
async def visiting(
    visits: Visits, peer: Peer, *, body_read: bool = True
) -> AsyncIterator[tuple[Visit, "asyncio.Task[None]"]]:
    """A request in a task of its own that waits for its answer for ever."""
    entered: asyncio.Future[Visit] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        visit = visits.enter(SCOPE, peer.receive, peer.send, asyncio.get_running_loop().time())
        if body_read:
            visit.reading_since = 0.0
        entered.set_result(visit)
        try:
            if not peer.taking.is_set():
                await visit.start(b"")
                await visit.write(b"x")
            await asyncio.get_running_loop().create_future()
        finally:
            visits.leave(visit)

    task = asyncio.ensure_future(serve())
    try:
        yield await entered, task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def make_visits() -> Visits:
    return Visits(body_timeout_s=0.3, reader_timeout_s=0.3)


async def test_a_body_that_does_not_come() -> None:
    visits = make_visits()
    async with visiting(visits, Peer(), body_read=False) as (visit, task):
        await until(task.done, "the request is ended", 3)
        assert visit.ended is Ended.SLOW_BODY
        assert len(visits) == 0


async def test_a_caller_who_has_gone() -> None:
    visits, peer = make_visits(), Peer()
    async with visiting(visits, peer) as (visit, task):
        peer.messages.put_nowait({"type": "http.disconnect"})
        await until(task.done, "the request is ended", 1.0)
        assert visit.ended is Ended.GONE


async def test_a_caller_who_does_not_take_his_answer() -> None:
    visits, peer = make_visits(), Peer()
    peer.taking.clear()
    async with visiting(visits, peer) as (visit, task):
        await until(lambda: task.done() or visit.started, "it writes", 1.0)
        await asyncio.sleep(0)
        visit.writing_since = visit.since
        await until(task.done, "the request is ended", 3)
        assert visit.ended is Ended.SLOW_READER


async def test_a_caller_who_waits_patiently_is_left_alone() -> None:
    visits = make_visits()
    async with visiting(visits, Peer()) as (visit, task):
        await asyncio.sleep(0.8)  # longer than both timeouts: nothing is to happen
        assert not task.done()
        assert visit.ended is None
        assert "under way" in repr(visit)


async def test_a_visit_needs_a_task() -> None:
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            make_visits().enter(SCOPE, Peer().receive, Peer().send, 0.0)
        except RuntimeError as error:
            failed.append(error)

    asyncio.get_running_loop().call_soon(enter)
    await until(lambda: failed, "it is refused", 1.0)
    with pytest.raises(RuntimeError):
        raise failed[0]
