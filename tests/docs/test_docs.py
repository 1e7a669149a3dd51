"""The pages say what the code does: every route, error code, metric, fault and link."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
from fastapi import FastAPI

from keyrelay.api import metrics
from keyrelay.api.app import Application
from keyrelay.api.routes_page import renewed
from keyrelay.bootstrap import compose
from keyrelay.configuration import load_configuration
from keyrelay.simulator import control
from keyrelay.simulator.faults import FAULTS
from keyrelay.simulator.scenario import KeyState
from tests.house.sources import PACKAGE, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def between(page: str, marker: str) -> str:
    found = re.search(rf"<!-- {marker}: begin -->\n(.*?)<!-- {marker}: end -->", text_of(page), re.DOTALL)
    assert found, f"{page} does not have the markers of {marker}"
    return found[1]


def first_cells(table: str) -> list[str]:
    """What stands in code type in the first column."""
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    empty = tmp_path_factory.mktemp("empty")
    return compose(load_configuration({}, directory=empty, overrides={"data_dir": str(empty)}))


# Routes.


def test_every_route_of_the_data_plane_has_its_row(application: Application) -> None:
    page = text_of("docs/data-plane.md")
    own = ("/v1/", "/v1beta/", "/v2/", "/api/")
    routes = {(method, path) for method, path in application.data.routes if path.startswith(own)}
    assert routes, "the data plane has no routes"
    wanted = [f"{method} {path}" for method, path in sorted(routes) if method != "HEAD"]
    assert not [route for route in wanted if f"| `{route}` |" not in page], "docs/data-plane.md has no such rows"
    without_prefix = {(method, f"/v1{path}") for method, path in set(application.data.routes) - routes}
    assert without_prefix <= routes
    assert ("POST", "/v1/chat/completions") in without_prefix


def test_every_route_of_the_control_plane_has_its_row(application: Application) -> None:
    page = text_of("docs/operations.md")
    control_plane = application.control
    assert isinstance(control_plane, FastAPI)
    paths = sorted({path for route in control_plane.routes if isinstance(path := getattr(route, "path", None), str)})
    kept = [path for path in paths if path != "/docs/oauth2-redirect" and not path.startswith("/api/v1/")]
    assert "/livez" in kept
    assert not [path for path in kept if not re.search(rf"`(?:[A-Z]+ )?{re.escape(path)}`", page)]


def test_the_routes_of_the_api_are_up_to_date(application: Application) -> None:
    page = text_of("docs/api.md")
    assert renewed(page, application.control) == page, "run scripts/api-docs"
    assert "| `GET /api/v1/audit` | operator |" in page


# Error codes.

WORD = re.compile(r'"([a-z_]+)"')
GIVES_A_CODE = re.compile(
    r'\bcode="[a-z_]+"|^ *(?:status, )?code = .+$|_unauthorized\(message, "[a-z_]+"\)', re.MULTILINE
)


_WITH_CODES = ("api", "api/administration", "administration", "engine", "wire")


def codes() -> set[str]:
    """Every literal that becomes an error's code."""
    places = [path for package in _WITH_CODES for path in sorted((PACKAGE / package).glob("*.py"))]
    sources = "".join(path.read_text(encoding="utf-8") for path in places)
    return {code for found in GIVES_A_CODE.finditer(sources) for code in WORD.findall(found[0])}


def test_the_codes_are_found() -> None:
    assert {"invalid_json", "upstream_failed", "context_length_exceeded", "missing_api_key"} <= codes()


def test_every_error_code_is_listed() -> None:
    listed = set(first_cells(text_of("docs/data-plane.md"))) | set(first_cells(text_of("docs/api.md")))
    assert not codes() - listed, "docs/data-plane.md and docs/api.md list no such codes"


# Metrics.


def text_of_module(name: str) -> str:
    return (PACKAGE / "api" / f"{name}.py").read_text(encoding="utf-8")


def test_every_metric_and_label_is_listed(application: Application) -> None:
    table = between("docs/operations.md", "metrics")
    sources = "".join(
        text_of_module(name)
        for name in ("metrics", "quota_watch", "cache", "keeping_metrics", "exposition", "alert_metrics")
    )
    names = set(re.findall(r'"(keyrelay_[a-z_]+)"', sources))
    assert {name.removesuffix("_total") for name in first_cells(table)} == names


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("keyrelay_requests_total", "_REQUEST_LABELS"),
        ("keyrelay_attempts_total", "_ATTEMPT_LABELS"),
        ("keyrelay_request_duration_seconds", "_SERVED"),
        ("keyrelay_time_to_first_token_seconds", "_SERVED"),
        ("keyrelay_cost_usd_total", "_SERVED"),
    ],
)
def test_the_labels_of_a_metric_are_right(name: str, labels: str) -> None:
    (row,) = [line for line in between("docs/operations.md", "metrics").splitlines() if line.startswith(f"| `{name}`")]
    assert re.findall(r"`([a-z_]+)`", row.split("|")[3]) == list(getattr(metrics, labels))


# The simulator.


def faults_table() -> str:
    rows = [
        (f"`{fault.name}`", fault.group, fault.strikes, fault.description, fault.argument) for fault in FAULTS.values()
    ]
    head = [("fault", "in", "strikes", "what happens", "argument"), ("---",) * 5]
    return "".join(f"| {' | '.join(row)} |\n" for row in [*head, *rows])


def test_the_faults_are_those_that_there_are() -> None:
    assert between("docs/simulator.md", "faults") == faults_table(), f"put this there:\n{faults_table()}"


def test_the_states_of_a_key_are_those_that_there_are() -> None:
    assert first_cells(between("docs/simulator.md", "states")) == list(get_args(KeyState))


def test_the_calls_of_the_judge_are_those_that_there_are() -> None:
    calls = {f"{method} /{control.PREFIX}/{path}" for method, path in control._ROUTES}
    assert set(first_cells(between("docs/simulator.md", "judge"))) == calls


# Links.


def links(page: Path) -> Iterable[str]:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return (link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", link))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    lower = (heading.lower().replace(" ", "-") for heading in headings)
    return {"".join(letter for letter in heading if letter.isalnum() or letter in "-_") for heading in lower}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}: no such heading"


def test_the_index_names_every_page() -> None:
    named = set(links(ROOT / "docs" / "README.md")) | {"README.md"}
    assert not {page.name for page in (ROOT / "docs").glob("*.md")} - named, "docs/README.md does not name these"
