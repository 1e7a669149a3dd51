"""docs/troubleshooting.md has a section for each kind of failure, and each of them says what to do."""

import re
from pathlib import Path

import pytest

from keyrelay.core.failures import FailureKind

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_of_failure_has_its_section(kind: FailureKind) -> None:
    steps = re.findall(r"^\*\*([^*]+)\.\*\* \S", SECTIONS[kind], re.MULTILINE)
    assert steps == ["What it looks like", "Where to look", "What to do"]


def test_there_is_no_section_of_a_kind_that_there_is_not() -> None:
    assert set(SECTIONS) == set(FailureKind)
