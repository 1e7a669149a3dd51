"""Run `keyrelay …` with its steps counted, and kill it with SIGKILL at one of them.

A step is what a kill may come before or behind while something is changed: a statement, a commit, a rollback; a file
that is opened to be written, written, synced, linked, renamed, removed; a value that is sealed; a place in
`administration/` or `bootstrap/` where a coroutine waits. The product has no part in it: the commands are run by their
own `main` in a process whose libraries and whose interpreter (`sys.setprofile`) are listened to.

Each run is a fork of one process that has loaded everything, so that a gateway starts in a tenth of a second. That
process reads orders from standard input, a line of JSON each, and answers likewise.
"""

import asyncio
import contextlib
import contextvars
import importlib
import inspect
import io
import os
import random
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dis import opmap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from keyrelay.cli.main import main as keyrelay

LOADED = (
    "alembic",
    "keyrelay.administration.importing.reading",
    "keyrelay.api.app",
    "keyrelay.bootstrap.offline",
    "keyrelay.bootstrap.secret_keeping",
    "keyrelay.cli.serving",
    "keyrelay.storage.postgres_database",
    "keyrelay.storage.sqlite_database",
    "keyrelay.vault.keeper",
    "rich.progress",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite",
    "uvicorn",
    "uvloop",
)
"""What is loaded before the first fork, since every run needs it."""

ARMED = "armed"
"""The first line of a trace: from now on steps count."""

_FILE_CALLS = ("fsync", "ftruncate", "link", "mkdir", "rename", "replace", "unlink", "write")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SUBJECTS = ("/keyrelay/administration/", "/keyrelay/bootstrap/")
_SEALING = {("sealing.py", "seal"), ("master_key.py", "wrap")}
_BEGINNINGS = ("/keyrelay/api/administration/", "/keyrelay/administration/service.py")
_CHANGE = "Administration.change"
_OF_PYTHON = frozenset({"call", "return"})
_YIELD = opmap["YIELD_VALUE"]
_NUMBERS = re.compile(r"[0-9a-f]{16,}")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: `keyrelay` with these arguments, or nothing but to say how the process `wait` has ended.

    With a `trace`, the steps go there, and the process dies at the one named `die_at`. They count `at_once`, or from
    SIGUSR1 on; the change is the `whole` of what it does, or what `Administration.change` or a handler of the API does.
    """

    arguments: tuple[str, ...] = ()
    environ: dict[str, str] = {}
    directory: str = ""
    output: str = ""
    trace: str = ""
    die_at: str = ""
    at_once: bool = False
    whole: bool = False
    wait: int = 0


class Answer(msgspec.Struct, frozen=True):
    """The process that was started, or how one has ended: its exit code, or the signal that killed it, negative."""

    process: int
    code: int = 0


# In the process that is killed


class Steps:
    """Writes down each step by a name, and dies at one of them. Names are the same in every run of the same change."""

    def __init__(self, trace: Path, die_at: str) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._die_at = die_at
        self._counts = Counter[str]()
        self._write = os.write
        self._lock = threading.RLock()
        self.changing = contextvars.ContextVar("changing", default=False)

    def __call__(self, kind: str, what: str, moment: str) -> None:
        """A step of this kind: `moment` is `before` or `after`."""
        if not self.changing.get():
            return
        with self._lock:
            name = f"{kind}: {_NUMBERS.sub('*', what)}"
            self._counts[name + moment] += 1
            name = f"{name} #{self._counts[name + moment]}, {moment}"
            self.say(name)
            if name == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def say(self, line: str) -> None:
        """Write a line into the trace."""
        self._write(self._trace, f"{line}\n".encode())

    def around(self, owner: Any, name: str, kind: str, say: Callable[..., str]) -> None:
        """Have each call of a function be a step."""
        real = getattr(owner, name)

        def stepped(*given: Any, **named: Any) -> Any:
            what = say(*given)
            if not what:
                return real(*given, **named)
            self(kind, what, "before")
            result = real(*given, **named)
            self(kind, what, "after")
            return result

        setattr(owner, name, stepped)


def count_statements(steps: Steps) -> None:
    """SQLAlchemy says which statements it executes; what ends a transaction is not among its events."""

    def words(statement: str) -> str:
        return " ".join(statement.split()[:3])

    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *given: steps("sql", words(given[2]), "before"))
    sa.event.listen(sa.Engine, "after_cursor_execute", lambda *given: steps("sql", words(given[2]), "after"))
    for name in ("commit", "rollback"):
        steps.around(DefaultDialect, f"do_{name}", "sql", lambda *_, name=name: name.upper())


def count_files(steps: Steps) -> None:
    """Calls of the system by `os`, which `pathlib` uses too; `open` has a hook of its own."""

    def opened(path: Any, flags: int, *_: Any) -> str:
        return f"open {Path(os.fsdecode(path)).name}" if flags & _WRITES else ""

    def named(call: str) -> Callable[..., str]:
        def say(*given: Any) -> str:
            ends = [each for each in given if isinstance(each, str | os.PathLike)]
            if given and isinstance(given[0], int) and given[0] <= sys.__stderr__.fileno():  # type: ignore[union-attr]
                return ""
            return " ".join((call, *(Path(os.fsdecode(each)).name for each in ends)))

        return say

    steps.around(os, "open", "file", opened)
    for name in _FILE_CALLS:
        steps.around(os, name, "file", named(name))

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and given[1] is not None and set(given[1]) & set("wax+"):
            name = Path(os.fsdecode(given[0])).name if isinstance(given[0], str | bytes | os.PathLike) else "descriptor"
            steps("file", f"open {name}", "before")

    sys.addaudithook(hook)


class Profile:
    """What the interpreter calls at each call and each return: sees what is sealed, and where a change waits."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._kinds = dict[CodeType, str]()
        self._waits_in = ""

    def __call__(self, frame: FrameType, event: str, given: object) -> None:
        if event not in _OF_PYTHON:  # most are calls of what is written in C
            return
        code = frame.f_code
        kind = self._kinds.get(code)
        if kind is None:
            kind = self._kinds[code] = _kind_of(code)
        if not kind:
            return
        if kind == "seal":
            self._steps("vault", code.co_name, "before" if event == "call" else "after")
            return
        if event == "call" and kind == "begins":
            self._steps.changing.set(True)
        if not self._steps.changing.get():
            return
        if event == "call" and self._waits_in:
            waited_in, self._waits_in = self._waits_in, ""
            self._steps("await", waited_in, "after")
        elif event == "return" and not self._waits_in and code.co_code[frame.f_lasti] == _YIELD:
            self._waits_in = f"{Path(code.co_filename).name} {code.co_qualname}:{frame.f_lineno}"
            self._steps("await", self._waits_in, "before")


