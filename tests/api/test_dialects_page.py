from pathlib import Path

from keyrelay.api.dialects_page import main, renewed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dialects.md"


def test_the_rules_are_those_of_the_packages(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert renewed(text) == text, "run scripts/dialect-docs"
    copy = tmp_path / "dialects.md"
    copy.write_text(text.replace("### Gemini", "### Outdated"), encoding="utf-8")
    main([str(copy)])
    assert copy.read_text(encoding="utf-8") == text
