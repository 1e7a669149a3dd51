"""The other workers of this instance: what is in their memory can be asked for.

A question has a name and a payload; whoever knows the name answers, or says nothing. Both ends agree on what the
payload means (MessagePack, as a rule). The supervisor passes questions on and waits no longer than ASK_TIMEOUT_S for
the answers, so a worker that hangs delays nobody for longer.
"""

import asyncio
from collections.abc import Awaitable, Callable

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
    """Asks the others, and answers them. Without `send` this process is alone: there is nobody to ask."""

    def __init__(self, send: Callable[[AnyMessage], None] | None = None) -> None:
        self._send = send
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[int, asyncio.Future[Answers | Scraped]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._last_id = 0

    @property
    def alone(self) -> bool:
        """Whether there is nobody to ask."""
        return self._send is None

    def answer(self, name: str, handler: Handler) -> None:
        """Answer questions of this name by what the handler returns; None: not here. It must not raise."""
        self._handlers[name] = handler

    async def ask(self, name: str, payload: bytes = b"") -> tuple[bytes, ...]:
        """What the others answered, in no order that means anything. Never raises, and waits about 0.3 s at most."""
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
            self._take_question(message)
        elif isinstance(message, Answers | Scraped):
            waiting = self._waiting.get(message.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def _take_question(self, ask: Ask) -> None:
        handler = self._handlers.get(ask.name)
        if handler is None or len(self._answering) >= MAX_WAITING:
            self._reply(Answer(ask.id, None))
            return
        task = asyncio.get_running_loop().create_task(self._answer(handler, ask))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, handler: Handler, ask: Ask) -> None:
        self._reply(Answer(ask.id, await handler(ask.payload)))

    def _reply(self, answer: Answer) -> None:
        if self._send is not None:
            self._send(answer)

    def __repr__(self) -> str:
        return f"<Siblings {'alone' if self.alone else f'asked {self._last_id} times'}>"
