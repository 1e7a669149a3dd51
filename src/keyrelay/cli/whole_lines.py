"""Standard error of several processes, without torn lines.

A write to a pipe is atomic up to PIPE_BUF bytes (4,096) only: what is longer, another process may write into when the
reader is slow. So every page of whole lines is written under a lock that all of them share: a record lock on a file
without a name that they have inherited, which the system lets go of when its holder dies. A holder that is frozen
delays one page for LONGEST_WAIT_S; after that, and until it is back, a torn line is the lesser evil.
"""

import fcntl
import io
import os
import time

LONGEST_WAIT_S = 1.0
_FIRST_PAUSE_S = 0.000_05
_LONGEST_PAUSE_S = 0.01


class WholeLines(io.TextIOBase):
    """A text stream into a descriptor that others write to as well; what is not a whole line yet waits."""

    def __init__(self, descriptor: int, lock: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lock = lock
        self._rest = ""
        self._patient = True

    def write(self, text: str) -> int:
        """Write the whole lines that there are now."""
        lines, end, rest = (self._rest + text).rpartition("\n")
        self._rest = rest
        if end:
            self._put(f"{lines}\n".encode(errors="backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        """Whether it can be written to: it can."""
        return True

    def isatty(self) -> bool:
        """Whether a person is looking."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def _put(self, data: bytes) -> None:
        locked = self._acquire()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        finally:
            if locked:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _acquire(self) -> bool:
        """Take the lock; False when its holder does not give it back."""
        pause_s, waited_s = _FIRST_PAUSE_S, 0.0
        while True:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._patient = self._patient and waited_s < LONGEST_WAIT_S
                if not self._patient:
                    return False
                time.sleep(pause_s)
                waited_s += pause_s
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._patient = True
                return True

    def __repr__(self) -> str:
        return f"<WholeLines to {self._descriptor}, {len(self._rest)} characters waiting>"
