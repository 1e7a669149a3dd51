"""Tasks that others find in the store: how far they are, that they ended with their worker, and ending them."""

import asyncio
import time
from collections.abc import Sequence

from keyrelay.administration.kept_tasks import HEARD_EVERY_S, MAX_RESULTS_MEANWHILE, KeptTasks
from keyrelay.administration.tasks import Task, TaskResult, Tasks, TaskState
from keyrelay.core.errors import StoreError
from keyrelay.core.kept_tasks import LOST_AFTER_S, StoredTask, TaskToKeep
from tests.e2e.harness import until


class Shelf:
    """A store in memory, whose rows are as old as one says."""

    def __init__(self) -> None:
        self.rows: dict[str, TaskToKeep] = {}
        self.written: list[list[str]] = []
        self.age_s = 0.0
        self.ends: set[str] = set()
        self.away = False

    async def keep(self, tasks: Sequence[TaskToKeep]) -> frozenset[str]:
        if self.away:
            raise StoreError("the store is away")
        self.rows |= {task.id: task for task in tasks}
        self.written.append([task.id for task in tasks])
        return frozenset(self.ends)

    async def find(self, task_id: str) -> StoredTask | None:
        row = self.rows.get(task_id)
        return None if row is None else StoredTask(row.line, row.results, self.age_s)

    async def newest(self, limit: int) -> tuple[StoredTask, ...]:
        return tuple(StoredTask(row.line, b"", self.age_s) for row in self.rows.values())[:limit]

    async def want_end(self, task_id: str) -> None:
        self.ends.add(task_id)

    async def purge(self) -> None:
        """Keep everything."""


class Two:
    """A process that runs tasks, and one that does not, over one store."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.now_s = time.time()
        self.tasks = Tasks(lambda: self.now_s)
        self.here = KeptTasks(self.tasks, self.shelf, lambda: self.now_s)
        self.there = KeptTasks(Tasks(lambda: self.now_s), self.shelf, lambda: self.now_s)
        self.go = asyncio.Event()

    async def started(self, steps: int = 1) -> Task:
        async def work(task: Task) -> None:
            for number in range(steps):
                task.step(TaskResult(subject=f"key{number}", outcome="valid"))
            await self.go.wait()
            task.step(TaskResult(subject="last", outcome="invalid"))

        task = self.tasks.start("test keys", work, started_by="user:alice", total=steps + 1)
        await asyncio.sleep(0)
        await self.here.keep()
        return task


async def test_another_process_sees_how_far_a_task_is_and_what_it_found() -> None:
    two = Two()
    task = await two.started()
    found = await two.there.find(task.id)
    assert found is not None
    assert (found.state, found.done, found.total, found.message) == (TaskState.RUNNING, 1, 2, "")
    assert [each.subject for each in found.results] == ["key0"]
    two.go.set()
    await until(lambda: task.state is TaskState.DONE, "it is done")
    await two.here.keep()
    (listed,) = await two.there.all()
    assert (listed.state, listed.done, listed.results) == (TaskState.DONE, 2, [])
    two.shelf.age_s = 10 * LOST_AFTER_S
    assert await two.there.find(task.id) == task, "what has ended stays as it is"
    assert await two.there.find("task_x") is None


async def test_what_has_not_changed_is_written_down_only_now_and_then() -> None:
    two = Two()
    task = await two.started()
    for _ in range(3):
        await two.here.keep()
    assert two.shelf.written == [[task.id]]
    two.now_s += HEARD_EVERY_S
    await two.here.keep()
    await two.here.keep()
    assert two.shelf.written == [[task.id]] * 2
    two.go.set()
    await until(lambda: task.state is TaskState.DONE, "it is done")
    for _ in range(3):
        two.now_s += HEARD_EVERY_S
        await two.here.keep()
    assert two.shelf.written == [[task.id]] * 3


async def test_a_task_whose_worker_has_died_has_ended_with_it() -> None:
    two = Two()
    task = await two.started()
    two.shelf.age_s = LOST_AFTER_S + 1
    found = await two.there.find(task.id)
    assert found is not None
    assert (found.state, found.message) == (TaskState.FAILED, "It ended with its worker, after 1 of 2.")
    assert found.ended_s == two.now_s - two.shelf.age_s
    assert [each.state for each in await two.there.all()] == [TaskState.FAILED]
    await two.tasks.close()


async def test_a_worker_that_stops_says_so_of_its_tasks() -> None:
    two = Two()
    task = await two.started()
    await two.here.close()
    found = await two.there.find(task.id)
    assert found is not None
    assert (found.state, found.message) == (TaskState.FAILED, "It ended with its worker, after 1 of 2.")


async def test_another_process_may_end_a_task() -> None:
    two = Two()
    task = await two.started()
    await two.there.cancel(task.id)
    two.now_s += HEARD_EVERY_S
    await two.here.keep()
    await until(lambda: task.state is TaskState.CANCELLED, "it is cancelled")


async def test_of_very_many_results_some_are_written_down_before_the_end() -> None:
    two = Two()
    task = await two.started(MAX_RESULTS_MEANWHILE + 10)
    found = await two.there.find(task.id)
    assert found is not None
    assert (found.done, len(found.results)) == (MAX_RESULTS_MEANWHILE + 10, MAX_RESULTS_MEANWHILE)
    two.go.set()
    await until(lambda: task.state is TaskState.DONE, "it is done")
    await two.here.keep()
    found = await two.there.find(task.id)
    assert found is not None
    assert len(found.results) == MAX_RESULTS_MEANWHILE + 11


async def test_a_store_that_is_away_or_of_another_version_harms_no_task() -> None:
    two = Two()
    two.shelf.away = True
    try:
        await two.started()
    except StoreError:
        (task,) = two.tasks.all()
    two.go.set()
    await until(lambda: task.state is TaskState.DONE, "it is done")
    await two.here.close()
    two.shelf.away = False
    two.shelf.rows["task_x"] = TaskToKeep(id="task_x", line=b"\xc1", results=b"")
    assert await two.there.find("task_x") is None
    assert await two.there.all() == []
    assert repr(two.there) == "<KeptTasks of <Tasks 0 of 0 running>>"
