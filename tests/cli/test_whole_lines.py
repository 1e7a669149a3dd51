import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter

import pytest

from keyrelay.cli import whole_lines
from keyrelay.cli.whole_lines import WholeLines

WRITER = """
import sys
from keyrelay.cli.whole_lines import WholeLines
stream = WholeLines(2, int(sys.argv[1]))
for number in range(40):
    page = "".join(f"{sys.argv[2]} {number} {line} {'x' * 900} end\\n" for line in range(30))
    stream.write(page)
"""


def test_pages_of_several_processes_are_not_torn_by_a_slow_reader() -> None:
    read, write = os.pipe()
    with tempfile.TemporaryFile() as lock:
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(lock.fileno()), name], stderr=write, pass_fds=(lock.fileno(),)
            )
            for name in ("one", "two", "three")
        ]
    os.close(write)
    text = ""
    with os.fdopen(read) as pipe:
        while piece := pipe.read(10_000):  # the pipe is full nearly always
            text += piece
            time.sleep(0.0005)
    assert [writer.wait(10) for writer in writers] == [0, 0, 0]
    words = [line.split(" ") for line in text.splitlines()]
    assert {(len(line), line[-1]) for line in words} == {(5, "end")}
    assert Counter(line[0] for line in words) == {"one": 1200, "two": 1200, "three": 1200}
    pages = [" ".join(line[:2]) for line in words]
    assert len(set(pages)) == sum(a != b for a, b in zip(pages, [*pages[1:], ""], strict=True))


def test_what_is_no_whole_line_waits() -> None:
    read, write = os.pipe()
    with tempfile.TemporaryFile() as lock, os.fdopen(read, "rb") as pipe:
        stream = WholeLines(write, lock.fileno())
        assert stream.write("one ") == 4
        stream.write("two\nthree")
        assert repr(stream) == f"<WholeLines to {write}, 5 characters waiting>"
        stream.write("\n\udcff\n")
        assert (stream.writable(), stream.isatty(), stream.fileno()) == (True, False, write)
        os.close(write)
        assert pipe.read() == b"one two\nthree\n\\udcff\n"


def test_a_lock_that_is_never_given_back_delays_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_lines, "LONGEST_WAIT_S", 0.2)
    read, write = os.pipe()
    with tempfile.NamedTemporaryFile() as lock, os.fdopen(read, "rb") as pipe:
        code = f"import fcntl, time; f = open({lock.name!r}, 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX)"
        code += "; print('held', flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            stream = WholeLines(write, lock.fileno())
            took = [timed(stream, text) for text in ("one\n", "two\n", "three\n")]
            holder.kill()
        fcntl.lockf(lock.fileno(), fcntl.LOCK_EX)
        stream.write("four\n")
        os.close(write)
        assert pipe.read() == b"one\ntwo\nthree\nfour\n"
    assert 0.1 < took[0] < 2
    assert max(took[1:]) < 0.1


def timed(stream: WholeLines, text: str) -> float:
    began_at = time.monotonic()
    stream.write(text)
    return time.monotonic() - began_at
