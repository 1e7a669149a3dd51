"""A real process, killed while it writes as fast as it can: what it has said is written is there."""

import os
import random
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keyrelay.storage.journal.recovery import recover
from tests.house.sources import ROOT

KILLS = 20

WRITING = """
import asyncio, os, sys
from pathlib import Path
from tests.storage.journal.entries import line, opened, reserved

async def main():
    journal = opened(Path(sys.argv[1]), fsync=sys.argv[2] == "fsync")
    number = 0
    while True:
        for number in range(number, number + 50):
            journal.reserved(reserved(number))
            os.write(1, b"r%d\\n" % number)
            if number % 10:
                journal.ended(line(number, words="x" * (number % 700)))
                await journal.synced()
                os.write(1, b"e%d\\n" % number)
        number += 1
        await journal.tend()
        if number % 1000 == 0:  # what the recorder does, and says
            rows = await journal.read(300, 100_000)
            os.write(1, b"".join(b"k%d\\n" % int(row[37:69], 16) for row in rows))
            await journal.kept()

asyncio.run(main())
"""


def said_until_killed(directory: Path, option: str, after_s: float) -> list[bytes]:
    """What the process has said when it is killed so long after it first said that a request has ended."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(directory), option], cwd=ROOT, stdout=subprocess.PIPE, bufsize=0
    )
    assert child.stdout is not None
    said = bytearray()
    kill_at = None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while kill_at is None or time.monotonic() < kill_at:
            if selector.select(0.001):
                said += os.read(child.stdout.fileno(), 1 << 16)
                if kill_at is None and b"\ne" in said:
                    kill_at = time.monotonic() + after_s
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read()
    child.stdout.close()
    assert child.wait(10) == -signal.SIGKILL
    return bytes(said).split(b"\n")[:-1]  # the last word may be cut short


@pytest.mark.parametrize("kill", range(KILLS))
def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path, kill: int) -> None:
    said = said_until_killed(tmp_path, "fsync" if kill % 5 == 4 else "", random.Random(kill).uniform(0.001, 0.15))
    (leftover,) = recover(tmp_path)
    found = {int(record.id[4:], 16): record.category for record in leftover.records()}
    damaged = leftover.damaged_bytes
    leftover.close()
    kept = {int(word[1:]) for word in said if word[:1] == b"k"}
    ended = {int(word[1:]) for word in said if word[:1] == b"e"}
    under_way = {int(word[1:]) for word in said if word[:1] == b"r"} - ended
    assert ended
    assert ended <= found.keys() | kept
    assert all(found[number] == "" for number in ended - kept)
    assert under_way <= found.keys() | kept
    assert all(found[number] == "unknown" for number in under_way if not number % 10)
    assert damaged == 0
