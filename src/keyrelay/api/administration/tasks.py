"""`/api/v1/tasks`: work that goes on in the background, of whichever worker of whichever host.

Other workers are asked, since they know best; what they do not say, because they have ended or cannot be reached, the
store may know.
"""

from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Response

from keyrelay.administration.kept_tasks import KeptTasks
from keyrelay.administration.tasks import Task, TaskResult, Tasks, TaskState
from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.siblings import Siblings
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError, StoreError
from keyrelay.core.moments import known_moment, past_moment

_LIST, _FIND, _CANCEL = "tasks", "task", "cancel task"

TaskId = Annotated[str, Path(pattern="^task_[0-9a-f]{32}$", description="The task's id.")]


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    """A task: `done` of `total` steps are over. `message` says why it failed or where it was cancelled.

    `results` are those of its steps so far; in the list of all tasks they are left out.
    """

    id: str
    kind: str
    state: TaskState
    done: int
    total: int
    started_by: str
    started_at: str | None
    ended_at: str | None
    message: str
    results: tuple[TaskResult, ...]


class TaskList(msgspec.Struct, frozen=True):
    """The tasks that are known, the newest first."""

    items: tuple[TaskLine, ...]


_lines = msgspec.msgpack.Decoder(tuple[TaskLine, ...])


class TasksView:
    """The routes of tasks. They are in the memory of one process each: the others are asked, and then `kept`."""

    __slots__ = ("_access", "_kept", "_siblings", "_tasks")

    def __init__(self, access: Access, tasks: Tasks, kept: KeptTasks, siblings: Siblings) -> None:
        self._access = access
        self._tasks = tasks
        self._kept = kept
        self._siblings = siblings
        siblings.answer(_LIST, self._answer_list)
        siblings.answer(_FIND, self._answer_find)
        siblings.answer(_CANCEL, self._answer_cancel)

    def install(self, app: FastAPI) -> None:
        """Add the routes."""

        @app.get(
            "/api/v1/tasks",
            tags=["tasks"],
            summary="What goes on in the background.",
            description="The last ones, of all workers and hosts. One whose worker ends is over, and says so.",
            response_class=Response,
            responses=described(TaskList, TaskList((EXAMPLE_TASK,)), 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER))],
        )
        async def tasks() -> Response:
            return answer(TaskList(await self._all()))

        @app.get(
            "/api/v1/tasks/{task_id}",
            tags=["tasks"],
            summary="How far a task is.",
            response_class=Response,
            responses=described(TaskLine, EXAMPLE_TASK, 400, 403, 404) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER))],
        )
        async def task(task_id: TaskId) -> Response:
            return answer(await self._find(task_id))

        @app.delete(
            "/api/v1/tasks/{task_id}",
            tags=["tasks"],
            summary="Cancel a task.",
            description="What it has done stays. One that has ended stays as it is.",
            response_class=Response,
            responses=described(TaskLine, EXAMPLE_TASK, 400, 403, 404) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.OPERATOR))],
        )
        async def cancel(task_id: TaskId) -> Response:
            if self._tasks.find(task_id) is None and not await self._siblings.ask(_CANCEL, task_id.encode()):
                line = await self._find(task_id)
                if line.state is TaskState.RUNNING:  # at a host that cannot be asked
                    await from_store(self._kept.cancel(task_id))
                return answer(line)
            self._tasks.cancel(task_id)
            return answer(await self._find(task_id))

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(TaskList)

    async def _find(self, task_id: str) -> TaskLine:
        own = self._tasks.find(task_id)
        if own is not None:
            return task_line(own)
        for packed in await self._siblings.ask(_FIND, task_id.encode()):
            for line in _lines.decode(packed):
                return line
        kept = await from_store(self._kept.find(task_id))
        if kept is not None:
            return task_line(kept)
        message = "There is no such task: it has ended long ago, or with the process that ran it."
        raise CallerError(404, message, param="task_id", code="task_not_found")

    async def _all(self) -> tuple[TaskLine, ...]:
        """Those of all processes, the newest first; of one that several know of what its own process says."""
        try:
            lines = {task.id: task_line(task, results=False) for task in await self._kept.all()}
        except StoreError:  # those that run are known without it
            lines = {}
        for packed in await self._siblings.ask(_LIST):
            lines |= {line.id: line for line in _lines.decode(packed)}
        lines |= {line.id: line for line in self._own()}
        return tuple(sorted(lines.values(), key=lambda line: line.started_at or "", reverse=True))

    def _own(self) -> tuple[TaskLine, ...]:
        return tuple(task_line(task, results=False) for task in self._tasks.all())

    async def _answer_list(self, payload: bytes) -> bytes:
        del payload
        return msgspec.msgpack.encode(self._own())

    async def _answer_find(self, payload: bytes) -> bytes | None:
        task = self._tasks.find(payload.decode())
        return None if task is None else msgspec.msgpack.encode((task_line(task),))

    async def _answer_cancel(self, payload: bytes) -> bytes | None:
        """Something, not None, if the task is here."""
        task_id = payload.decode()
        self._tasks.cancel(task_id)
        return None if self._tasks.find(task_id) is None else payload

    def __repr__(self) -> str:
        return f"<TasksView of {self._tasks!r}>"


def task_line(task: Task, *, results: bool = True) -> TaskLine:
    """A task as it is shown."""
    return TaskLine(
        id=task.id,
        kind=task.kind,
        state=task.state,
        done=task.done,
        total=task.total,
        started_by=task.started_by,
        started_at=known_moment(task.started_s),
        ended_at=past_moment(task.ended_s),
        message=task.message,
        results=tuple(task.results) if results else (),
    )


EXAMPLE_TASK = TaskLine(
    id="task_0123456789abcdef0123456789abcdef",
    kind="test keys",
    state=TaskState.RUNNING,
    done=3,
    total=12,
    started_by="user:alice",
    started_at="2026-11-21T12:00:00Z",
    ended_at=None,
    message="",
    results=(TaskResult(subject="groq/work", outcome="valid", message="Groq accepts it."),),
)
