"""Work that takes longer than a request: begun by one, looked at by others, cancelled if need be.

Tasks are in the memory of the process that was asked, and end with it; `kept_tasks` lets others know of them.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec

from keyrelay.core.errors import CallerError, KeyrelayError

MAX_RUNNING = 4
MAX_KEPT = 100
MAX_RESULTS = 10_000
_ID_BYTES = 16


class TaskState(StrEnum):
    """How far a task is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one of the things that a task is about."""

    subject: str
    outcome: str
    message: str = ""


class Task(msgspec.Struct, kw_only=True):
    """A task. `done` of `total` steps are over; times are epoch seconds, `ended_s` 0 while it runs."""

    id: str
    kind: str
    started_by: str
    started_s: float
    state: TaskState = TaskState.RUNNING
    done: int = 0
    total: int = 0
    ended_s: float = 0.0
    message: str = ""
    results: list[TaskResult] = []

    def step(self, result: TaskResult) -> None:
        """Note that one more step is over."""
        self.done += 1
        if len(self.results) < MAX_RESULTS:
            self.results.append(result)

    def cut_short(self) -> str:
        """What is said of a task whose process has ended before it."""
        return f"It ended with its worker, after {self.done} of {self.total}."


Work = Callable[[Task], Awaitable[object]]
"""What a task does; it says how far it is by `Task.step`, and may raise KeyrelayError."""


class Tasks:
    """The tasks of this process: those that run, and the last ones that have ended."""

    __slots__ = ("_closing", "_epoch_s", "_running", "_tasks")

    def __init__(self, epoch_s: Callable[[], float]) -> None:
        self._epoch_s = epoch_s
        self._tasks: dict[str, Task] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    def start(self, kind: str, work: Work, *, started_by: str, total: int = 0) -> Task:
        """Begin. Raise CallerError (429) when too many run."""
        if len(self._running) >= MAX_RUNNING:
            message = f"{MAX_RUNNING} tasks are running already. Wait for one to end, or cancel one."
            raise CallerError(429, message, kind="rate_limit_error", code="too_many_tasks")
        task = Task(
            id=f"task_{os.urandom(_ID_BYTES).hex()}",
            kind=kind,
            started_by=started_by,
            started_s=self._epoch_s(),
            total=total,
        )
        self._tasks[task.id] = task
        while len(self._tasks) > MAX_KEPT:
            ended = next((name for name, each in self._tasks.items() if each.state is not TaskState.RUNNING), None)
            del self._tasks[ended or task.id]
        running = asyncio.get_running_loop().create_task(self._run(task, work), name=task.id)
        self._running[task.id] = running
        running.add_done_callback(lambda _: self._end(task, TaskState.CANCELLED))  # one that has not even begun
        return task

    def all(self) -> list[Task]:
        """All that are known, the newest first."""
        return list(reversed(self._tasks.values()))

    def find(self, task_id: str) -> Task | None:
        """A task; None for one that is not known here."""
        return self._tasks.get(task_id)

    def cancel(self, task_id: str) -> bool:
        """Have a task stop; False for one that is not known here, or has ended."""
        running = self._running.get(task_id)
        return running is not None and running.cancel()

    async def close(self) -> None:
        """Stop all: the process ends."""
        self._closing = True
        running = list(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, task: Task, work: Work) -> None:
        state, message = TaskState.FAILED, "It failed in a way that was not foreseen; the log says more."
        try:
            await work(task)
            state, message = TaskState.DONE, ""
        except KeyrelayError as error:
            message = str(error)
        except asyncio.CancelledError:
            message = task.cut_short()
            if not self._closing:
                state, message = TaskState.CANCELLED, f"It was cancelled after {task.done} of {task.total}."
            raise
        finally:
            self._end(task, state, message)

    def _end(self, task: Task, state: TaskState, message: str = "") -> None:
        if task.state is TaskState.RUNNING:
            task.state, task.message, task.ended_s = state, message, self._epoch_s()
            self._running.pop(task.id, None)

    def __repr__(self) -> str:
        return f"<Tasks {len(self._running)} of {len(self._tasks)} running>"
