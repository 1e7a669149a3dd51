import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.prices import (
    MAX_FOUND,
    MILLION,
    NO_PRICES,
    Period,
    Price,
    PriceList,
    Rates,
    Tier,
    rounded_up,
    simple_price,
)

DAY_S = 86_400
tokens = st.integers(0, 10**7)
rates = st.builds(
    Rates,
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
    st.floats(0, 1),
)


def price(amount: float, version: str = "list") -> Price:
    return simple_price(version, Rates(amount, amount))


class TestPrice:
    @given(rates, tokens, tokens)
    def test_a_simple_price_is_rates_times_tokens(self, rates: Rates, input_tokens: int, output_tokens: int) -> None:
        expected = (input_tokens * rates.input + output_tokens * rates.output) / MILLION + rates.request
        for at_s in (None, 0.0, 1.8e9):
            cost = simple_price("v", rates).millionths(input_tokens, output_tokens, at_s) / MILLION
            assert cost == pytest.approx(expected)

    @pytest.mark.parametrize(("cached", "expected"), [(None, 1000.0), (0.1, 1000 - 400 * 0.9), (0.0, 600.0)])
    def test_cached_input_costs_its_own_rate_if_there_is_one(self, cached: float | None, expected: float) -> None:
        given_price = simple_price("v", Rates(1.0, 2.0, cached))
        assert given_price.millionths(1000, 0, 0.0, cached_tokens=400) == pytest.approx(expected)

    @pytest.mark.parametrize(("input_tokens", "rate"), [(0, 1), (100, 1), (101, 3), (200, 3), (201, 7)])
    def test_all_tokens_of_a_long_prompt_cost_its_tier(self, input_tokens: int, rate: float) -> None:
        tiers = (Tier(100, Rates(3, 3)), Tier(200, Rates(7, 7)))
        tiered = Price("v", (Period(rates=Rates(1, 1), tiers=tiers),))
        assert tiered.millionths(input_tokens, 10, 0.0) == rate * (input_tokens + 10)

    @pytest.mark.parametrize(
        ("at_s", "rate"),
        [
            (0.0, 1),
            (10 * DAY_S - 1, 1),
            (10 * DAY_S, 2),
            (12 * DAY_S + 3599, 2),
            (12 * DAY_S + 3600, 3),
            (12 * DAY_S + 7199, 3),
            (12 * DAY_S + 7200, 2),
            (12 * DAY_S + 79_200, 4),
            (13 * DAY_S + 1, 4),
            (13 * DAY_S + 600, 2),
        ],
    )
    def test_the_last_period_that_holds_counts(self, at_s: float, rate: float) -> None:
        changing = Price(
            "v",
            (
                Period(rates=Rates(1)),
                Period(rates=Rates(2), since_s=10 * DAY_S),
                Period(rates=Rates(3), hours=(3600, 7200), since_s=10 * DAY_S),
                Period(rates=Rates(4), hours=(79_200, 600), since_s=12 * DAY_S),  # over midnight
            ),
        )
        assert changing.millionths(1, 0, at_s) == rate
        assert changing.base(at_s) == Rates(rate)
        assert changing.millionths(1, 0) == 4

    @given(st.lists(rates, min_size=1, max_size=4), tokens, tokens, st.floats(0, 2e9))
    def test_without_a_time_it_is_never_too_cheap(
        self, each: list[Rates], input_tokens: int, output_tokens: int, at_s: float
    ) -> None:
        periods = tuple(Period(rates=one, since_s=number * 4e8 - math.ulp(0)) for number, one in enumerate(each))
        changing = Price("v", periods)
        known = changing.millionths(input_tokens, output_tokens, at_s)
        assert changing.millionths(input_tokens, output_tokens) >= known

    def test_the_same_in_units(self) -> None:
        dollars = Price(
            "v",
            (Period(rates=Rates(1, 2, 0.5, 0.25), tiers=(Tier(9, Rates(3, 4)),), since_s=-math.inf, hours=(0, 60)),),
        )
        scaled = Period(rates=Rates(10, 20, 5, 2.5), tiers=(Tier(9, Rates(30, 40)),), hours=(0, 60))
        assert dollars.scaled(10) == Price("v", (scaled,))


