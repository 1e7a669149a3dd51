"""Where the gateway's CPU time goes on the way of one request: HTTP on both sides, what it decides and counts, rows.

Run: `python bench/where_time_goes.py [--rounds N]`. Beside nginx and the whole gateway two gateways of which parts are
left out (`rig/partial_gateway.py`) take the same load, in turn; what one costs more than the other is the part. The
process that writes rows into the store is counted apart.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

from rig.payloads import SMALL
from rig.processes import Server
from rig.servers import Amount, Rig
from rig.wakefulness import cpus_awake

_BENCH = Path(__file__).resolve().parent


def start(rig: Rig, stack: contextlib.ExitStack, part: str) -> Server:
    """A gateway of which only a part serves."""
    url = f"http://127.0.0.1:{rig.upstream_port}/1k/v1"
    os.environ["BENCH_GATEWAY_CMD"] = f"{sys.executable} -m rig.partial_gateway {part} {url}"
    rig.gateway_settings = {"PYTHONPATH": str(_BENCH)}
    try:
        server, _ = stack.enter_context(rig.gateway())
    finally:
        del os.environ["BENCH_GATEWAY_CMD"]
        rig.gateway_settings = {}
    return server


def cost_us(rig: Rig, server: Server, amount: Amount) -> tuple[float, float]:
    """CPU time per answer: of all the server's processes, and of the first of them."""
    all_s, own_s = server.cpu_s(), server.own_cpu_s()
    load = rig.load(server, SMALL, amount)
    return (server.cpu_s() - all_s) / load.answered * 1e6, (server.own_cpu_s() - own_s) / load.answered * 1e6


def main() -> None:
    """Measure in turn, several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    amount = Amount(duration_s=2, streams=1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(cpus_awake(wanted=True))
        rig = Rig(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))), pin=True)
        stack.enter_context(rig.surroundings())
        servers = {"nginx": rig.proxy}
        servers |= {part: start(rig, stack, part) for part in ("caller", "passing")}
        servers["whole"], _ = stack.enter_context(rig.gateway())
        for server in servers.values():
            rig.load(server, SMALL, amount)
        rounds = [{name: cost_us(rig, server, amount) for name, server in servers.items()} for _ in range(asked.rounds)]
    every = {name: statistics.median(each[name][0] for each in rounds) for name in servers}
    own = {name: statistics.median(each[name][1] for each in rounds) for name in servers}
    figures = {
        "nginx, the whole of it": every["nginx"],
        "the caller's side": own["caller"],
        "the provider's side": own["passing"] - own["caller"],
        "what is decided, counted and written down": own["whole"] - own["passing"],
        "the process that writes rows": every["whole"] - own["whole"],
        "the gateway, all together": every["whole"],
    }
    for name, us in figures.items():
        sys.stdout.write(f"{us:6.1f} us  {name}\n")


if __name__ == "__main__":
    main()
