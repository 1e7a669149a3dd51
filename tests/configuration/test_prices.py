"""Prices of the file over the list over the catalogue, and limits that need them."""

from pathlib import Path

import pytest

from keyrelay.configuration import InvalidConfiguration
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.prices import PRICE_FIELDS, PriceOverride, prices_of, read_overrides
from keyrelay.core.prices import LOCAL, OVERRIDE, Period, Price, Rates, simple_price
from keyrelay.core.providers import ModelRow, PriceRow
from keyrelay.upstream.catalogue import load_catalogue, load_price_file
from tests.configuration.helpers import Load, provider_row
from tests.house.sources import ROOT

FILE = load_price_file()
GROQ = provider_row(
    models=(
        ModelRow(id="small", price_input_usd_per_mtok=1, price_source="price page, 2026-11-21"),
        ModelRow(id="openai/gpt-oss-120b", price_input_usd_per_mtok=9, price_output_usd_per_mtok=9, price_source="x"),
        ModelRow(id="large"),
    ),
    price=PriceRow(genai_prices_id="groq"),
)


def override(model: str, amount: float, provider_id: str = "groq") -> PriceOverride:
    return PriceOverride(provider_id=provider_id, model=model, rates=Rates(amount, amount), where="keyrelay.toml")


class TestOrder:
    @pytest.mark.parametrize(
        ("model", "version", "rates"),
        [
            ("small", "price page, 2026-11-21", Rates(1)),
            ("openai/gpt-oss-120b", FILE.version, Rates(0.15, 0.6, 0.075)),
        ],
    )
    def test_the_list_goes_before_the_catalogue(self, model: str, version: str, rates: Rates) -> None:
        prices, _ = prices_of(GROQ, FILE, (), private=False)
        assert prices.find(model) == Price(version, (Period(rates=rates),))
        assert prices.find("large") is None

    def test_the_operator_goes_before_both(self) -> None:
        overrides = (override("small", 3), override("*", 4), override("large", 5, "gemini"))
        prices, _ = prices_of(GROQ, FILE, overrides, private=False)
        assert prices.find("small") == simple_price(OVERRIDE, Rates(3, 3))
        assert prices.find("openai/gpt-oss-120b") == simple_price(OVERRIDE, Rates(4, 4))
        assert prices.find("large") == simple_price(OVERRIDE, Rates(4, 4))

    @pytest.mark.parametrize(("private", "price"), [(True, simple_price(LOCAL, Rates(0.0))), (False, None)])
    def test_a_server_of_the_operators_own_costs_nothing(self, private: bool, price: Price | None) -> None:
        prices, _ = prices_of(load_catalogue()["ollama"], FILE, (), private=private)
        assert prices.find("llama3.2") == price

    def test_a_local_server_that_may_hand_on_to_another_has_no_price(self, load: Load) -> None:
        provider = load(ACME_BASE_URL="http://10.0.0.1/v1", ACME_API_KEY="sk-test-1", ACME_MODELS="m").snapshot
        assert provider.providers["acme"].prices.find("m") is None


class TestUnits:
    def test_cloudflares_neurons_follow_from_its_list_prices(self) -> None:
        prices, units = prices_of(
            load_catalogue()["cloudflare"], FILE, (override("*", 0, "cloudflare"),), private=False
        )
        oss = units.find("@cf/openai/gpt-oss-120b")
        assert oss is not None
        assert oss.millionths(1_000_000, 0) / 1e6 == pytest.approx(31_818, rel=0.001)
        assert oss.millionths(0, 1_000_000) / 1e6 == pytest.approx(68_182, rel=0.001)
        assert units.find("@cf/nobody/knows") is None
        mine = prices.find("@cf/openai/gpt-oss-120b")
        assert mine is not None
        assert mine.version == OVERRIDE

    def test_figures_of_a_model_go_before_its_price(self) -> None:
        model = ModelRow(id="small", units_input_per_mtok=10, units_per_request=2)
        row = provider_row(models=(model,), price=PriceRow(genai_prices_id="groq", units_per_usd=100))
        _, units = prices_of(row, FILE, (), private=False)
        small, listed = units.find("small"), units.find("openai/gpt-oss-120b")
        assert small is not None
        assert listed is not None
        assert small.millionths(1_000_000, 5) / 1e6 == 12
        assert listed.millionths(1_000_000, 0) / 1e6 == pytest.approx(15)