@pytest.mark.parametrize(
    ("amount", "counted"), [(0, 0), (0.000_000_1, 0), (0.1, 1), (1.0000000000000002, 1), (2.5, 3), (7, 7)]
)
def test_a_part_of_one_is_one(amount: float, counted: int) -> None:
    assert rounded_up(amount) == counted


LISTED = PriceList(
    {
        "GPT-5": price(1),
        "gpt-5-mini": price(2),
        "gpt-4o-2024-05-13": price(3),
        "compact-20250101": price(4),
        "claude-opus-4*": price(5),
        "claude-opus-4-5*": price(6),
        "*moderation*": price(7),
        "*-free": price(8),
        "a*b*c*d": price(9),
        "speech*": price(10),
        "speech*-tts*": None,
        "speech-live": None,
        "deep-r1*": price(11),
    }
)


class TestPriceList:
    @pytest.mark.parametrize(
        ("name", "rate"),
        [
            ("gpt-5", 1),
            ("Gpt-5", 1),
            ("models/gpt-5", 1),
            ("gpt-5-2026-08-06", 1),
            ("gpt-5-20260806", 1),
            ("gpt-5@20260806", 1),
            ("models/gpt-5-2026-08-06", 1),
            ("gpt-5-2026-08-06:batch", None),
            ("gpt-5-2026-18-06", None),
            ("gpt-5-turbo", None),
            ("gpt-5-mini-2026-08-06", 2),
            ("gpt-4o-2024-05-13", 3),
            ("gpt-4o-20240513", 3),
            ("gpt-4o", None),
            ("compact-2025-01-01", 4),
            ("claude-opus-4", 5),
            ("claude-opus-4-1", 5),
            ("claude-opus-4-5-20251101", 6),
            ("omni-moderation-latest", 7),
            ("moderation", 7),
            ("llama-free", 8),
            ("-free", 8),
            ("axbxcxd", 9),
            ("abcd", 9),
            ("abdc", None),
            ("acbd", None),
            ("ab", None),
            ("speech-1", 10),
            ("speech-1-tts-2", None),
            ("speech-live", None),
            ("deep-r1-2025-01-20", 11),
            ("", None),
        ],
    )
    def test_a_name_finds_the_truest_price(self, name: str, rate: float | None) -> None:
        for _ in range(2):  # the second time from memory
            assert LISTED.find(name) == (None if rate is None else price(rate))

    def test_what_is_missing_is_looked_up_below(self) -> None:
        upper = PriceList({"a": price(1), "none": None}, PriceList({"a": price(2), "b": price(3), "none": price(4)}))
        assert [upper.find(name) for name in ("a", "b", "c", "none")] == [price(1), price(3), None, price(4)]

    def test_a_list_in_units_has_the_same_names(self) -> None:
        below = PriceList({"b*": price(2), "x": None})
        scaled = PriceList({"a": price(1)}, below).scaled(100)
        assert [scaled.find(name) for name in ("a", "bb", "x")] == [price(100), price(200), None]
        assert PriceList({}).scaled(2).below is None

    def test_it_remembers_a_bounded_number_of_names(self) -> None:
        prices = PriceList({"a*": price(1)})
        for number in range(MAX_FOUND + 5):
            assert prices.find(f"a{number}") == price(1)
        assert len(prices._found) <= MAX_FOUND

    def test_it_says_how_much_it_holds(self) -> None:
        assert not NO_PRICES
        assert not PriceList({}, NO_PRICES)
        assert PriceList({}, LISTED)
        assert PriceList({"a*": price(1)})
        assert repr(PriceList({"a": price(1)}, LISTED)) == "<PriceList of 1 over <PriceList of 13>>"
