import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.findings import Findings
from keyrelay.configuration.setting_values import (
    BY_NAME,
    Choice,
    effective_value,
    known_names,
    read_choice,
    read_switch,
    split_list,
    without_orchestrator_names,
)
from keyrelay.core.configuration import PolicyName
from keyrelay.core.secrets import Secret

HOME = Path("/home/somebody")


def read(name: str, text: str, *, home: Path | None = HOME) -> tuple[Any, list[str]]:
    findings = Findings()
    choice = Choice(BY_NAME[name], text, "environment X", "environment X")
    value = read_choice(choice, directory=Path("/work"), home=home, findings=findings)
    return value, [str(problem) for problem in findings.problems]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "8080", 8080),
        ("port", "0", 0),
        ("max_body_bytes", "1_048_576", 1_048_576),
        ("host", "::1", "::1"),
        ("connect_timeout_s", "1.5", 1.5),
        ("total_timeout_s", "1e3", 1000.0),
        ("policy", "Least_Used", PolicyName.LEAST_USED),
        ("log_level", "DEBUG", "debug"),
        ("answer_headers", "off", False),
        ("fallback", "ollama/a, groq/b,,", ("ollama/a", "groq/b")),
        ("data_dir", "~/data", HOME / "data"),
        ("data_dir", "/abs", Path("/abs")),
        ("data_dir", "rel/x", Path("/work/rel/x")),
        ("upstream_proxy", "http://me:pw@proxy:3128/", Secret("http://me:pw@proxy:3128")),
        ("upstream_proxy", "proxy:3128", Secret("http://proxy:3128")),
        ("upstream_proxy", "none", Secret("")),
        ("no_proxy", "localhost,10.0.0.0/8", ("localhost", "10.0.0.0/8")),
        ("allowed_networks", "10.0.0.0/8, fd12::1", ("10.0.0.0/8", "fd12::1")),
        ("operator_secret", "7d865e959b2466918c9863afca942d0f", Secret("7d865e959b2466918c9863afca942d0f")),
        ("api_key", "", Secret("")),
        ("url", "https://keyrelay.example/behind/", "https://keyrelay.example/behind"),
        ("url", "http://[::1]:8787", "http://[::1]:8787"),
        ("url", "", ""),
    ],
)
def test_good_values(name: str, text: str, value: Any) -> None:
    assert read(name, text) == (value, [])


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("port", "65536", "'65536' is not a whole number from 0 to 65535."),
        ("port", "-1", "'-1' is not a whole number from 0 to 65535."),
        ("port", "eighty", "'eighty' is not a whole number from 0 to 65535."),
        ("port", "8_0", "'8_0' is not a whole number from 0 to 65535."),
        ("port", "٣", "'٣' is not a whole number from 0 to 65535."),
        ("port", "9" * 5000, "is not a whole number from 0 to 65535."),
        ("connect_timeout_s", "nan", "'nan' is not a number of seconds from 0.05 to 120."),
        ("connect_timeout_s", "inf", "'inf' is not a number of seconds from 0.05 to 120."),
        ("connect_timeout_s", "3s", "'3s' is not a number of seconds from 0.05 to 120."),
        (
            "policy",
            "roundrobin",
            "'roundrobin' is not one of priority, round_robin, weighted, least_used. Did you mean round_robin?",
        ),
        ("answer_headers", "maybe", "'maybe' is not true or false."),
        ("host", "two words", "'two words' is not a text without spaces."),
        ("data_dir", "\0", "'\\x00' is not a path."),
        ("operator_secret", "two words", "is not a text that a header can carry."),
        ("api_key", "geheim-für-alle", "is not a text that a header can carry."),
        ("url", "keyrelay:8787", "'keyrelay:8787' is not an address such as http://127.0.0.1:8787."),
        ("url", "http://x:99999", "'http://x:99999' is not an address such as http://127.0.0.1:8787."),
        ("url", "http://a:b@x", "'http://a:b@x' is not an address such as http://127.0.0.1:8787."),
    ],
)
def test_wrong_values_say_what_would_be_right(name: str, text: str, problem: str) -> None:
    _, problems = read(name, text)
    assert problems == [f"environment X: {problem}"]


