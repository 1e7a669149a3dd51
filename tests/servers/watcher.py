"""Ends a test's server when the test process is gone. See `guarded.py`; run with the directory as its argument."""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def descendants(pid: int) -> Iterator[int]:
    """The ids of the processes below one, as far as Linux tells."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in listed.read_text().split():
                yield int(child)
                yield from descendants(int(child))


def kill_all(pid: int) -> None:
    """Kill a process and everything below it."""
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def remove_shared_memory(directory: Path) -> None:
    """Remove the System V segment that a killed PostgreSQL leaves; its lock file names it."""
    lock = directory / "data" / "postmaster.pid"
    if lock.exists():
        for line in lock.read_text().splitlines()[6:7]:
            ctypes.CDLL(None).shmctl(int(line.split()[1]), 0, None)


def remove(directory: Path) -> None:
    """Remove the directory; processes that were just killed may still write a file for a moment."""
    for _ in range(100):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.02)


def main() -> None:
    """Read process ids until the pipe closes, then clean up after the last one."""
    directory = Path(sys.argv[1])
    pid = 0
    for line in sys.stdin:
        pid = int(line)
    if pid:
        kill_all(pid)
    remove_shared_memory(directory)
    remove(directory)


if __name__ == "__main__":
    main()
