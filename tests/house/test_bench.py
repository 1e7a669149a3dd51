import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rig.wakefulness import cpus_awake
from tests.house.sources import PACKAGE, ROOT

pytestmark = pytest.mark.bench

SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
RELAY = [sys.executable, str(Path(__file__).with_name("relay.py"))]

needs_programs = pytest.mark.skipif(
    not all(shutil.which(program, path=SEARCHED) for program in ("nginx", "wrk")),
    reason="the benchmark needs nginx and wrk (Debian: apt-get install nginx-light wrk)",
)


def run_bench(*arguments: str, lie: str = "", relay: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "gateway_cost.py"), "--quick", "--json", *arguments]
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent"}
    if relay:
        program = f"env RELAY_LIE={lie} {' '.join(RELAY)}"
        environ["BENCH_GATEWAY_CMD"] = program
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=120)


def figures(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert finished.returncode == 0, finished.stderr
    report: dict[str, Any] = json.loads(finished.stdout)
    return report


@needs_programs
def test_it_measures() -> None:
    report = figures(run_bench())
    assert [scenario["name"] for scenario in report["scenarios"]] == ["1k", "stream"]
    for scenario in report["scenarios"]:
        assert scenario["nginx_cpu_us"] > 0
        assert scenario["ratio"] == pytest.approx(scenario["gateway_cpu_us"] / scenario["nginx_cpu_us"])
        assert 0 < scenario["gateway_p50_ms"] <= scenario["gateway_p99_ms"]
    assert report["scenarios"][1]["gateway_alone"] > 0.5
    assert 5 < report["memory_start_mb"] < 500
    assert 0 < report["start_best_s"] <= report["start_median_s"] < 20


@needs_programs
@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("status", "answered 500"),
        ("body", "999 bytes"),
        ("count", "the gateway counted"),
        ("event", "had 99 events, not 100"),
        ("done", "did not end with [DONE]"),
    ],
)
def test_it_reports_nothing_that_it_is_not_sure_of(lie: str, reason: str) -> None:
    finished = run_bench(lie=lie)
    assert finished.returncode == 1
    assert not finished.stdout
    assert "no figures" in finished.stderr
    assert reason in finished.stderr


@needs_programs
@pytest.mark.skipif(not (PACKAGE / "bootstrap").is_dir(), reason="there is no gateway yet")
def test_it_measures_the_gateway() -> None:
    report = figures(run_bench(relay=False))
    assert [scenario["name"] for scenario in report["scenarios"]] == ["1k", "stream"]


def test_idle_cpus_are_asked_to_stay_awake_where_that_can_be_asked(tmp_path: Path) -> None:
    wish = tmp_path / "latency"
    with cpus_awake(wish=wish) as awake:
        assert awake
        assert wish.read_bytes() == bytes(4)
    with cpus_awake(wish=tmp_path / "none" / "latency") as awake:
        assert not awake
    with cpus_awake(wanted=False, wish=wish) as awake:
        assert not awake
