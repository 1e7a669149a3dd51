"""`/api/v1/tasks`: work that goes on in the background, as all workers of this instance know it."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Response

from keyrelay.administration.tasks import Task, TaskResult, Tasks, TaskState
from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.siblings import Siblings
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError
from keyrelay.core.moments import known_moment

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
    """The routes of tasks. They are in the memory of one process each: the others are asked."""

    __slots__ = ("_access", "_siblings", "_tasks")

    def __init__(self, access: Access, tasks: Tasks, siblings: Siblings) -> None:
        self._access = access
        self._tasks = tasks
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
            description="Tasks are kept in memory and end with the process that runs them.",
            response_class=Response,
            responses=described(TaskList, TaskList((EXAMPLE_TASK,)), 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.VIEWER))],
        )
        async def tasks() -> Response:
            others = [line for packed in await self._siblings.ask(_LIST) for line in _lines.decode(packed)]
            lines = sorted((*self._own(), *others), key=lambda line: line.started_at or "", reverse=True)
            return answer(TaskList(tuple(lines)))

        @app.get(
            "/api/v1/tasks/{task_id}",
            tags=["tasks"],
            summary="How far a task is.",
            response_class=Response,
            responses=described(TaskLine, EXAMPLE_TASK, 400, 403, 404),
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
            responses=described(TaskLine, EXAMPLE_TASK, 400, 403, 404),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.OPERATOR))],
        )
        async def cancel(task_id: TaskId) -> Response:
            if self._tasks.find(task_id) is None:
                await self._siblings.ask(_CANCEL, task_id.encode())
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
        message = "There is no such task: it has ended long ago, or with the process that ran it."
        raise CallerError(404, message, param="task_id", code="task_not_found")

    def _own(self) -> tuple[TaskLine, ...]:
        return tuple(task_line(task, results=False) for task in self._tasks.all())

    async def _answer_list(self, payload: bytes) -> bytes:
        del payload
        return msgspec.msgpack.encode(self._own())

    async def _answer_find(self, payload: bytes) -> bytes | None:
        task = self._tasks.find(payload.decode())
        return None if task is None else msgspec.msgpack.encode((task_line(task),))

    async def _answer_cancel(self, payload: bytes) -> bytes | None:
        self._tasks.cancel(payload.decode())
        return None

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
        ended_at=known_moment(task.ended_s) if task.ended_s else None,
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
