"""Server processes: started, measured through /proc, and ended by the one who started them."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.003
_OK = 200


class BenchError(Exception):
    """The run proves nothing; the message says why."""


class Stat(msgspec.Struct, frozen=True):
    """What `/proc/PID/stat` says of one process: its parent, and the CPU time of its children that ended."""

    parent: int
    ended_children_s: float


def _read_stat(pid: str) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, so the fields are counted from its end.
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[1]), sum(map(int, fields[13:15])) / _TICKS_PER_S)


def _process_cpu_s(pid: int) -> float:
    """CPU time of one process, user and system, all threads.

    That is `utime + stime` of /proc, to the nanosecond instead of the clock tick: 1 % of a short run is less than a
    tick. The clock's number is what clock_getcpuclockid(3) returns on Linux.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0  # it has ended by now, and its parent has its time


class Server:
    """A process with its descendants, listening on one port of 127.0.0.1."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def _stats(self) -> dict[int, Stat]:
        """The process and all its descendants."""
        names = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
        every = {int(name): stat for name in names if (stat := _read_stat(name))}
        tree = {self._process.pid}
        while grown := {pid for pid, stat in every.items() if stat.parent in tree} - tree:
            tree |= grown
        return {pid: stat for pid, stat in every.items() if pid in tree}

    def cpu_s(self) -> float:
        """CPU time, user and system, that all its processes have used so far."""
        self.check_alive()
        return sum(_process_cpu_s(pid) + stat.ended_children_s for pid, stat in self._stats().items())

    def own_cpu_s(self) -> float:
        """The same of its first process alone."""
        self.check_alive()
        return _process_cpu_s(self.pid)

    def memory_mb(self) -> float:
        """Resident memory of all its processes, in megabytes (10^6 bytes)."""
        total_kib = 0
        for pid in self._stats():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
                total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        return total_kib * 1024 / 1e6

    def check_alive(self) -> None:
        """Raise BenchError with the end of its log when the process has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self._process.returncode}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def wait_ready(self, path: str, *, timeout_s: float) -> None:
        """Return as soon as GET `path` answers 200."""
        give_up_at = time.monotonic() + timeout_s
        while not self._answers(path):
            self.check_alive()
            if time.monotonic() > give_up_at:
                raise BenchError(f"{self.name} did not answer {path} within {timeout_s:g} s:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def _answers(self, path: str) -> bool:
        try:
            return self.get(path)[0] == _OK
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of a GET on a connection of its own."""
        return self.request("GET", path, b"", headers or {})

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body=body or None, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def stop(self) -> None:
        """End the process, gently first."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __repr__(self) -> str:
        return f"Server({self.name}, port {self.port}, pid {self._process.pid})"


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], *, port: int, directory: Path, environ: Mapping[str, str], cpu: int | None
) -> Iterator[Server]:
    """Run a server in a session of its own, on one CPU if given, its output in `directory`; end it afterwards."""
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env=dict(environ),
                start_new_session=True,
            )
        except OSError as error:
            raise BenchError(f"cannot start {name}: {error}") from error
    server = Server(name, process, port, log)
    try:
        if cpu is not None:
            with contextlib.suppress(OSError):  # ended already; whoever waits for it will say so
                os.sched_setaffinity(process.pid, {cpu})
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