@pytest.mark.parametrize(
    "text",
    [
        "socks5://me:hunter2@proxy:1",
        "http://me:hunter2@proxy:99999",
        "http://me:hunter2@proxy:3128/path",
        "http://me:hunter2@[::1",
        "http://me:hunter2@pro xy:1",
        "http://me:hunter2@\u2100.example:1",
        "http://me:hunter2@proxy:0",
    ],
)
def test_a_wrong_proxy_is_refused_without_its_password(text: str) -> None:
    value, problems = read("upstream_proxy", text)
    assert problems == ["environment X: is not of the form http://[user:password@]host:port."]
    assert value == Secret("")


def test_home_is_needed_for_tilde() -> None:
    _, problems = read("data_dir", "~/x", home=None)
    assert "give an absolute path" in problems[0]


@given(st.sampled_from(sorted(set(BY_NAME) - {"upstream_proxy"})), st.text(max_size=60))
def test_any_text_is_a_value_within_bounds_or_a_problem(name: str, text: str) -> None:
    value, problems = read(name, text)
    setting = BY_NAME[name]
    if setting.minimum is not None:
        assert setting.minimum <= value <= setting.maximum
    assert len(problems) <= 1


@given(st.text())
def test_lists_hold_no_empty_entries_and_no_spaces_around(text: str) -> None:
    for entry in split_list(text):
        assert entry == entry.strip() != ""
        assert "," not in entry


@pytest.mark.parametrize(("text", "value"), [("Yes", True), ("0", False), ("2", None), ("", None)])
def test_switches(text: str, value: Any) -> None:
    assert read_switch(text) is value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("fallback", ("a", "b"), "a, b"),
        ("answer_headers", False, "false"),
        ("total_timeout_s", 600.0, "600"),
        ("total_timeout_s", math.pi, "3.14159265358979"),
        ("upstream_proxy", Secret("http://me:hunter2@proxy:3128"), "…3128"),
        ("upstream_proxy", Secret(""), ""),
        ("data_dir", Path("/x"), "/x"),
        ("port", 8787, "8787"),
    ],
)
def test_how_values_are_shown(name: str, value: Any, text: str) -> None:
    shown = effective_value(Choice(BY_NAME[name], "", "default", ""), value)
    assert (shown.name, shown.value, shown.source) == (f"settings.{name}", text, "default")


def test_what_kubernetes_injects_is_not_the_operators_word() -> None:
    injected = {
        "KEYRELAY_SERVICE_HOST": "10.0.0.1",
        "KEYRELAY_SERVICE_PORT": "8787",
        "KEYRELAY_SERVICE_PORT_HTTP": "8787",
        "KEYRELAY_PORT": "tcp://10.0.0.1:8787",
        "KEYRELAY_PORT_8787_TCP_ADDR": "10.0.0.1",
        "KEYRELAY_REDIS_PORT": "tcp://10.0.0.2:6379",
    }
    assert without_orchestrator_names({**injected, "KEYRELAY_HOST": "::1", "PORT": "1"}) == {
        "KEYRELAY_HOST": "::1",
        "PORT": "1",
    }
    assert without_orchestrator_names({"KEYRELAY_PORT": "8080"}) == {"KEYRELAY_PORT": "8080"}


def test_known_names() -> None:
    assert {"KEYRELAY_PORT", "KEYRELAY_CONFIG", "KEYRELAY_UPSTREAM_PROXY_FILE"} <= known_names()
    assert "PORT" not in known_names()


def test_nothing_is_shown_of_a_master_key() -> None:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    value, problems = read("master_key", key)
    assert (value.reveal(), problems) == (key, [])
    choice = Choice(BY_NAME["master_key"], key, "environment X", "environment X")
    assert effective_value(choice, value).value == "…"


@pytest.mark.parametrize("text", ["master.key", "~/master.key", "/etc/\x00key", "/etc/\nkey"])
def test_the_file_of_the_master_key_has_an_absolute_path(text: str) -> None:
    assert read("master_key_file", "/etc/keyrelay/master.key") == ("/etc/keyrelay/master.key", [])
    value, problems = read("master_key_file", text)
    assert value == ""
    assert "is not an absolute path" in problems[0]
