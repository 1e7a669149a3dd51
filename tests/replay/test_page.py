from pathlib import Path

import pytest

from keyrelay.replay import page
from keyrelay.replay.plan import shipped_plans
from keyrelay.replay.trace import shipped_traces
from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "quota.md"


def test_the_tables_are_what_a_replay_gives() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page.renewed(text) == text, "run scripts/replay-docs"


def test_every_shipped_trace_and_plan_is_in_the_tables() -> None:
    assert sorted(page.TRACES) == shipped_traces()
    assert sorted(page.PLANS) == shipped_plans()


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="the markers of replay day"):
        page.renewed("nothing")


def test_main_brings_a_page_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    markers = "".join(f"{page.BEGIN.format(name)}outdated\n{page.END.format(name)}\n" for name in page.TRACES)
    path.write_text(f"before\n{markers}after\n", encoding="utf-8")
    page.main([str(path)])
    text = path.read_text(encoding="utf-8")
    assert "outdated" not in text
    assert text.startswith("before\n<!-- replay day: generated -->\n| day | `default` |")
    assert text.endswith("<!-- replay burst: end -->\nafter\n")