def _kind_of(code: CodeType) -> str:
    """What a function is to the profile: `seal`, `waits`, `begins` (it waits as well), or nothing."""
    file = code.co_filename
    if (Path(file).name, code.co_name) in _SEALING:
        return "seal"
    if not code.co_flags & inspect.CO_COROUTINE:
        return ""
    if file.endswith(_BEGINNINGS[1]):
        return "begins" if code.co_qualname == _CHANGE else "waits"
    if _BEGINNINGS[0] in file:
        return "begins"
    return "waits" if any(each in file for each in _SUBJECTS) else ""


def hand_context_on() -> None:
    """Have what is done in a thread belong to who asked for it, as `asyncio.to_thread` does already."""
    real = ThreadPoolExecutor.submit

    def submit(self: ThreadPoolExecutor, work: Callable[..., Any], /, *given: Any, **named: Any) -> "Future[Any]":
        return real(self, contextvars.copy_context().run, work, *given, **named)

    ThreadPoolExecutor.submit = submit  # type: ignore[assignment,method-assign]


def listen(order: Order) -> None:
    """Count the steps of this process, from now on or from the signal SIGUSR1 on."""
    steps = Steps(Path(order.trace), order.die_at)
    hand_context_on()
    count_statements(steps)
    count_files(steps)

    def arm(*_: object) -> None:
        sys.setprofile(Profile(steps))
        steps.say(ARMED)

    steps.changing.set(order.whole)
    if order.at_once:
        arm()
    else:
        signal.signal(signal.SIGUSR1, arm)


def run(order: Order) -> int:
    """Be `keyrelay` with these arguments; the exit code."""
    os.chdir(order.directory)
    os.environ.clear()
    os.environ.update(order.environ)
    null, output = os.open(os.devnull, os.O_RDONLY), os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, place in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, place)
    sys.argv = ["keyrelay", *order.arguments]
    random.seed()
    if order.trace:
        listen(order)
    try:
        keyrelay()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


# In the process that forks


def obey() -> None:
    """Fork for each order until there are no more."""
    for name in LOADED:
        importlib.import_module(name)
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    for line in orders:
        order = msgspec.json.decode(line, type=Order)
        if order.wait:
            _, status = os.waitpid(order.wait, 0)
            answer = Answer(order.wait, os.waitstatus_to_exitcode(status))
        else:
            answer = Answer(_forked(order))
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


def _forked(order: Order) -> int:
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        code = run(order)
        with contextlib.suppress(OSError, io.UnsupportedOperation):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


# In the process that gives orders


class Forks:
    """The process that forks, as others see it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lock = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def up(cls) -> AsyncIterator[Self]:
        """With one; what it has forked is to be ended before."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.stepwise", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            yield cls(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 10.0)

    async def start(self, order: Order) -> int:
        """Start a process; its id."""
        return (await self._ask(order)).process

    async def ended(self, process: int) -> int:
        """Wait until it has ended; its exit code, or the signal that killed it, negative."""
        return (await self._ask(Order(wait=process))).code

    async def _ask(self, order: Order) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._lock:
            stdin.write(msgspec.json.encode(order) + b"\n")
            return msgspec.json.decode(await asyncio.wait_for(stdout.readline(), 60.0), type=Answer)


def order_of(
    arguments: tuple[str, ...], environ: Mapping[str, str], directory: Path, output: Path, **more: Any
) -> Order:
    """An order to run `keyrelay` with these arguments there, as a user whose home that directory is."""
    surroundings = {"HOME": str(directory), "PATH": "/usr/bin:/bin", **environ}
    return Order(arguments=arguments, environ=surroundings, directory=str(directory), output=str(output), **more)


if __name__ == "__main__":
    obey()
