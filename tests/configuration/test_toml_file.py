from pathlib import Path

import pytest

from keyrelay.configuration.findings import Findings
from keyrelay.configuration.toml_file import FileText, read_toml
from keyrelay.core.configuration import PolicyName

GOOD = """
[settings]
port = 9000
answer_headers = false
total_timeout_s = 1.5
fallback = ["ollama/a", "groq/b"]

[routes.fast]
targets = ["groq/small", "gemini"]
policy = "priority"
fallback = ["ollama/a"]

[routes."v1.2_x-y"]
targets = ["groq/small"]
"""


def read(tmp_path: Path, text: str, findings: Findings) -> FileText:
    (tmp_path / "keyrelay.toml").write_text(text, encoding="utf-8")
    return read_toml(tmp_path / "keyrelay.toml", findings=findings)


def test_settings_and_routes(tmp_path: Path, findings: Findings) -> None:
    file = read(tmp_path, GOOD, findings)
    assert not findings.problems
    assert {name: choice.text for name, choice in file.settings.items()} == {
        "port": "9000",
        "answer_headers": "false",
        "total_timeout_s": "1.5",
        "fallback": "ollama/a,groq/b",
    }
    assert file.settings["port"].source == "keyrelay.toml"
    fast, other = file.routes
    assert (fast.name, fast.targets, fast.policy) == ("fast", ("groq/small", "gemini"), PolicyName.PRIORITY)
    assert fast.fallback == ("ollama/a",)
    assert (other.name, other.policy, other.fallback) == ("v1.2_x-y", None, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[setings]\nport = 1", "keyrelay.toml [setings]: there is no such table. Did you mean settings?"),
        ("[models]\nx = 1", "keyrelay.toml [models]: there is no such table. There are settings, routes, prices."),
        ("port = 1", "keyrelay.toml [port]: there is no such table."),
        ("settings = 1", "keyrelay.toml settings: is a value, not a table. Write it as [settings]."),
        ("[settings]\nprt = 1", "keyrelay.toml [settings] prt: Keyrelay has no such setting. Did you mean port?"),
        ("[settings]\nport = [1]", "keyrelay.toml [settings] port: is not a whole number from 0 to 65535."),
        ("[settings]\nport = 2026-11-21", "keyrelay.toml [settings] port: is not a whole number"),
        ("[settings]\nenv_file = 'x'", "keyrelay.toml [settings] env_file: says where files are"),
        ("[routes]\nfast = 1", "keyrelay.toml [routes.fast]: is not a table."),
        ("[routes.fast]", "keyrelay.toml [routes.fast] targets: names no target."),
        ("[routes.fast]\ntargets = []", "keyrelay.toml [routes.fast] targets: names no target."),
        ("[routes.'a b']\ntargets = ['x']", "keyrelay.toml [routes.a b]: the name is not made of"),
        (
            "[routes.fast]\ntargets = ['x']\npolcy = 'x'",
            "keyrelay.toml [routes.fast] polcy: there is no such field. Did you mean policy?",
        ),
        (
            "[routes.fast]\ntargets = ['x']\npolicy = 'random'",
            "keyrelay.toml [routes.fast] policy: is not one of priority, round_robin, weighted, least_used.",
        ),
        ("[routes.fast]\ntargets = ['x']\npolicy = 3", "keyrelay.toml [routes.fast] policy: is not one of"),
        (
            "[routes.fast]\ntargets = ['x']\nfallback = 'y'",
            "keyrelay.toml [routes.fast] fallback: is not a list of texts.",
        ),
        ("port = ", "keyrelay.toml: is not TOML: Invalid value (at"),
        ("a = 1\na = 2", "keyrelay.toml: is not TOML: Cannot overwrite a value"),
    ],
)
def test_problems_name_file_table_and_field(text: str, problem: str, tmp_path: Path, findings: Findings) -> None:
    read(tmp_path, text, findings)
    (found,) = map(str, findings.problems)
    assert found.startswith(problem)


def test_a_missing_file(tmp_path: Path, findings: Findings) -> None:
    assert read_toml(tmp_path / "keyrelay.toml", findings=findings, optional=True) == FileText()
    assert not findings.problems
    read_toml(tmp_path / "keyrelay.toml", findings=findings)
    assert findings.problems[0].where == "keyrelay.toml"
