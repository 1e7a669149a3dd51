"""`keyrelay usage`, against a listener that answers what it is told to."""

import csv
import io
from typing import Any

import pytest

from keyrelay.api.usage import _EXAMPLE as REPORT
from tests.cli.helpers import Keyrelay
from tests.cli.test_remote import SECRET, Listener, gateway, plain  # noqa: F401 - a fixture is found by its name

PATH = "/api/v1/usage"
DOCUMENT: dict[str, Any] = plain(REPORT)


def usage(keyrelay: Keyrelay, listener: Listener, *arguments: str) -> Any:
    return keyrelay("usage", *arguments, KEYRELAY_URL=listener.url, KEYRELAY_API_KEY=SECRET)


def test_the_table_has_a_line_for_each_group_and_one_for_all(
    keyrelay: Keyrelay,
    gateway: Listener,  # noqa: F811
) -> None:
    gateway.answers[f"{PATH}?group_by=provider&limit=1000"] = 200, {**DOCUMENT, "series": [], "groups_total": 5}
    ended = usage(keyrelay, gateway)
    head, *lines = (line.split() for line in ended.out.splitlines())
    assert (ended.code, head[:3]) == (0, ["PROVIDER", "REQUESTS", "FAILED"])
    assert lines == [
        [name, "1,250", "1.0%", "19.2%", "812,400", "301,770", "$0.6412", "3", "412", "ms", "2610", "ms", "181", "ms"]
        for name in ("groq", "all")
    ]
    assert "from 2026-11-20T12:00:00Z to 2026-11-21T12:00:00Z" in ended.err
    assert "4 more groups" in ended.err
    assert gateway.asked == [(f"{PATH}?group_by=provider&limit=1000", f"Bearer {SECRET}")]


def test_days_are_a_series(keyrelay: Keyrelay, gateway: Listener) -> None:  # noqa: F811
    path = f"{PATH}?from=30d&to=now&client=my+app&provider=groq&interval=day"
    gateway.answers[path] = 200, {**DOCUMENT, "groups": [], "groups_total": 0}
    ended = usage(
        keyrelay,
        gateway,
        "--by",
        "day",
        "--from",
        "30d",
        "--to",
        "now",
        "--only",
        "client=my app",
        "--only",
        "provider=groq",
    )
    assert [line.split()[0] for line in ended.out.splitlines()] == ["DAY", "2026-11-21T11:00:00Z", "all"]


@pytest.mark.parametrize("option", [("--json",), ("--format", "json")])
def test_the_document_is_that_of_the_gateway(
    keyrelay: Keyrelay,
    gateway: Listener,  # noqa: F811
    option: tuple[str, ...],
) -> None:
    gateway.answers[f"{PATH}?group_by=key&limit=1000"] = 200, REPORT
    assert usage(keyrelay, gateway, "--by", "key", *option).document == {"schema_version": 1, **DOCUMENT}


def test_csv_is_that_of_the_export(keyrelay: Keyrelay, gateway: Listener) -> None:  # noqa: F811
    gateway.answers[f"{PATH}/export?from=7d&group_by=model&format=csv"] = 200, "start,model\r\n2026,a\r\n"
    ended = usage(keyrelay, gateway, "--by", "model", "--from", "7d", "--format", "csv")
    assert list(csv.reader(io.StringIO(ended.out))) == [["start", "model"], ["2026", "a"]]


@pytest.mark.parametrize("only", ["client", "colour=red", "=x"])
def test_a_wrong_choice_is_explained(keyrelay: Keyrelay, only: str) -> None:
    ended = keyrelay("usage", "--only", only)
    assert ended.code == 2
    assert "must be FIELD=VALUE" in ended.err
