"""The long form of the fault matrix: thousands of requests for each row, and a table. `scripts/soak` runs it."""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from keyrelay.simulator import FAULTS
from tests.faults.matrix import BEFORE, HARMLESS, HEADING, NOTHING_LEARNED, Row, Where, run_row

_SLOW_BY_NATURE = frozenset({"tiny_events", "split_everywhere"})
_LEAST_GOOD = 0.999
_RSS_FIELD = 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="requests for each row (default 10000)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at a time (default 32)")
    parser.add_argument("--time-limit-s", type=float, default=1800.0, help="begin no row after so long (default 1800)")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="faults to run (default: all before the first byte)")
    return parser.parse_args()


def resident_mb() -> float:
    """What this process holds in memory: gateway, simulator and callers together."""
    pages = int(Path("/proc/self/statm").read_text().split()[_RSS_FIELD])
    return pages * 4096 / 1024**2


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def passes(row: Row) -> bool:
    """99.9 % good, a tenth more calls at most."""
    calls_fit = row.fault in NOTHING_LEARNED or row.calls <= row.allowed_calls
    return row.good >= _LEAST_GOOD * row.requests and calls_fit


async def run(given: argparse.Namespace) -> int:
    """Run row after row; 1 when one did not pass."""
    began_at = time.monotonic()
    failed: list[Row] = []
    say(f"{HEADING} {'requests/s':>10} {'RSS':>8}")
    for fault in given.faults or [*BEFORE, *(name for name in HARMLESS if name not in _SLOW_BY_NATURE)]:
        places: tuple[Where, ...] = ("key", "provider")
        for where in places:
            if time.monotonic() - began_at > given.time_limit_s:
                say(f"the time is up before {fault} ({where})")
                return 1 if failed else 0
            row_began_at = time.monotonic()
            with tempfile.TemporaryDirectory() as directory:
                row = await run_row(
                    fault, where, Path(directory), requests=given.requests, concurrency=given.concurrency
                )
            gc.collect()  # what the row has left behind is no growth
            rate = row.requests / (time.monotonic() - row_began_at)
            verdict = "" if passes(row) else "  FAILED"
            say(f"{row} {rate:10.0f} {resident_mb():5.0f} MB{verdict}")
            if verdict:
                failed.append(row)
                for reply in row.bad[:2]:
                    say(f"    {reply.status} {reply.body[:300]!r}")
    return 1 if failed else 0


def main() -> None:
    """Entry point."""
    given = read_arguments()
    unknown = set(given.faults) - set(FAULTS)
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(run(given)))


if __name__ == "__main__":
    main()
