"""The other workers, of this instance and of others: what is in their memory can be asked for.

A question has a name and a payload; whoever knows the name answers, or says nothing. Both ends agree on what the
payload means (MessagePack, as a rule). Workers of this instance are asked through the supervisor, which passes on
questions and waits no longer than ASK_TIMEOUT_S for the answers, so a worker that hangs delays nobody for longer; those
of other hosts (`hosts`), where there is a way to them, at the same time.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from keyrelay.api.hosts import Hosts
from keyrelay.api.worker_channel import Answer, Answers, AnyMessage, Ask, Scrape, Scraped

ASK_TIMEOUT_S = 0.3
"""How long the others have for an answer."""

MAX_WAITING = 256
"""Questions that may be under way at a time, each way; beyond them there is no answer."""

_SUPERVISOR_TIMEOUT_S = 1.0
SAMPLE = "sample"
"""The question for a worker's metrics."""

Handler = Callable[[bytes], Awaitable[bytes | None]]


class Siblings:
    """Asks the others, and answers them. Without `send` this process is alone in its instance."""

    def __init__(self, send: Callable[[AnyMessage], None] | None = None) -> None:
        self._send = send
        self._hosts: Hosts | None = None
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[int, asyncio.Future[Answers | Scraped]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._last_id = 0

    @property
    def alone(self) -> bool:
        """Whether this instance has no other worker."""
        return self._send is None

    @property
    def alone_everywhere(self) -> bool:
        """Whether there is nobody to ask, nor a way to anybody elsewhere."""
        return self._send is None and self._hosts is None

    def reach(self, hosts: Hosts) -> None:
        """Have the workers of other hosts asked and answered too; to be called before they are."""
        self._hosts = hosts
        hosts.answer_by(self._take)

    def watch_hosts(self, watcher: Callable[[str], None]) -> None:
        """Have somebody told when other hosts cannot be reached, and why, and when they can again: ""."""
        if self._hosts is not None:
            self._hosts.watcher = watcher

    def answer(self, name: str, handler: Handler) -> None:
        """Answer questions of this name by what the handler returns; None: not here. It must not raise."""
        self._handlers[name] = handler

    async def ask(self, name: str, payload: bytes = b"") -> tuple[bytes, ...]:
        """What the others answered, in no order that means anything. Never raises, and waits about 0.3 s at most."""
        if self._hosts is None:
            return await self._ask_here(name, payload)
        here, elsewhere = await asyncio.gather(self._ask_here(name, payload), self._hosts.ask(name, payload))
        return here + elsewhere

    async def tell(self, name: str, payload: bytes, *, elsewhere: bytes | None = None) -> None:
        """Tell the others something that wants no answer; those of other hosts something else, if that is given.

        Never raises; waits until those of this instance have taken it, about 0.3 s at most.
        """
        if self._hosts is not None:
            self._hosts.tell(name, payload if elsewhere is None else elsewhere)
        await self._ask_here(name, payload)

    async def _ask_here(self, name: str, payload: bytes) -> tuple[bytes, ...]:
        answers = await self._call(lambda call_id: Ask(call_id, name, payload))
        return answers.payloads if isinstance(answers, Answers) else ()

    async def scrape(self, sample: bytes) -> Scraped | None:
        """The metrics of all others, given one's own; None when there are none, or nobody can say."""
        scraped = await self._call(lambda call_id: Scrape(call_id, sample))
        return scraped if isinstance(scraped, Scraped) else None

    async def _call(self, question: Callable[[int], AnyMessage]) -> Answers | Scraped | None:
        if self._send is None or len(self._waiting) >= MAX_WAITING:
            return None
        self._last_id = call_id = self._last_id + 1
        self._waiting[call_id] = future = asyncio.get_running_loop().create_future()
        try:
            self._send(question(call_id))
            return await asyncio.wait_for(future, _SUPERVISOR_TIMEOUT_S)
        except TimeoutError:
            return None
        finally:
            del self._waiting[call_id]

    def receive(self, message: AnyMessage) -> None:
        """Take what came from the supervisor: a question of another worker, or the answer to one's own."""
        if isinstance(message, Ask):
            asked = message
            self._take(asked.name, asked.payload, lambda payload: self._reply(Answer(asked.id, payload)))
        elif isinstance(message, Answers | Scraped):
            waiting = self._waiting.get(message.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def _take(self, name: str, payload: bytes, reply: Callable[[bytes | None], None]) -> None:
        handler = self._handlers.get(name)
        if handler is None or len(self._answering) >= MAX_WAITING:
            reply(None)
            return
        task = asyncio.get_running_loop().create_task(_answer(handler, payload, reply))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _reply(self, answer: Answer) -> None:
        if self._send is not None:
            self._send(answer)

    def __repr__(self) -> str:
        return f"<Siblings {'alone' if self.alone else f'asked {self._last_id} times'}>"


async def _answer(handler: Handler, payload: bytes, reply: Callable[[bytes | None], None]) -> None:
    try:
        answer = await handler(payload)
    except msgspec.MsgspecError:  # who asks means something else by it
        answer = None
    reply(answer)
