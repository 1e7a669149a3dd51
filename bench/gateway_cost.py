"""What the gateway costs beside nginx: CPU time per request, throughput, latency, memory, start.

Three things take the same load in turn, all on loopback: an upstream that answers at once, nginx as a plain reverse
proxy in front of it, and the gateway with everything on (authentication, ledger, usage, metrics, log). What
counts is CPU time of the server's processes per answer, because it hardly depends on what else the machine does, and
the ratio to nginx, because it hardly depends on the machine. Rounds alternate, medians are reported.

A run that is not sure of its figures reports none: every answer's status and length are checked, every stream's
bytes, and the gateway's own count of requests and the upstream's must agree with what was sent.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from rig.load import CONNECTIONS, STREAMS_AT_ONCE, Load
from rig.payloads import LARGE, SMALL, STREAM, UPLOAD, Scenario
from rig.processes import BenchError, Server
from rig.report import (
    HalfLoad,
    Report,
    Summary,
    as_json,
    as_markdown,
    as_table,
    describe_machine,
    median,
    missed_goals,
    summarise,
)
from rig.servers import Amount, Measured, Rig
from rig.wakefulness import cpus_awake


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    amount: Amount
    warm_up: Amount | None
    rounds: int
    starts: int
    scenarios: tuple[Scenario, ...]
    half_load: bool


FULL = Plan(
    amount=Amount(duration_s=3, streams=STREAMS_AT_ONCE * 6),
    warm_up=Amount(duration_s=1, streams=STREAMS_AT_ONCE),
    rounds=5,
    starts=5,
    scenarios=(SMALL, LARGE, UPLOAD, STREAM),
    half_load=True,
)
QUICK = Plan(
    amount=Amount(duration_s=1, streams=STREAMS_AT_ONCE),
    warm_up=None,
    rounds=1,
    starts=1,
    scenarios=(SMALL, STREAM),
    half_load=False,
)


def say(text: str) -> None:
    """Tell on standard error how far the run has come."""
    print(text, file=sys.stderr, flush=True)


def measure_scenario(rig: Rig, gateway: Server, scenario: Scenario, plan: Plan) -> Summary:
    """Load nginx and gateway in turn."""
    servers = (rig.proxy, gateway)
    if plan.warm_up:
        for server in servers:
            rig.load(server, scenario, plan.warm_up)
    pairs: list[tuple[Measured, Measured]] = []
    for number in range(1, plan.rounds + 1):
        proxy, mine = (rig.measure(server, scenario, plan.amount) for server in servers)
        pairs.append((proxy, mine))
        say(
            f"{scenario.title}, round {number} of {plan.rounds}: nginx {proxy.cpu_us:.1f} µs, "
            f"gateway {mine.cpu_us:.1f} µs, {mine.cpu_us / proxy.cpu_us:.2f} times"
        )
    return summarise(scenario.name, scenario.title, pairs)


def measure_half_load(rig: Rig, gateway: Server, full_per_s: float, plan: Plan) -> HalfLoad:
    """Pause between requests so long that half of the gateway's full rate comes about; upstream, nginx, gateway."""
    pause_ms = round(CONNECTIONS / (full_per_s / 2) * 1000)
    loads: tuple[list[Load], list[Load], list[Load]] = ([], [], [])
    for _ in range(plan.rounds):
        for server, seen in zip((rig.upstream, rig.proxy, gateway), loads, strict=True):
            seen.append(rig.load(server, SMALL, plan.amount, pause_ms=pause_ms))
    say("latency at half load: done")
    figures = [median([each.p50_ms for each in seen]) for seen in loads]
    tails = [median([each.p99_ms for each in seen]) for seen in loads]
    per_s = median([each.per_s for each in loads[2]])
    return HalfLoad(per_s, figures[0], tails[0], figures[1], tails[1], figures[2], tails[2])


def measure_starts(rig: Rig, count: int) -> list[float]:
    """Seconds from exec to the first 200 of /livez."""
    starts_s: list[float] = []
    for _ in range(count):
        with rig.gateway() as (_, start_s):
            starts_s.append(start_s)
    return starts_s


def run(plan: Plan, *, pin: bool, awake: bool) -> Report:
    """Measure everything that the plan says."""
    busy = os.getloadavg()[0]
    if busy > 1:
        say(f"other programs are busy here (load {busy:.1f}): throughput and latency will suffer, CPU time a little")
    with contextlib.ExitStack() as stack:
        is_awake = stack.enter_context(cpus_awake(wanted=awake))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyrelay-bench-")))
        rig = Rig(directory, pin=pin)
        stack.enter_context(rig.surroundings())
        starts_s = measure_starts(rig, plan.starts)
        say(f"starts: {', '.join(f'{start_s:.2f} s' for start_s in starts_s)}")
        gateway, _ = stack.enter_context(rig.gateway())
        memory_start_mb = rig.idle_memory_mb(gateway)
        for server in (rig.proxy, gateway):
            rig.check_answers(server, plan.scenarios)
        summaries = tuple(measure_scenario(rig, gateway, scenario, plan) for scenario in plan.scenarios)
        half_load = measure_half_load(rig, gateway, summaries[0].gateway_per_s, plan) if plan.half_load else None
        return Report(
            machine=describe_machine(rig.nginx_program, rig.wrk_program),
            rounds=plan.rounds,
            awake=is_awake,
            scenarios=summaries,
            half_load=half_load,
            start_best_s=min(starts_s),
            start_median_s=median(starts_s),
            memory_start_mb=memory_start_mb,
            memory_after_mb=rig.idle_memory_mb(gateway),
        )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a self-check of a few seconds; its figures mean little")
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is above its goal")
    parser.add_argument("--rounds", type=int, help=f"rounds over which medians are taken (default {FULL.rounds})")
    parser.add_argument(
        "--interpreted", action="store_true", help="measure the checkout as it is, not compiled (scripts/compile)"
    )
    parser.add_argument("--no-pin", action="store_true", help="let the system choose the CPUs")
    parser.add_argument("--let-sleep", action="store_true", help="let idle CPUs sleep (see bench/rig/wakefulness.py)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--markdown", action="store_true", help="print docs/performance.md")
    return parser.parse_args(arguments)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)


def main() -> int:
    """Run and print; 1 when the run proves nothing or, with --check, misses a goal."""
    options = parse_arguments()
    # Leaving by SystemExit ends the servers on the way.
    signal.signal(signal.SIGTERM, _stop)
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = msgspec.structs.replace(plan, rounds=max(1, options.rounds))
    try:
        report = run(plan, pin=not options.no_pin, awake=not options.let_sleep)
    except BenchError as error:
        say(f"scripts/bench: no figures: {error}")
        return 1
    print(as_json(report) if options.json else as_markdown(report) if options.markdown else as_table(report))
    missed = missed_goals(report) if options.check else []
    for each in missed:
        say(f"scripts/bench: goal missed: {each}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
