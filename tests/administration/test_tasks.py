"""Work in the background: how far it is, how it ends, how much of it there may be."""

import asyncio
import time

import pytest

from keyrelay.administration.tasks import MAX_KEPT, MAX_RUNNING, Task, TaskResult, Tasks, TaskState
from keyrelay.core.errors import CallerError, StoreError
from tests.e2e.harness import until


async def finished(task: Task) -> Task:
    await until(lambda: task.state is not TaskState.RUNNING, "the task has ended")
    return task


async def test_a_task_says_how_far_it_is_and_what_it_found() -> None:
    tasks, go = Tasks(time.time), asyncio.Event()

    async def work(task: Task) -> None:
        task.step(TaskResult(subject="a", outcome="valid"))
        await go.wait()
        task.step(TaskResult(subject="b", outcome="invalid"))

    task = tasks.start("test", work, started_by="user:alice", total=2)
    await asyncio.sleep(0)
    assert (task.state, task.done, task.total, task.ended_s) == (TaskState.RUNNING, 1, 2, 0.0)
    go.set()
    await finished(task)
    assert (task.state, task.done, [each.subject for each in task.results]) == (TaskState.DONE, 2, ["a", "b"])
    assert (tasks.find(task.id), tasks.all(), tasks.cancel(task.id)) == (task, [task], False)
    assert repr(tasks) == "<Tasks 0 of 1 running>"


async def test_what_is_foreseen_ends_a_task_with_its_words() -> None:
    tasks = Tasks(time.time)

    async def work(task: Task) -> None:
        raise StoreError("the store is away")

    task = await finished(tasks.start("test", work, started_by="x"))
    assert (task.state, task.message, task.ended_s > 0) == (TaskState.FAILED, "the store is away", True)


async def test_there_are_bounds_and_an_end() -> None:
    tasks = Tasks(time.time)

    async def hold(task: Task) -> None:
        await asyncio.sleep(60.0)

    async def nothing(task: Task) -> None:
        """Be done at once."""

    for _ in range(MAX_KEPT + 5):
        await finished(tasks.start("short", nothing, started_by="x"))
    assert len(tasks.all()) == MAX_KEPT
    held = [tasks.start("long", hold, started_by="x") for _ in range(MAX_RUNNING)]
    with pytest.raises(CallerError) as refused:
        tasks.start("long", hold, started_by="x")
    assert refused.value.status == 429
    await asyncio.sleep(0)
    assert tasks.cancel(held[0].id)
    await finished(held[0])
    await tasks.close()
    assert [task.state for task in held] == [TaskState.CANCELLED] + [TaskState.FAILED] * (MAX_RUNNING - 1)
    assert held[0].message == "It was cancelled after 0 of 0."
    assert held[1].message == "It ended with its worker, after 0 of 0."
    assert tasks.find("task_x") is None
