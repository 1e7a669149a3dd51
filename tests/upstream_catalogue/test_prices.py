"""The price list says what genai-prices says, and is quick and small."""

import datetime as dt
import time
import tracemalloc
from importlib.metadata import version
from importlib.resources import files

import pytest
from genai_prices import types
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.prices import PriceList
from keyrelay.core.providers import ProviderRow
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.upstream.catalogue.prices import load_price_file
from tests.upstream_catalogue.price_making import ROUTER, price_file

PROVIDERS = {provider.id: provider for provider in providers}
CATALOGUE = load_catalogue()
IDS = sorted({row.price.genai_prices_id for row in CATALOGUE.values()} - {"", ROUTER})
FILE = load_price_file()
LISTS = {name: FILE.prices_of(name) for name in (*IDS, ROUTER)}
TEXT = {"input_mtok", "output_mtok", "cache_read_mtok", "requests_kcount"}
PLAIN = TEXT | {"cache_write_mtok", "cache_write_1h_mtok", "web_searches_kcount", "storage_searches_kcount"}
LOAD_LIMIT_S = 0.015
MEMORY_LIMIT_BYTES = 3_000_000
SUFFIXES = ("", "-2026-08-06", "-20260806")
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def names_of(match: types.MatchLogic) -> list[str]:
    if isinstance(match, types.ClauseOr):
        return [name for part in match.or_ for name in names_of(part)]
    if isinstance(match, types.ClauseAnd):
        return names_of(match.and_[0])
    if isinstance(match, types.ClauseRegex):
        return []
    return [str(next(iter(vars(match).values())))]


def models() -> list[tuple[str, str]]:
    return [(name, text) for name in IDS for model in PROVIDERS[name].models for text in names_of(model.match)]


def theirs(provider_id: str, name: str) -> types.ModelInfo | None:
    return PROVIDERS[provider_id].find_model(name, all_providers=providers)


def their_cost(provider_id: str, model: types.ModelInfo, tokens: tuple[int, int, int], at: dt.datetime) -> float:
    usage = types.Usage(input_tokens=tokens[0], output_tokens=tokens[1], cache_read_tokens=tokens[2])
    return float(model.calc_price(usage, PROVIDERS[provider_id], genai_request_timestamp=at).total_price)


def is_plain(model: types.ModelInfo, at: dt.datetime) -> bool:
    """Whether text tokens are all that its price is about."""
    prices = model.get_prices(at)._comparable_values()
    return "input_mtok" in prices and prices.keys() <= PLAIN


def test_the_file_is_what_the_locked_genai_prices_gives() -> None:
    file = load_price_file()
    assert file.version == f"genai-prices {version('genai-prices')}", "run scripts/prices"
    shipped = sorted(file.providers)
    assert shipped == sorted({*IDS, ROUTER, "moonshotai"})
    made = (files("keyrelay.upstream.catalogue") / "prices.json").read_bytes()
    assert made == price_file(), "run scripts/prices"


def test_every_name_costs_what_genai_prices_says() -> None:
    compared, different = 0, []
    for provider_id, listed in models():
        for suffix in SUFFIXES:
            name = listed + suffix
            model = theirs(provider_id, name)
            price = LISTS[provider_id].find(name)
            if model is None or not is_plain(model, NOW):
                continue
            compared += 1
            tokens = (1000, 500, 0)
            expected = their_cost(provider_id, model, tokens, NOW)
            cost = None if price is None else price.millionths(*tokens[:2], NOW.timestamp()) / 1e6
            if cost != pytest.approx(expected, rel=1e-9):
                different.append((provider_id, name, model.id, expected, cost))
    assert different == []
    assert compared > 1500


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(models()),
    st.integers(0, 2_000_000),
    st.integers(0, 200_000),
    st.floats(0, 1),
    st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 12, 31), timezones=st.just(dt.UTC)),  # noqa: DTZ001
)
def test_costs_agree_for_every_size_and_time(
    listed: tuple[str, str], input_tokens: int, output_tokens: int, share: float, at: dt.datetime
) -> None:
    provider_id, name = listed
    model = theirs(provider_id, name)
    price = LISTS[provider_id].find(name)
    if model is None or price is None or not is_plain(model, at):
        return
    cached_tokens = int(input_tokens * share)
    expected = their_cost(provider_id, model, (input_tokens, output_tokens, cached_tokens), at)
    cost = price.millionths(input_tokens, output_tokens, at.timestamp(), cached_tokens=cached_tokens) / 1e6
    assert cost == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_model_that_is_not_paid_for_by_text_has_no_price() -> None:
    spoken = [
        (provider_id, name)
        for provider_id, name in models()
        if (model := theirs(provider_id, name)) is not None
        and "input_mtok" not in (values := model.get_prices(NOW)._comparable_values())
        and values
    ]
    assert len(spoken) > 20
    assert [(provider_id, name) for provider_id, name in spoken if LISTS[provider_id].find(name) is not None] == []


@pytest.mark.parametrize(
    ("provider_id", "name"),
    [
        ("google", "gemini-3.8-flash-tts-2027"),
        ("google", "gemini-2.5-pro-next-tts"),
        ("openai", "whisper-1"),
        ("openai", "gpt-99"),
        (ROUTER, "openai/gpt-oss-120b"),
    ],
)
def test_no_price_is_guessed(provider_id: str, name: str) -> None:
    assert LISTS[provider_id].find(name) is None


def test_the_routers_models_cost_what_their_host_takes() -> None:
    price = LISTS[ROUTER].find("openai/gpt-oss-120b:together")
    assert price is not None
    assert (price.base(NOW.timestamp()).input, price.base(NOW.timestamp()).output) == (0.15, 0.6)


def test_loading_is_quick_and_small() -> None:
    def measured() -> float:
        begin = time.perf_counter()
        file = load_price_file()
        assert all(file.prices_of(name) for name in file.providers)
        return time.perf_counter() - begin

    assert min(measured() for _ in range(5)) < LOAD_LIMIT_S
    tracemalloc.start()
    try:
        file = load_price_file()
        kept = [file.prices_of(name) for name in file.providers]
        assert tracemalloc.get_traced_memory()[0] < MEMORY_LIMIT_BYTES
        assert len(kept) == len(file.providers)
    finally:
        tracemalloc.stop()


def test_a_provider_that_is_not_listed_has_what_is_below() -> None:
    below = PriceList({"a": None})
    assert FILE.prices_of("", below) is below
    assert not FILE.prices_of("nobody")


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_the_catalogue_shows_no_other_price_than_the_list(row: ProviderRow) -> None:
    file = load_price_file()
    assert row.price.genai_prices_id in {"", *file.providers}
    listed = file.prices_of(row.price.genai_prices_id)
    for model in row.models:
        price = listed.find(model.id)
        if price is not None and model.price_input_usd_per_mtok is not None:
            shown = (model.price_input_usd_per_mtok, model.price_output_usd_per_mtok)
            bases = [(period.rates.input, period.rates.output) for period in price.periods]
            assert any(base[0] == shown[0] and shown[1] in {None, base[1]} for base in bases), model.id
