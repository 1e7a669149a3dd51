"""Tasks beyond the process that runs them: kept in the store, found by whoever shares it, and ended from anywhere.

How far a task is is written down every second in which that has changed, and now and then in any case; of a task that
claims to run and was not heard of for a while the process has ended, and the task with it. A store that is away fails
no task: it is then known in the memory of its process alone.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from keyrelay.administration.tasks import Task, TaskResult, Tasks, TaskState
from keyrelay.core.errors import StoreError
from keyrelay.core.kept_tasks import StoredTask, TaskToKeep

KEEP_EVERY_S = 1.0
HEARD_EVERY_S = 3.0
"""How often a task that runs is written down though nothing has changed."""

MAX_LISTED = 100
MAX_RESULTS_MEANWHILE = 1_000
"""Results that are written down while a task runs; when it has ended, all are."""

_CLOSE_S = 2.0

_encoder = msgspec.msgpack.Encoder()
_task_decoder = msgspec.msgpack.Decoder(Task)
_results_decoder = msgspec.msgpack.Decoder(list[TaskResult])

_Noted = tuple[TaskState, int]


class TaskStore(Protocol):
    """Where tasks are kept for those who do not run them. Raises StoreError."""

    async def keep(self, tasks: Sequence[TaskToKeep]) -> frozenset[str]:
        """Keep tasks as they are now; the ids of those that somebody wants to end."""
        ...

    async def find(self, task_id: str) -> StoredTask | None:
        """One with its results; None when it is not kept."""
        ...

    async def newest(self, limit: int) -> tuple[StoredTask, ...]:
        """Those that were kept last, without results."""
        ...

    async def want_end(self, task_id: str) -> None:
        """Have whoever runs it end it."""
        ...

    async def purge(self) -> None:
        """Forget those that are old."""
        ...


class KeptTasks:
    """Keeps the `tasks` of this process in a store, and finds those of others. `epoch_s` is the present time."""

    __slots__ = ("_epoch_s", "_kept", "_kept_s", "_store", "_tasks")

    def __init__(self, tasks: Tasks, store: TaskStore, epoch_s: Callable[[], float]) -> None:
        self._tasks = tasks
        self._store = store
        self._epoch_s = epoch_s
        self._kept: dict[str, _Noted] = {}
        self._kept_s = 0.0

    async def keep(self) -> None:
        """Write down what has changed, and end what somebody wants to end. Raise StoreError."""
        now_s = self._epoch_s()
        tasks = self._tasks.all()
        beat = now_s - self._kept_s >= HEARD_EVERY_S
        changed = [
            task
            for task in tasks
            if self._kept.get(task.id) != _noted(task) or (beat and task.state is TaskState.RUNNING)
        ]
        if not changed:
            return
        new = any(task.id not in self._kept for task in changed)
        noted = {task.id: _noted(task) for task in changed}
        for task_id in await self._store.keep([_to_keep(task) for task in changed]):
            self._tasks.cancel(task_id)
        self._kept = {task.id: self._kept[task.id] for task in tasks if task.id in self._kept} | noted
        if beat:
            self._kept_s = now_s
        if new:
            await self._store.purge()

    async def find(self, task_id: str) -> Task | None:
        """A task of whatever process, as it was written down last. Raise StoreError."""
        found = await self._store.find(task_id)
        return None if found is None else self._recalled(found)

    async def all(self) -> list[Task]:
        """The last tasks of all processes, without results. Raise StoreError."""
        found = [self._recalled(each) for each in await self._store.newest(MAX_LISTED)]
        return [task for task in found if task is not None]

    async def cancel(self, task_id: str) -> None:
        """Have whichever process runs a task stop it, within a few seconds. Raise StoreError."""
        await self._store.want_end(task_id)

    async def close(self) -> None:
        """Stop all that run here, and write down that they have ended."""
        await self._tasks.close()
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.keep()

    def _recalled(self, stored: StoredTask) -> Task | None:
        """A task as it was kept; None for one that another version has kept otherwise."""
        try:
            task = _task_decoder.decode(stored.line)
            task.results = _results_decoder.decode(stored.results) if stored.results else []
        except msgspec.MsgspecError:
            return None
        if task.state is TaskState.RUNNING and stored.lost:
            task.state = TaskState.FAILED
            task.ended_s = self._epoch_s() - stored.age_s
            task.message = task.cut_short()
        return task

    def __repr__(self) -> str:
        return f"<KeptTasks of {self._tasks!r}>"


def _noted(task: Task) -> _Noted:
    return task.state, task.done


def _to_keep(task: Task) -> TaskToKeep:
    results = task.results[:MAX_RESULTS_MEANWHILE] if task.state is TaskState.RUNNING else task.results
    line = msgspec.structs.replace(task, results=[])
    return TaskToKeep(id=task.id, line=_encoder.encode(line), results=_encoder.encode(results))
