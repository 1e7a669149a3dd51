"""What a run found, as a table, as JSON and as the page that docs/performance.md holds."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from rig.payloads import STREAM_EVENTS, STREAM_GAP_S
from rig.servers import Measured


class Goal(msgspec.Struct, frozen=True):
    """A figure that `--check` does not let pass above `limit`."""

    name: str
    limit: float
    unit: str


GOALS = (
    Goal("1k", 4.0, "times nginx"),
    Goal("stream", 2.0, "times nginx"),
    Goal("memory", 90.0, "MB idle after the start"),
    Goal("start", 1.5, "s until the first answer"),
)


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured, and which gateway: `keyrelay 1.2.3 (compiled)`."""

    gateway: str
    cpu: str
    cores: int
    kernel: str
    python: str
    uvloop: str
    nginx: str
    wrk: str


class Summary(msgspec.Struct, frozen=True):
    """Medians of one scenario over all rounds."""

    name: str
    title: str
    nginx_cpu_us: float
    gateway_cpu_us: float
    ratio: float
    nginx_per_s: float
    gateway_per_s: float
    nginx_p50_ms: float
    nginx_p99_ms: float
    gateway_p50_ms: float
    gateway_p99_ms: float
    nginx_alone: float
    gateway_alone: float
    ratios: tuple[float, ...]


class HalfLoad(msgspec.Struct, frozen=True):
    """Latency at half of the rate that the gateway reached, and what it adds to the upstream alone."""

    per_s: float
    direct_p50_ms: float
    direct_p99_ms: float
    nginx_p50_ms: float
    nginx_p99_ms: float
    gateway_p50_ms: float
    gateway_p99_ms: float

    @property
    def added_p50_ms(self) -> float:
        """Median latency that the gateway adds."""
        return self.gateway_p50_ms - self.direct_p50_ms

    @property
    def added_p99_ms(self) -> float:
        """99th percentile with the gateway, less that without."""
        return self.gateway_p99_ms - self.direct_p99_ms


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run found."""

    machine: Machine
    rounds: int
    awake: bool
    scenarios: tuple[Summary, ...]
    half_load: HalfLoad | None
    start_best_s: float
    start_median_s: float
    memory_start_mb: float
    memory_after_mb: float


def median(values: list[float]) -> float:
    """Middle one, or the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def summarise(name: str, title: str, pairs: list[tuple[Measured, Measured]]) -> Summary:
    """Medians over rounds of (nginx, gateway); the ratio is the median of the rounds' ratios."""
    proxy, gateway = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratios = tuple(mine.cpu_us / other.cpu_us for other, mine in pairs)
    return Summary(
        name=name,
        title=title,
        nginx_cpu_us=median([each.cpu_us for each in proxy]),
        gateway_cpu_us=median([each.cpu_us for each in gateway]),
        ratio=median(list(ratios)),
        nginx_per_s=median([each.load.per_s for each in proxy]),
        gateway_per_s=median([each.load.per_s for each in gateway]),
        nginx_p50_ms=median([each.load.p50_ms for each in proxy]),
        nginx_p99_ms=median([each.load.p99_ms for each in proxy]),
        gateway_p50_ms=median([each.load.p50_ms for each in gateway]),
        gateway_p99_ms=median([each.load.p99_ms for each in gateway]),
        nginx_alone=median([each.load.alone for each in proxy]),
        gateway_alone=median([each.load.alone for each in gateway]),
        ratios=ratios,
    )


