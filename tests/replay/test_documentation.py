"""The examples and field tables of docs/cli.md are right."""

import re
import tomllib

from keyrelay.replay.composing import make_ready
from keyrelay.replay.plan import KeyEntry, Plan, ProviderEntry, plan_of
from keyrelay.replay.trace import TraceRequest, read_trace
from tests.house.sources import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## keyrelay replay\n")[2].partition("\n## ")[0]


def block(language: str, part: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SECTION.partition(part)[2], re.DOTALL)
    assert found
    return found[1]


def first_cells(part: str) -> set[str]:
    rows = SECTION.partition(part)[2].partition("\n### ")[0]
    cells = re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_plan_is_one() -> None:
    make_ready(plan_of(tomllib.loads(block("toml", "### Plans")), "docs"))


def test_the_trace_is_one() -> None:
    assert read_trace(block("", "### Traces").encode(), "docs").requests[0].deadline_s == 90


def test_every_field_of_a_request_is_listed() -> None:
    assert first_cells("### Traces") == set(TraceRequest.__struct_fields__)


def test_every_field_of_a_plan_is_listed() -> None:
    fields = {*Plan.__struct_fields__, *ProviderEntry.__struct_fields__, *KeyEntry.__struct_fields__}
    assert first_cells("### Plans") == fields - {"name", "settings", "providers"}
