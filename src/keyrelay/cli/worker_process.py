"""One worker as its supervisor sees it: a process, and the channel to it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Self

from keyrelay.api.worker_channel import AnyMessage, Channel, Drain, Orders, Ready, Reload, Stop

MODULE = "keyrelay.cli.worker"
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""A worker that takes nothing is not sent more than this."""

_YOUNG_S = 1.0
_LAST_WORDS_S = 1.0
"""What it said last may be read a little after its end."""


def worker_command() -> list[str]:
    """The command that starts a worker; the descriptor of its channel comes behind it. It holds no secret."""
    # `-m` looks for modules in the working directory first: only where `keyrelay` itself has been found that way.
    safe = [] if sys.path[0] in {"", os.getcwd()} else ["-P"]  # noqa: PTH109 - as the interpreter writes it
    return [sys.executable, *safe, "-m", MODULE]


class WorkerProcess:
    """A process that has been started, and what became of it. `number` is never used again, `slot` is.

    `serves_with` is what it has said last that it has: when it was ready, and whenever it was told to look again.
    """

    def __init__(self, number: int, slot: int, process: "subprocess.Popen[bytes]") -> None:
        self.number = number
        self.slot = slot
        self.leaving = False
        self._process = process
        self._channel: Channel | None = None
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[bool] = loop.create_future()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._gone = asyncio.Event()
        self._ready_at = 0.0
        self.serves_with = Ready()

    @classmethod
    async def start(
        cls,
        number: int,
        orders: Orders,
        command: Sequence[str],
        on_message: Callable[[Self, AnyMessage], None],
    ) -> Self:
        """Start a process and send it its orders; `on_message` gets what it says from then on. Raise OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _spawn([*command, str(theirs.fileno())], theirs.fileno(), orders.listener, orders.shared)
            except OSError:
                ours.close()
                raise
        worker = cls(number, orders.slot, process)

        worker._channel = await Channel.over(ours, lambda message: worker._take(message, on_message), worker._gone.set)
        worker.send(orders)
        return worker

    def _take(self, message: AnyMessage, on_message: Callable[[Self, AnyMessage], None]) -> None:
        if isinstance(message, Ready):
            self.serves_with = message
            if not self._ready.done():
                self._ready_at = asyncio.get_running_loop().time()
                self._ready.set_result(True)
        on_message(self, message)

    @property
    def name(self) -> str:
        """How a person is told of it."""
        return f"worker {self.slot} (process {self._process.pid})"

    @property
    def code(self) -> int | None:
        """The exit code, or the number of the signal, negative; None before the end."""
        return self._ended.result() if self._ended.done() else None

    @property
    def died_young(self) -> bool:
        """Whether it ends now, hardly after it was ready."""
        return asyncio.get_running_loop().time() - self._ready_at < _YOUNG_S

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests, or has taken them."""
        return self._ready.done() and self._ready.result()

    @property
    def has_ended(self) -> bool:
        """Whether the process is over and everything that it said has been heard."""
        return self._ended.done()

    def reap(self) -> None:
        """Find out whether the process is over."""
        code = self._process.poll()
        if code is not None and not self._ended.done():
            if not self._ready.done():
                self._ready.set_result(False)
            self._ended.set_result(code)

    async def ready(self, timeout_s: float) -> bool:
        """Wait until it takes requests; False when it has ended before, or needs too long."""
        await asyncio.wait([self._ready], timeout=timeout_s)
        return self.is_ready

    async def ended(self) -> int:
        """Wait for the end; the exit code, or the number of the signal, negative."""
        code = await asyncio.shield(self._ended)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), _LAST_WORDS_S)
        return code

    def send(self, message: AnyMessage) -> bool:
        """Send a message, unless it has stopped taking any."""
        if self._channel is None or self._channel.waiting_bytes > MAX_WAITING_BYTES:
            return False
        self._channel.send(message)
        return True

    def drain(self, *, handing_over: bool) -> None:
        """Let it end what it has begun."""
        self.leaving = True
        self.send(Drain(handing_over))

    def reload(self) -> None:
        """Let it take the configuration anew."""
        self.send(Reload())

    def stop(self) -> None:
        """Let it end now."""
        self.leaving = True
        self.send(Stop())

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of the channel."""
        if self._channel is not None:
            self._channel.close()

    def __repr__(self) -> str:
        state = "ended" if self.has_ended else "leaving" if self.leaving else "ready" if self.is_ready else "starting"
        return f"<WorkerProcess {self.number} slot {self.slot} {state}>"


def _spawn(command: Sequence[str], *descriptors: int) -> "subprocess.Popen[bytes]":
    """Start a process with these descriptors; some milliseconds in which a supervisor has nothing else to do."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors)  # noqa: S603 - our own command
