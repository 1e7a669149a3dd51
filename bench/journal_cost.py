"""What the journal and the recorder cost per request, in microseconds of CPU time of the whole process.

Run: `python bench/journal_cost.py [directory]`; the directory (by default the system's temporary one) decides the disk.
A request is one attempt written before it is sent, and one end of about 450 bytes. Each figure is the best of some
runs. "Together" writes at a given rate, as a gateway does, while a recorder takes the rows to a store that does
nothing, and counts every thread, less what the same loop costs without a journal. Fails when written and read back
cost more than the goal.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from keyrelay.bootstrap import SystemClock
from keyrelay.core.records import Attempt, RequestRecord, Reserved
from keyrelay.core.usage import Usage
from keyrelay.engine.recorder import Recorder
from keyrelay.ports import Journal
from keyrelay.storage.journal.rejects import RejectedRows
from keyrelay.storage.journal.writer import FileJournal

REQUESTS = 20_000
RUNS = 5
RATES = (1_000, 4_000)
"""Requests per second."""
SECONDS = 2.0
RATE_RUNS = 3
TICK_S = 0.005
GOAL_US = 6.0
MAX_BYTES = 1 << 30
ID = "req_01948f3a5b6c7d8e9fa0b1c2d3e4f5a6"
RESERVED = Reserved(ID, 0, "team", "chat", "gemini", "main", "flash-2.5", 1_790_000_000.25, 1, 420, 256)
RECORD = RequestRecord(
    id=ID,
    time="2027-01-15T08:00:00.123Z",
    level="info",
    client="team",
    operation="chat",
    model_asked="auto",
    provider="gemini",
    key="main",
    model="flash-2.5",
    status=200,
    ms=812.34,
    upstream_ms=811.96,
    usage=Usage(420, 180),
    attempts=[
        Attempt("gemini", "main", "flash-2.5", 811.96, None, 1_790_000_000.25, 1, 420, 180),
    ],
)


class NoStore:
    """Takes rows and forgets them."""

    def __init__(self) -> None:
        self.rows = 0

    async def write(self, lines: Sequence[bytes]) -> None:
        """Count the rows."""
        self.rows += len(lines)


class NoJournal:
    """What the loop costs without a journal."""

    full = False
    syncs = False

    def reserved(self, entry: Reserved) -> None:
        """Nothing."""

    def ended(self, line: bytes, request_id: str | None = None) -> None:
        """Nothing."""

    async def synced(self) -> None:
        """Nothing."""


def best_us(work: Callable[[], None]) -> float:
    """CPU microseconds per request of the best run."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best / REQUESTS * 1e6


def write(journal: Journal, line: bytes, requests: int = REQUESTS) -> None:
    """Requests that are sent and end, one after the other."""
    for _ in range(requests):
        journal.reserved(RESERVED)
        journal.ended(line)


async def read_back(directory: Path) -> float:
    """CPU microseconds per request of a recorder that takes all rows to a store that does nothing."""
    journal = FileJournal.open(directory, max_bytes=MAX_BYTES)
    write(journal, msgspec.json.encode(RECORD))
    recorder = open_recorder(NoStore(), journal, directory)
    start = time.process_time()
    recorder.start()
    if not await recorder.drain(60):
        raise RuntimeError("the recorder has not come to its end")
    cost_s = time.process_time() - start
    journal.close()
    return cost_s / REQUESTS * 1e6


def open_recorder(store: NoStore, journal: FileJournal, directory: Path) -> Recorder:
    """A recorder as the gateway has it."""
    return Recorder(store, (journal,), RejectedRows(directory), clock=SystemClock(), random=random.random, report=print)


async def at_rate(journal: Journal, rate: int, line: bytes) -> float:
    """CPU microseconds per request, so many per second for a while, a few at a time as they come off sockets."""
    loop = asyncio.get_running_loop()
    start = time.process_time()
    began_at, done = loop.time(), 0
    while (elapsed_s := loop.time() - began_at) < SECONDS:
        due = int(elapsed_s * rate)
        write(journal, line, due - done)
        done = due
        await asyncio.sleep(TICK_S)
    return (time.process_time() - start) / done * 1e6


async def together(directory: Path, rate: int) -> float:
    """CPU microseconds per request of journal and recorder at a rate."""
    line = msgspec.json.encode(RECORD)
    journal = FileJournal.open(directory, max_bytes=MAX_BYTES)
    recorder = open_recorder(NoStore(), journal, directory)
    recorder.start()
    with_journal_us = await at_rate(journal, rate, line)
    await recorder.drain(10)
    journal.close()
    return with_journal_us - await at_rate(NoJournal(), rate, line)


def encode_all() -> None:
    """The line of each request, which the log needs too."""
    encode = msgspec.json.Encoder().encode
    for _ in range(REQUESTS):
        encode(RECORD)


async def measure(directory: Path) -> bool:
    """Print the table; whether the goal is met."""
    line = msgspec.json.encode(RECORD)
    print(f"a record of {len(line)} bytes encoded: {best_us(encode_all):.2f} us")
    journal = FileJournal.open(directory, max_bytes=MAX_BYTES)
    written_us = best_us(lambda: write(journal, line))
    journal.close()
    print(f"written: {written_us:.2f} us")
    read_us = min([await read_back(directory) for _ in range(RUNS)])
    print(f"read back by the recorder: {read_us:.2f} us")
    print(f"both: {written_us + read_us:.2f} us (goal {GOAL_US:g})")
    for rate in RATES:
        cost_us = min([await together(directory, rate) for _ in range(RATE_RUNS)])
        print(f"together at {rate} requests per second: {cost_us:.2f} us")
    return written_us + read_us <= GOAL_US


def main() -> int:
    """Measure in a directory of its own; 1 when the goal is missed."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        return 0 if asyncio.run(measure(Path(directory))) else 1


if __name__ == "__main__":
    sys.exit(main())
