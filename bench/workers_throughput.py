"""Whether two workers do the work of two: `python bench/workers_throughput.py`, as root on Linux with cgroups v1.

On a machine of two cores nothing is left for the load, the upstream and Redis once two workers run flat out. So every
worker gets a share of one core alone, by a cgroup with a quota, and the rest is free: then the figures say what a
second worker adds, not what a second core would. One worker runs in Redis mode too, so that only their number differs.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rig.payloads import SMALL
from rig.processes import BenchError, Server
from rig.servers import Amount, Rig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers.redis_server import RedisServer

_CGROUPS = Path("/sys/fs/cgroup/cpu")
_PERIOD_US = 20_000
_WORKERS_READY_S = 3.0


@contextlib.contextmanager
def quotas(pids: list[int], share: float) -> Iterator[None]:
    """Let each of these processes, and what it starts from now on, have this share of one core."""
    groups = [_CGROUPS / f"keyrelay-bench-{pid}" for pid in pids]
    try:
        for group, pid in zip(groups, pids, strict=True):
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(int(_PERIOD_US * share)))
            for path in (pid, *_descendants(pid)):
                (group / "cgroup.procs").write_text(str(path))
        yield
    finally:
        for group in groups:
            with contextlib.suppress(OSError):
                for line in (group / "cgroup.procs").read_text().split():
                    (_CGROUPS / "cgroup.procs").write_text(line)
                group.rmdir()


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [below for child in children for below in (int(child), *_descendants(int(child)))]


def per_s(rig: Rig, workers: int, redis_url: str, *, share: float, seconds: int) -> float:
    """Answers per second of this many workers with a share of a core each."""
    rig.gateway_settings = {"REDIS_URL": redis_url, "KEYRELAY_WORKERS": str(workers)}
    with rig.gateway() as (gateway, _):
        gateway.wait_ready("/readyz", timeout_s=_WORKERS_READY_S * 5)
        time.sleep(_WORKERS_READY_S)
        with quotas(_workers(gateway, workers), share):
            rig.load(gateway, SMALL, Amount(duration_s=2, streams=0))
            load = rig.load(gateway, SMALL, Amount(duration_s=seconds, streams=0))
    return load.per_s


def _workers(gateway: Server, workers: int) -> list[int]:
    """The processes that serve: a gateway of one worker does itself, others are children of their supervisor."""
    if workers == 1:
        return [gateway.pid]
    children = [int(pid) for pid in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()]
    if len(children) != workers:
        raise BenchError(f"{workers} workers were asked for and {len(children)} processes run")
    return children


def main() -> None:
    """Measure one worker and two, several times in turn, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.3, help="share of a core that each worker gets (default 0.3)")
    parser.add_argument("--seconds", type=int, default=6, help="how long each load lasts (default 6)")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if not os.access(_CGROUPS, os.W_OK):
        sys.exit(f"{_CGROUPS} cannot be written: this takes root and cgroups v1")
    ratios = []
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        redis = stack.enter_context(RedisServer())
        rig = Rig(directory, pin=False)
        stack.enter_context(rig.surroundings())
        for number in range(1, asked.rounds + 1):
            one, two = (per_s(rig, n, redis.url, share=asked.share, seconds=asked.seconds) for n in (1, 2))
            ratios.append(two / one)
            print(f"round {number}: one worker {one:,.0f}/s, two {two:,.0f}/s, {two / one:.2f} times", flush=True)
    median = sorted(ratios)[len(ratios) // 2]
    print(f"two workers with {asked.share:g} of a core each do {median:.2f} times as much as one")


if __name__ == "__main__":
    main()
