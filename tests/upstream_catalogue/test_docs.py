"""The page about providers is made from the catalogue and up to date."""

from pathlib import Path

import pytest

from keyrelay.core.providers import ProviderRow
from keyrelay.upstream.catalogue import load_catalogue, load_price_file
from keyrelay.upstream.catalogue.page import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "providers.md"


def test_the_page_is_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), "run scripts/provider-docs > docs/providers.md"


@pytest.mark.parametrize("row", load_catalogue().values(), ids=lambda row: row.id)
def test_the_page_names_every_provider_with_its_environment(row: ProviderRow) -> None:
    prefix = row.id.upper()
    page = PAGE.read_text(encoding="utf-8")
    (section,) = (part for part in page.split("\n## ") if f"\n- id: `{row.id}`\n" in part)
    names = [f"{prefix}_API_KEY", f"{prefix}_API_KEYS", f"{prefix}_BASE_URL"]
    names += [*row.key_env, *row.base_url_env, *row.variables.values()]
    assert [name for name in names if f"`{name}`" not in section] == []
    for fact in (row.base_url, str(row.verified_at), row.docs_url, row.terms.note):
        assert fact in section


@pytest.mark.parametrize("row", load_catalogue().values(), ids=lambda row: row.id)
def test_the_page_says_of_every_model_what_it_costs_or_that_nobody_knows(row: ProviderRow) -> None:
    prices = load_price_file().list_prices(row, private=row.local)
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for model in row.models:
        (line,) = (line for line in lines if line.startswith(f"| `{row.id}` | `{model.id}` |"))
        assert line.endswith("| unpriced |") == (prices.find(model.id) is None)