def _first_line(command: list[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (finished.stdout + finished.stderr).splitlines()
    return lines[0] if lines else "unknown"


def describe_machine(nginx: str, wrk: str) -> Machine:
    """Look up what this machine is; `nginx` and `wrk` are the programs in use."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    wrk_version = re.search(r"wrk (?:debian/)?(\S+)", _first_line([wrk, "-v"]))
    return Machine(
        gateway=_first_line([sys.executable, "-m", "keyrelay", "--version"]),
        cpu=found[1] if found else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        uvloop=version("uvloop"),
        nginx=_first_line([nginx, "-v"]).rpartition("/")[2],
        wrk=wrk_version[1] if wrk_version else "unknown",
    )


def missed_goals(report: Report) -> list[str]:
    """Say for each goal that was missed by how much."""
    figures = {each.name: each.ratio for each in report.scenarios}
    figures |= {"memory": report.memory_start_mb, "start": report.start_median_s}
    return [
        f"{goal.name}: {figures[goal.name]:.2f} {goal.unit}, the goal is {goal.limit:g}"
        for goal in GOALS
        if figures.get(goal.name, 0.0) > goal.limit
    ]


def as_json(report: Report) -> str:
    """One document."""
    return msgspec.json.format(msgspec.json.encode(report)).decode()


_HEADINGS = ("", "nginx", "gateway", "ratio", "nginx/s", "gateway/s", "nginx p50 / p99", "gateway p50 / p99")


def _rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (
            each.title,
            f"{each.nginx_cpu_us:,.0f} µs",
            f"{each.gateway_cpu_us:,.0f} µs",
            f"{each.ratio:.2f}",
            f"{each.nginx_per_s:,.0f}",
            f"{each.gateway_per_s:,.0f}",
            f"{each.nginx_p50_ms:.1f} / {each.nginx_p99_ms:.1f} ms",
            f"{each.gateway_p50_ms:.1f} / {each.gateway_p99_ms:.1f} ms",
        )
        for each in report.scenarios
    ]


def _remarks(report: Report) -> list[str]:
    start = f"{report.start_best_s:.2f} s at best, {report.start_median_s:.2f} s in the median"
    memory = f"{report.memory_start_mb:.0f} MB after the start, {report.memory_after_mb:.0f} MB after all the load"
    remarks = [f"Start until the first answer of /livez: {start}.", f"Resident memory: {memory}."]
    half = report.half_load
    if half:
        remarks.append(
            f"Latency at half load ({half.per_s:,.0f}/s): {half.direct_p50_ms:.2f} / {half.direct_p99_ms:.2f} ms "
            f"(p50 / p99) straight to the upstream, {half.nginx_p50_ms:.2f} / {half.nginx_p99_ms:.2f} ms through "
            f"nginx, {half.gateway_p50_ms:.2f} / {half.gateway_p99_ms:.2f} ms through the gateway: "
            f"{half.added_p50_ms:.2f} / {half.added_p99_ms:.2f} ms added."
        )
    remarks += [
        f"Events of a stream that arrived alone: {each.nginx_alone:.0%} through nginx, "
        f"{each.gateway_alone:.0%} through the gateway."
        for each in report.scenarios
        if each.nginx_alone
    ]
    return remarks


def _machine_line(report: Report) -> str:
    machine = report.machine
    return (
        f"{machine.gateway} on {machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}, "
        f"uvloop {machine.uvloop}, nginx {machine.nginx}, wrk {machine.wrk}; {report.rounds} rounds, "
        f"idle CPUs {'kept awake' if report.awake else 'free to sleep'}"
    )


def as_table(report: Report) -> str:
    """For a terminal."""
    rows = [_HEADINGS, *_rows(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(["CPU time of the server per answer:", *lines, "", *_remarks(report), _machine_line(report)])


_PAGE = """# Performance

What the gateway costs beside nginx as a plain reverse proxy, in one run on one machine. `scripts/bench` measures it
anew, `scripts/bench --markdown` prints this page.

{table}

CPU time is that of the server's processes, user and system, per answer. Whole answers are asked for by wrk over 64
connections as fast as they come. The events of a stream come {gap:g} ms apart, each in a write of its own, 32 streams
at a time; p50 and p99 of a stream are the time to its first event, {gap:g} ms of which are the upstream's.

{remarks}

Machine: {machine}.

## What is compared

- **Upstream**: nginx with a file for an answer; for streams a small server that writes one event at a time.
- **nginx**: one worker, connections to the upstream kept alive, no log; streams with `proxy_buffering off`.
- **gateway**: `keyrelay up`, compiled (`--interpreted` measures it as it is written), with one process and everything
  on: client authentication, choice among four keys, a ledger that counts four limits per request, usage read from every
  answer, metrics, a log line and a row in the database per request.

All run on this one machine over loopback: the server under test on one core, load and upstream on the other. Rounds
alternate between nginx and the gateway; the figures are medians, the ratio is the median of the rounds' ratios. Idle
CPUs are asked not to sleep while it runs: on a virtual machine each write to a sleeping neighbour costs the writer an
interrupt through the host, which says nothing about the writer (`--let-sleep` measures with it).

## Why to believe it

A run reports nothing unless every answer had status 200 and the right length, every stream of {events} events arrived
byte for byte as it was sent, no socket failed, and both the upstream's count and the gateway's own `/metrics` agree
with what was sent.

## Goals

`scripts/bench --check` fails when a figure is above its goal:

{goals}
"""


def as_markdown(report: Report) -> str:
    """The whole of docs/performance.md."""
    lines = [_HEADINGS, ("---",) + ("--:",) * (len(_HEADINGS) - 1), *_rows(report)]
    return _PAGE.format(
        table="\n".join("| " + " | ".join(line) + " |" for line in lines),
        remarks="\n".join(f"- {remark}" for remark in _remarks(report)),
        machine=_machine_line(report),
        events=STREAM_EVENTS,
        gap=STREAM_GAP_S * 1000,
        goals="\n".join(f"- {goal.name}: {goal.limit:g} {goal.unit}" for goal in GOALS),
    )
