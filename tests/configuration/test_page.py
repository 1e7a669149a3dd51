import re
from pathlib import Path

import pytest

from keyrelay.configuration import page
from keyrelay.settings import SETTINGS, Setting

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page.renewed(text) == text, "run scripts/settings-docs"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_its_row_with_all_its_names(setting: Setting) -> None:
    (row,) = [line for line in page.settings_table().splitlines() if line.startswith(f"| `{setting.name}` |")]
    assert setting.help in row
    assert all(f"`{name}`" in row for name in setting.environment_names)
    assert (f"`KEYRELAY_{setting.name.upper()}_FILE`" in row) == (setting.secret and not setting.own_file)


def test_every_suffix_that_is_read_is_documented() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "src/keyrelay/configuration").glob("*.py")))
    read = set(re.findall(r"\{prefix\}_([A-Z_]+)", sources))
    assert {"API_KEY", "BASE_URL", "TIER", "MODELS", "ENABLED", "PRIORITY"} <= read
    assert read <= set(page.SUFFIXES)
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `<PROVIDER>_{suffix}` |" in text for suffix in page.SUFFIXES)


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="the markers of settings"):
        page.renewed("nothing")


def test_main_brings_a_page_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    markers = "".join(
        f"<!-- {name}: generated -->\noutdated\n<!-- {name}: end -->\n" for name in ("settings", "variables")
    )
    path.write_text(f"before\n{markers}after\n")
    page.main([str(path)])
    text = path.read_text()
    assert "outdated" not in text
    assert text.startswith("before\n<!-- settings: generated -->\n| setting | environment |")
    assert text.endswith("<!-- variables: end -->\nafter\n")
