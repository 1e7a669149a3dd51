import os
import pty
import subprocess
import sys
from pathlib import Path

from keyrelay.replay.trace import read_trace
from tests.cli.helpers import Keyrelay

HEADER = '{"trace":"t","version":1,"start":"2026-11-16T08:00:00Z"}\n'
PLAN = """\
[providers.acme]
keys = 1
models = ["m"]
limits = [{ unit = "requests", amount = 2, window = "60s" }]
true_limits = [{ unit = "requests", amount = 2, window = "60s" }]
"""


def files(directory: Path) -> None:
    lines = (f'{{"at_s":{number},"model":"m","input_tokens":50,"deadline_s":1.5}}\n' for number in range(6))
    (directory / "t.jsonl").write_text(HEADER + "".join(lines))
    (directory / "plan.toml").write_text(PLAN)


def test_plans_stand_side_by_side(keyrelay: Keyrelay) -> None:
    files(keyrelay.directory)
    plans = ("plan.toml", "plan.toml+providers.acme.keys=2", "plan.toml+ledger=false")
    ended = keyrelay("replay", "t.jsonl", "--models", *(word for plan in plans for word in ("--config", plan)))
    assert (ended.code, ended.err) == (0, "")
    lines = {" ".join(line.split()) for line in ended.out.splitlines()}
    assert {"requests 6 6 6", "answered 2 4 2", "refused 4 2 4", "m 6 2 of 2 4 of 4 2 of 2"} <= lines


def test_one_document_for_programs(keyrelay: Keyrelay) -> None:
    files(keyrelay.directory)
    ended = keyrelay("replay", "t.jsonl", "--config", "plan.toml", "--set", "providers.acme.keys=3", "--json")
    (plan,) = ended.document["plans"]
    assert ended.document["schema_version"] == 1
    assert ended.document["trace"] == {"name": "t", "start": "2026-11-16T08:00:00Z", "seed": 1}
    assert (plan["plan"], plan["answered"], plan["quota_yield"]) == ("plan.toml", 6, 1.0)
    assert plan["models"] == {"m": {"requests": 6, "usable": 6, "answered": 6}}


def test_without_a_plan_the_shipped_ones_are_compared(keyrelay: Keyrelay) -> None:
    ended = keyrelay("replay", "burst", "--markdown")
    assert ended.code == 0
    assert ended.out.startswith(
        "|  | default | round_robin | priority |\n| --- | ---: | ---: | ---: |\n| requests | 500 |"
    )


def test_a_request_log_is_written_as_a_trace(keyrelay: Keyrelay) -> None:
    line = '{"event":"request","time":"2026-11-16T08:00:05Z","model_asked":"m","status":200,"ms":1000}\n'
    (keyrelay.directory / "gateway.log").write_text(line)
    ended = keyrelay("replay", "gateway.log", "--write-trace", "made.jsonl.gz")
    assert (ended.code, ended.out, ended.err) == (0, "", "made.jsonl.gz: 1 requests\n")
    trace = read_trace((keyrelay.directory / "made.jsonl.gz").read_bytes(), "made")
    assert [request.model for request in trace.requests] == ["m"]


def test_what_is_wrong_is_named_with_line_and_field(keyrelay: Keyrelay) -> None:
    files(keyrelay.directory)
    (keyrelay.directory / "bad.jsonl").write_text(HEADER + '{"at_s":"soon","model":"m"}\n')
    (keyrelay.directory / "bad.toml").write_text("[providers.acme]\nkeys = -1\n")
    for arguments, message in (
        (("bad.jsonl",), "keyrelay: bad.jsonl line 2: at_s: Expected `float`, got `str`."),
        (("t.jsonl", "--config", "bad.toml"), "keyrelay: bad.toml: providers.acme.keys: Expected `int` >= 0."),
        (("t.jsonl", "--config", "plan.toml", "--set", "policy=best"), "policy"),
        (("yesterday",), "keyrelay: yesterday: the trace cannot be read"),
    ):
        ended = keyrelay("replay", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert message in ended.err


def test_on_a_terminal_progress_is_shown(keyrelay: Keyrelay) -> None:
    files(keyrelay.directory)
    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "keyrelay", "replay", "t.jsonl", "--config", "plan.toml"],
        cwd=keyrelay.directory,
        env=keyrelay.environment(),
        stdout=subprocess.PIPE,
        stderr=follower,
        timeout=30,
        check=True,
    )
    os.close(follower)
    shown = os.read(leader, 4096).decode()
    os.close(leader)
    assert "plan.toml  ░" in shown
    assert "0 of 6" in shown
    assert b"answered" in done.stdout
