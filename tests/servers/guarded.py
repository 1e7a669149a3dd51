"""A server's process for a test, which ends and leaves nothing behind however the test process ends.

Beside each server a watcher runs (`watcher.py`) whose standard input is a pipe from the test process. It is told the
server's process id, and when the pipe closes, because the server was stopped or because the test process is gone, even
killed, it kills the server with all its descendants and removes its directory.
"""

import contextlib
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.servers.watcher import descendants

SERVER_USER = "nobody"
"""Who runs servers that refuse to run as root."""

_PATIENCE_S = 20.0


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens.

    It is none that the kernel gives to outgoing connections, so that a server finds it free again after a restart, and
    the port 10,000 above it, which a Redis cluster's node needs, is free too.
    """
    while True:
        port = 12_000 + secrets.randbelow(10_000)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = _PATIENCE_S) -> None:
    """Look every 5 ms, blocking, until the condition holds; fail with `what` when it does not come to hold."""
    deadline_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_at:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.005)


class GuardedProcess:
    """One server's directory and its process, which may be started many times in it.

    `name` begins the directory's name. With `as_nobody` a process of root's runs as another user, who owns the
    directory.
    """

    def __init__(self, name: str, *, as_nobody: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"keyrelay-test-{name}-"))
        self._user = SERVER_USER if as_nobody and os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            found = pwd.getpwnam(self._user)
            os.chown(self.directory, found.pw_uid, found.pw_gid)
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("watcher.py")), str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __repr__(self) -> str:
        state = f"process {self.pid}" if self.is_running else "not running"
        return f"<GuardedProcess {self.directory}: {state}>"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, arguments: Sequence[str]) -> None:
        """Run a program in the directory to its end, as the server's user; fail with what it said."""
        done = subprocess.run(
            arguments, cwd=self.directory, user=self._user, capture_output=True, timeout=_PATIENCE_S, check=False
        )
        assert done.returncode == 0, f"{arguments[0]}: {done.stdout.decode()}{done.stderr.decode()}"

    def start(self, arguments: Sequence[str]) -> None:
        """Start the server; what it writes goes to `log` in its directory."""
        assert not self.is_running, self
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                cwd=self.directory,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(b"%d\n" % self._process.pid)
        self._watcher.stdin.flush()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its descendants; nothing when it is gone."""
        if self._process is not None and self.is_running:
            for pid in (self._process.pid, *descendants(self._process.pid)):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue

    def end(self, number: signal.Signals) -> None:
        """Send the server alone a signal, and wait until it is gone; after 20 s it and its descendants are killed."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """As the kernel would for want of memory: no warning, nothing flushed."""
        self.signal_all(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(_PATIENCE_S)

    def close(self) -> None:
        """Whatever still runs is killed, and the directory is gone. May be called again."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        if self._process is not None:
            self._process.wait(_PATIENCE_S)
        self._watcher.wait(_PATIENCE_S)


class Breakable:
    """A server in a guarded process that a test may break; `_guarded` is there while it has been started."""

    _guarded: GuardedProcess | None = None

    def kill(self) -> None:
        """End all its processes without warning; `start` brings it back on the same port."""
        self._running.kill()

    def freeze(self) -> None:
        """From now on it accepts connections, in the kernel, and answers nothing."""
        self._running.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after a freeze."""
        self._running.signal_all(signal.SIGCONT)

    @property
    def _running(self) -> GuardedProcess:
        assert self._guarded is not None, "not started"
        return self._guarded
