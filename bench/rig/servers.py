"""The servers of a run, and what loading one of them costs."""

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from rig import nginx
from rig.load import CLIENT_SECRET, Load, run_streams, run_wrk
from rig.payloads import ANSWER_MODEL_LARGE, ANSWER_MODEL_SMALL, CHAT, STREAM, STREAM_MODEL, Scenario
from rig.processes import BenchError, Server, free_ports, running

REQUESTS_METRIC = "keyrelay_requests_total"
"""The gateway's own count of the requests that it has finished, summed over all labels."""

_ROOT = Path(__file__).resolve().parents[2]
_KEYS = 4
_PLENTY = str(10**12)
_SETTLE_S = 0.7
_READY_TIMEOUT_S = 20.0
_OK = 200


class Measured(msgspec.Struct, frozen=True):
    """One load on one server, and the CPU time that the server spent on each answer."""

    cpu_us: float
    load: Load


class Amount(msgspec.Struct, frozen=True):
    """How long one load lasts: seconds of whole answers, number of streams."""

    duration_s: int
    streams: int


class Rig:
    """The servers and how they are loaded. `under_test` and `beside` are CPUs, None to leave that to the system.

    `gateway_settings` are put into the gateway's environment besides what it always gets.
    """

    def __init__(self, directory: Path, *, pin: bool) -> None:
        self._directory = directory
        cpus = sorted(os.sched_getaffinity(0))
        pinned = pin and len(cpus) > 1
        self.beside = cpus[0] if pinned else None
        self.under_test = cpus[1] if pinned else None
        self.nginx_program = _program("nginx")
        self.wrk_program = _program("wrk")
        self.upstream_port, self.stream_port, self.proxy_port = free_ports(3)
        self.upstream: Server
        self.proxy: Server
        self._times_asked = 0
        self.gateway_settings: Mapping[str, str] = {}

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        """Run everything but the gateway."""
        with contextlib.ExitStack() as stack:
            upstream = nginx.upstream_command(self.nginx_program, self._directory / "upstream", port=self.upstream_port)
            streams = [sys.executable, str(_ROOT / "bench" / "stream_upstream.py"), str(self.stream_port)]
            proxy = nginx.proxy_command(
                self.nginx_program,
                self._directory / "proxy",
                port=self.proxy_port,
                upstream_port=self.upstream_port,
                stream_port=self.stream_port,
            )
            self.upstream = stack.enter_context(self._run("upstream", upstream, self.upstream_port, self.beside))
            waiting = stack.enter_context(self._run("stream upstream", streams, self.stream_port, self.beside))
            self.proxy = stack.enter_context(self._run("nginx", proxy, self.proxy_port, self.under_test))
            for server in (self.upstream, waiting, self.proxy):
                server.wait_ready("/ready", timeout_s=_READY_TIMEOUT_S)
            yield

    @contextlib.contextmanager
    def _run(
        self, name: str, command: list[str], port: int, cpu: int | None, environ: Mapping[str, str] | None = None
    ) -> Iterator[Server]:
        plain = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory)}
        with running(name, command, port=port, directory=self._directory, environ=environ or plain, cpu=cpu) as server:
            yield server

    @contextlib.contextmanager
    def gateway(self) -> Iterator[tuple[Server, float]]:
        """Run the gateway with a data directory of its own; yield it and the seconds that its start took."""
        port = free_ports(1)[0]
        command = shlex.split(os.environ.get("BENCH_GATEWAY_CMD", "")) or [
            str(_ROOT / ".venv" / "bin" / "keyrelay"),
            "up",
        ]
        with tempfile.TemporaryDirectory(prefix="data-", dir=self._directory) as data:
            environ = {**self._gateway_environment(port, data), **self.gateway_settings}
            began_at_s = time.monotonic()
            with self._run("gateway", command, port, self.under_test, environ) as server:
                server.wait_ready("/livez", timeout_s=_READY_TIMEOUT_S)
                yield server, time.monotonic() - began_at_s

    def _gateway_environment(self, port: int, data: str) -> dict[str, str]:
        environ = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": data,
            "KEYRELAY_DATA_DIR": data,
            "KEYRELAY_HOST": "127.0.0.1",
            "PORT": str(port),
            "CLIENT_API_KEYS_MAP": f"{CLIENT_SECRET}:bench",
        }
        for prefix, model, base_url in (
            ("BENCH", ANSWER_MODEL_SMALL, f"http://127.0.0.1:{self.upstream_port}/1k/v1"),
            ("BENCHLARGE", ANSWER_MODEL_LARGE, f"http://127.0.0.1:{self.upstream_port}/100k/v1"),
            ("BENCHSTREAM", STREAM_MODEL, f"http://127.0.0.1:{self.stream_port}/stream/v1"),
        ):
            environ |= {
                f"{prefix}_API_KEYS": ",".join(f"key{n}=bench-{prefix.lower()}-key-{n:08d}" for n in range(_KEYS)),
                f"{prefix}_BASE_URL": base_url,
                f"{prefix}_MODELS": model,
                # Limits that are never reached: the ledger counts every request all the same.
                f"{prefix}_RPM": _PLENTY,
                f"{prefix}_RPD": _PLENTY,
                f"{prefix}_TPM": _PLENTY,
                f"{prefix}_TPD": _PLENTY,
            }
        return environ

    def load(self, server: Server, scenario: Scenario, amount: Amount, *, pause_ms: int = 0) -> Load:
        """Put one load on one server, and wait until what it does in batches after an answer is done too."""
        load = self._load(server, scenario, amount, pause_ms)
        time.sleep(_SETTLE_S)
        return load

    def _load(self, server: Server, scenario: Scenario, amount: Amount, pause_ms: int) -> Load:
        path = scenario.own_path if server.name == "gateway" else scenario.path
        if scenario.name.startswith(STREAM.name):
            with _on_cpu(self.beside):
                return run_streams(server.port, path, scenario, count=amount.streams)
        return run_wrk(
            self.wrk_program,
            f"http://127.0.0.1:{server.port}{path}",
            scenario,
            duration_s=amount.duration_s,
            pause_ms=pause_ms,
            cpu=self.beside,
        )

    def measure(self, server: Server, scenario: Scenario, amount: Amount) -> Measured:
        """Put a load on a server and tell what it cost; prove that all of it went through server and upstream."""
        counts: list[tuple[str, Callable[[], int]]] = []
        if not scenario.name.startswith(STREAM.name):
            counts.append(("upstream", self._upstream_count))
        if server.name == "gateway":
            counts.append(("gateway", lambda: requests_counted(server)))
        before = [count() for _, count in counts]
        cpu_before_s = server.cpu_s()
        load = self.load(server, scenario, amount)
        cpu_s = server.cpu_s() - cpu_before_s
        for (name, count), earlier in zip(counts, before, strict=True):
            seen = count() - earlier
            if not load.answered <= seen <= load.sent:
                raise BenchError(
                    f"{scenario.title}: the {name} counted {seen} requests, but {load.sent} were sent"
                    f" and {load.answered} answered"
                )
        return Measured(cpu_us=cpu_s / load.answered * 1e6, load=load)

    def _upstream_count(self) -> int:
        """Requests that the upstream has seen, without those for this figure."""
        _, body = self.upstream.get("/status")
        self._times_asked += 1
        return int(body.split(b"requests")[1].split()[2]) - self._times_asked

    def idle_memory_mb(self, server: Server) -> float:
        """Resident memory of a server that has been left alone for a moment."""
        time.sleep(_SETTLE_S)
        return server.memory_mb()

    def check_answers(self, server: Server, scenarios: tuple[Scenario, ...]) -> None:
        """Ask for each scenario once and compare every byte."""
        for scenario in scenarios:
            if scenario is STREAM:
                continue
            path = CHAT if server.name == "gateway" else scenario.path
            headers = {"authorization": f"Bearer {CLIENT_SECRET}", "content-type": "application/json"}
            status, body = server.request("POST", path, scenario.body, headers)
            if (status, body) != (_OK, scenario.answer):
                raise BenchError(
                    f"{scenario.title}: {server.name} answered {status} with {len(body)} bytes"
                    f" (expected 200 with {len(scenario.answer)}): {body[:500]!r}\n{server.log_tail()}"
                )


def requests_counted(gateway: Server) -> int:
    """The gateway's own count of the requests that it has finished."""
    status, body = gateway.get("/metrics", {"authorization": f"Bearer {CLIENT_SECRET}"})
    if status != _OK:
        raise BenchError(f"the gateway's /metrics answered {status}: {body[:300]!r}")
    names = (REQUESTS_METRIC + "{", REQUESTS_METRIC + " ")
    lines = (line for line in body.decode().splitlines() if line.startswith(names))
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def _program(name: str) -> str:
    """Path of a program; Debian keeps nginx where only root looks."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
    if not found:
        raise BenchError(f"{name} is needed (Debian: apt-get install nginx-light wrk)")
    return found


@contextlib.contextmanager
def _on_cpu(cpu: int | None) -> Iterator[None]:
    """Keep this process on one CPU for a while."""
    before = os.sched_getaffinity(0)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
