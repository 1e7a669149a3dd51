"""Writing many rows in a process of their own, so that they take neither time nor Python's lock from requests.

The process is there only while there is much to write. It never matters to the rows: a batch that it has not confirmed
fails, and the recorder brings it again, of which some may be there already. If it cannot be kept alive, rows are
written by the gateway's own process, as few of them are anyway.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.storage.batches import LineError
from keyrelay.storage.writer_channel import (
    BadLine,
    Batch,
    BrokenChannel,
    Done,
    Message,
    Opening,
    Refused,
    open_streams,
    receive,
    send,
)

MODULE = "keyrelay.storage.writer_process"

MAX_FAILURES = 3
"""So many processes in a row that give no answer, and no more are started."""

_END_TIMEOUT_S = 10.0
_KILLED_TIMEOUT_S = 5.0

_PASSED_ON = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ"})
_PASSED_ON_FAMILIES = ("LC_", "PYTHON")
"""What a process's environment shows to others of the same user: no keys of providers, and no password."""

_DRIVER_FAMILY = "PG"
"""What PostgreSQL's driver reads; a password may be among it, so it goes another way."""

_NO_ANSWER = (EOFError, OSError, BrokenChannel)


class ApartSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds: from `many_rows` on a batch is worth it; after `idle_s` without one the process is ended.

    The process has `start_timeout_s` to come up, and `answer_timeout_s` for a batch, which is less than the recorder's
    patience, so that it hears why.
    """

    many_rows: int = 200
    idle_s: float = 30.0
    start_timeout_s: float = 20.0
    answer_timeout_s: float = 55.0


_DEFAULTS = ApartSettings()


class _Child:
    """A process that has been started, and the streams to it."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> Self:
        """Start it; it has not said anything yet. Raise OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _spawn(theirs)
            except OSError:
                ours.close()
                raise
        try:
            child = cls(process, *await open_streams(ours))
        except BaseException:
            ours.close()
            process.kill()
            process.wait()
            raise
        return child

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, message: Message, timeout_s: float) -> Done | Refused | BadLine:
        """Its answer. Raise EOFError, OSError or BrokenChannel when there is none; then it is of no more use."""
        async with asyncio.timeout(timeout_s):
            await send(self._writer, message)
            return await receive(self._reader, Done, Refused, BadLine)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self.alive:
            self._process.kill()

    async def ended(self) -> None:
        """Close the channel, upon which it ends by itself, and wait for that."""
        self._writer.close()
        try:
            await asyncio.to_thread(self._process.wait, _END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the disk holds it: there is no more to do about it
                await asyncio.to_thread(self._process.wait, _KILLED_TIMEOUT_S)

    def __repr__(self) -> str:
        return f"<_Child process {self.pid} {'alive' if self.alive else 'ended'}>"


class WriterApart:
    """Writes rows into the database that `open_database` would open with the same arguments, one batch at a time.

    `report` gets a sentence for the log when it gives up. On one event loop.
    """

    def __init__(
        self,
        url: str,
        data_dir: Path,
        *,
        durable: bool,
        report: Callable[[str], None],
        settings: ApartSettings = _DEFAULTS,
    ) -> None:
        self._opening = Opening(url, str(data_dir), durable, _driver_environment(os.environ))
        self._report = report
        self._settings = settings
        self._lock = asyncio.Lock()
        self._child: _Child | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._failures = 0

    @property
    def running(self) -> bool:
        """Whether there is a process now."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return self._child.pid if self._child is not None and self._child.alive else None

    @property
    def given_up(self) -> bool:
        """Whether processes have failed so often that no more are started."""
        return self._failures >= MAX_FAILURES

    def takes(self, lines: Sequence[bytes]) -> bool:
        """Whether these rows should be written by `write` rather than by the gateway's own process."""
        return len(lines) >= self._settings.many_rows and not self.given_up

    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep rows of ended requests, all or none (`ports.UsageStore.write`). Raise StoreError, LineError.

        When this is cancelled the process is killed: whether the rows are there is not known then.
        """
        async with self._lock:
            self._stop_idling()
            try:
                answer = await self._answer_to(Batch(list(lines)))
            except _NO_ANSWER as error:
                raise self._failed(error) from error
            except BaseException:
                self._let_go(kill=True)
                raise
            self._failures = 0
            self._idle = asyncio.get_running_loop().call_later(self._settings.idle_s, self._let_go)
        if isinstance(answer, BadLine):
            raise LineError(answer.place, answer.problem)
        if isinstance(answer, Refused):
            raise StoreError(answer.problem, lasting=answer.lasting)

    async def aclose(self) -> None:
        """End the process, and wait until it is gone; a batch that is under way is written first."""
        async with self._lock:
            self._stop_idling()
            self._let_go()
        await asyncio.gather(*self._leaving)

    async def _answer_to(self, batch: Batch) -> Done | Refused | BadLine:
        if self._child is not None and not self._child.alive:
            self._let_go()
        if self._child is None:
            self._child = await _Child.start()
            await self._child.ask(self._opening, self._settings.start_timeout_s)
        return await self._child.ask(batch, self._settings.answer_timeout_s)

    def _failed(self, error: Exception) -> StoreError:
        self._let_go(kill=True)
        self._failures += 1
        words = "does not answer in time" if isinstance(error, TimeoutError) else "has ended or cannot be started"
        if self.given_up:
            self._report(
                f"the process that writes rows {words}, {MAX_FAILURES} times in a row:"
                " until the next start they are written by the gateway's own"
            )
        return StoreError(f"the process that writes rows {words}")

    def _let_go(self, *, kill: bool = False) -> None:
        """See the process off, if there is one."""
        child, self._child = self._child, None
        if child is None:
            return
        if kill:
            child.kill()
        task = asyncio.get_running_loop().create_task(child.ended(), name="end of a writer's process")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def __repr__(self) -> str:
        if self.given_up:
            return "<WriterApart given up>"
        return f"<WriterApart process {self.pid}>" if self.running else "<WriterApart idle>"


def _spawn(end: socket.socket) -> "subprocess.Popen[bytes]":
    """Start a process with this as its standard input, out of reach of a terminal's signals. About a millisecond."""
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-m", MODULE],
        stdin=end.fileno(),
        stdout=subprocess.DEVNULL,
        env=_plain_environment(os.environ),
        process_group=0,
    )


def _plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_FAMILIES)
    }


def _driver_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_DRIVER_FAMILY)}