class TestOverrides:
    def test_a_table_is_a_price(self, findings: Findings) -> None:
        table = {
            "groq/openai/gpt-oss-120b": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2.5},
            "acme/*": {
                "input_usd_per_mtok": 0,
                "output_usd_per_mtok": 0,
                "cached_usd_per_mtok": 0.5,
                "usd_per_request": 1,
            },
        }
        first, second = read_overrides(table, file="keyrelay.toml", findings=findings)
        assert (first.provider_id, first.model, first.rates) == ("groq", "openai/gpt-oss-120b", Rates(1, 2.5))
        assert (second.provider_id, second.model, second.rates) == ("acme", "*", Rates(0, 0, 0.5, 1))
        assert first.shown == "1 in, 2.5 out USD per million tokens"
        assert second.shown == "0 in, 0.5 cached, 0 out USD per million tokens, 1 per request"
        assert not findings.problems

    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("groq", {}, 'keyrelay.toml [prices."groq"]: does not name provider/model.'),
            ("/m", {}, 'keyrelay.toml [prices."/m"]: does not name provider/model.'),
            ("groq/ ", {}, "does not name provider/model."),
            ("groq/m", 3, "is a value, not a table. Write input_usd_per_mtok and output_usd_per_mtok below it."),
            ("groq/m", {"input_usd_per_mtok": 1}, "does not say output_usd_per_mtok. It is US dollars per million"),
            (
                "groq/m",
                {"input_usd_per_mtok": -1, "output_usd_per_mtok": 1},
                "input_usd_per_mtok: is not a number from 0",
            ),
            ("groq/m", {"input_usd_per_mtok": 1e7, "output_usd_per_mtok": 1}, "is not a number from 0 to 1000000."),
            ("groq/m", {"input_usd_per_mtok": True, "output_usd_per_mtok": 1}, "is not a number"),
            ("groq/m", {"input_usd_per_mtok": float("nan"), "output_usd_per_mtok": 1}, "is not a number"),
            ("groq/m", {"input_usd_per_mtok": "1", "output_usd_per_mtok": 1}, "is not a number"),
            (
                "groq/m",
                {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1, "cache_usd_per_mtok": 1},
                "there is no such field. Did you mean cached_usd_per_mtok?",
            ),
        ],
    )
    def test_a_problem_names_table_and_field(self, name: str, value: object, says: str, findings: Findings) -> None:
        read_overrides({name: value}, file="keyrelay.toml", findings=findings)
        (problem,) = map(str, findings.problems)
        assert says in problem

    def test_a_price_of_the_file_is_in_force_and_shown(self, load: Load, tmp_path: Path) -> None:
        text = '[prices."groq/small"]\ninput_usd_per_mtok = 0.5\noutput_usd_per_mtok = 2\n'
        (tmp_path / "keyrelay.toml").write_text(text, encoding="utf-8")
        configuration = load(GROQ_API_KEY="sk-test-1")
        price = configuration.snapshot.providers["groq"].prices.find("small")
        assert price == simple_price(OVERRIDE, Rates(0.5, 2))
        shown = [
            (each.name, each.value, each.source) for each in configuration.values if each.name.startswith("prices.")
        ]
        assert shown == [("prices.groq/small", "0.5 in, 2 out USD per million tokens", "keyrelay.toml")]

    @pytest.mark.parametrize(("provider_id", "known"), [("cohere", True), ("acme", True), ("groc", False)])
    def test_only_a_provider_that_nobody_knows_is_refused(
        self, provider_id: str, known: bool, load: Load, tmp_path: Path
    ) -> None:
        text = f'[prices."{provider_id}/m"]\ninput_usd_per_mtok = 0.5\noutput_usd_per_mtok = 2\n'
        (tmp_path / "keyrelay.toml").write_text(text, encoding="utf-8")
        acme = {"ACME_BASE_URL": "https://acme.example/v1", "ACME_API_KEY": "sk-test-2"}
        if known:
            assert load(GROQ_API_KEY="sk-test-1", **acme)
        else:
            with pytest.raises(InvalidConfiguration, match=r'"groc/m"\]: there is no such provider. Did you mean groq'):
                load(GROQ_API_KEY="sk-test-1", **acme)


PRICED = '[prices."groq/{}"]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n'


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "priced", "problem"),
        [
            ("5 usd per month@UTC", "", "limits money, but no price is known of small, large"),
            ("5 usd per month@UTC of lar*", "small", "limits money, but no price is known of large. Write"),
            ("5 usd per month@UTC of other", "", "limits money, but no price is known of any model"),
            (
                "5 units per day@UTC",
                "*",
                "counts the provider's own units, but nothing says what is taken by small, large",
            ),
        ],
    )
    def test_a_limit_that_could_never_be_kept_is_refused(
        self, limits: str, priced: str, problem: str, load: Load, tmp_path: Path
    ) -> None:
        (tmp_path / "keyrelay.toml").write_text(PRICED.format(priced) if priced else "", encoding="utf-8")
        with pytest.raises(InvalidConfiguration) as caught:
            load(GROQ_API_KEY="sk-test-1", GROQ_LIMITS=limits)
        assert f"environment GROQ_LIMITS: {problem}" in str(caught.value)

    def test_a_limit_that_leaves_some_models_out_is_said(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "keyrelay.toml").write_text(PRICED.format("small"), encoding="utf-8")
        configuration = load(GROQ_API_KEY="sk-test-1", GROQ_LIMITS="5 usd per month@UTC; 3 requests per 60s")
        assert [text for text in configuration.warnings if "money" in text] == [
            (
                "environment GROQ_LIMITS: limits money, but no price is known of large, so they are not used."
                ' Write [prices."groq/large"] with input_usd_per_mtok and output_usd_per_mtok in keyrelay.toml.'
            )
        ]

    @pytest.mark.parametrize("limits", ["5 usd per month@UTC", "5 usd per month@UTC of small", "5 requests per 60s"])
    def test_a_limit_that_can_be_kept_is_taken_in_silence(self, limits: str, load: Load, tmp_path: Path) -> None:
        (tmp_path / "keyrelay.toml").write_text(PRICED.format("*"), encoding="utf-8")
        warnings = load(GROQ_API_KEY="sk-test-1", GROQ_LIMITS=limits).warnings
        assert [text for text in warnings if "price" in text] == []


def test_the_page_has_every_field() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [field for field, meaning in PRICE_FIELDS.items() if f"| `{field}` | {meaning} |" not in page] == []
