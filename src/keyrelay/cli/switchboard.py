"""Passes on what one worker asks all others, and keeps what all of them have counted."""

import asyncio
from collections.abc import Callable, Iterable

from keyrelay.api.siblings import ASK_TIMEOUT_S, SAMPLE
from keyrelay.api.worker_channel import Answer, Answers, AnyMessage, Ask, Farewell, Scrape, Scraped
from keyrelay.api.worker_metrics import Totals, encode_sample
from keyrelay.cli.worker_process import WorkerProcess

MAX_CALLS = 1024
"""Questions that are passed on at a time; beyond them nobody is asked."""


class _Call:
    """A question under way. `waiting` are the numbers of those who have not answered."""

    __slots__ = ("answered", "asker", "asker_id", "payloads", "scrape", "timer", "waiting")

    def __init__(self, asker: WorkerProcess, asker_id: int, waiting: set[int], *, scrape: bool) -> None:
        self.asker = asker
        self.asker_id = asker_id
        self.waiting = waiting
        self.scrape = scrape
        self.payloads: list[bytes] = []
        self.answered: list[int] = []
        self.timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<_Call of {self.asker.number} waiting for {sorted(self.waiting)}>"


class Switchboard:
    """Between the workers that `workers` gives."""

    def __init__(self, workers: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._workers = workers
        self._calls: dict[int, _Call] = {}
        self._last_id = 0
        self._totals = Totals()

    def receive(self, worker: WorkerProcess, message: AnyMessage) -> None:
        """Take what a worker says; what is no business of the others is left alone."""
        if isinstance(message, Ask):
            self._pass_on(worker, message)
        elif isinstance(message, Scrape):
            self._totals.note(worker.number, message.sample)
            self._pass_on(worker, message)
        elif isinstance(message, Answer):
            self._take_answer(worker, message)
        elif isinstance(message, Farewell):
            self._totals.note(worker.number, message.sample)

    def ended(self, worker: WorkerProcess) -> None:
        """A worker has ended: nobody waits for its answer, and what it has counted stays."""
        self._totals.end(worker.number)
        for call_id, call in list(self._calls.items()):
            self._strike(call_id, call, worker.number)

    def _pass_on(self, asker: WorkerProcess, question: Ask | Scrape) -> None:
        self._last_id = call_id = self._last_id + 1
        if isinstance(question, Scrape):
            passed = Ask(call_id, SAMPLE, b"")
        else:
            passed = Ask(call_id, question.name, question.payload)
        others = [each for each in self._alive() if each is not asker] if len(self._calls) < MAX_CALLS else []
        waiting = {each.number for each in others if each.send(passed)}
        call = _Call(asker, question.id, waiting, scrape=isinstance(question, Scrape))
        if not waiting:
            self._reply(call)
            return
        self._calls[call_id] = call
        call.timer = asyncio.get_running_loop().call_later(ASK_TIMEOUT_S, self._finish, call_id)

    def _take_answer(self, worker: WorkerProcess, answer: Answer) -> None:
        call = self._calls.get(answer.id)
        if call is None:
            return
        if answer.payload is not None:
            call.answered.append(worker.number)
            if call.scrape:
                self._totals.note(worker.number, answer.payload)
            else:
                call.payloads.append(answer.payload)
        self._strike(answer.id, call, worker.number)

    def _strike(self, call_id: int, call: _Call, number: int) -> None:
        call.waiting.discard(number)
        if not call.waiting:
            self._finish(call_id)

    def _finish(self, call_id: int) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            if call.timer is not None:
                call.timer.cancel()
            self._reply(call)

    def _reply(self, call: _Call) -> None:
        if not call.scrape:
            call.asker.send(Answers(call.asker_id, tuple(call.payloads)))
            return
        others = self._totals.others(call.asker.number, call.answered)
        scraped = Scraped(call.asker_id, encode_sample(others), len(self._alive()), len(call.answered) + 1)
        call.asker.send(scraped)

    def _alive(self) -> list[WorkerProcess]:
        return [each for each in self._workers() if each.is_ready and not each.has_ended]

    def __repr__(self) -> str:
        return f"<Switchboard {len(self._calls)} questions under way, {self._totals!r}>"
