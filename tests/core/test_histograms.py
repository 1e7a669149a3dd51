import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.histograms import FIRST_TOKEN_MS, LATENCY_MS, bucket, percentile

SCALES = pytest.mark.parametrize("bounds", [LATENCY_MS, FIRST_TOKEN_MS])


@SCALES
def test_bounds_rise_by_a_factor_of_about_1_6(bounds: tuple[float, ...]) -> None:
    factors = [high / low for low, high in pairwise(bounds)]
    assert all(1.55 < factor < 1.61 for factor in factors)
    assert bounds[0] == 10


def test_the_scales_end_where_requests_do() -> None:
    assert (LATENCY_MS[-1], FIRST_TOKEN_MS[-1]) == (1_000_000, 100_000)


@pytest.mark.parametrize(
    ("value", "place"), [(0, 0), (10, 0), (10.01, 1), (16, 1), (1e6, 25), (1e6 + 1, 26), (1e12, 26)]
)
def test_a_bound_belongs_to_its_own_bucket(value: float, place: int) -> None:
    assert bucket(LATENCY_MS, value) == place


@pytest.mark.parametrize(
    ("counts", "percent", "expected"),
    [
        ((0, 0, 0), 50, None),
        ((4, 0, 0), 50, 5.0),
        ((4, 0, 0), 100, 10.0),
        ((4, 0, 0), 0, 0.0),
        ((0, 4, 0), 50, math.sqrt(10 * 1000)),
        ((0, 4, 0), 100, 1000.0),
        ((1, 1, 2), 25, 10.0),
        ((1, 1, 2), 50, 1000.0),
        ((0, 0, 5), 1, 1000.0),
        ((1, 0, 3), 99, 1000.0),
    ],
)
def test_percentiles_of_simple_counts(counts: tuple[int, ...], percent: float, expected: float | None) -> None:
    assert percentile((10.0, 1000.0), counts, percent) == (None if expected is None else pytest.approx(expected))


def test_a_rank_beyond_the_total_is_the_last_bound() -> None:
    assert percentile((10.0, 1000.0), (1, 1, 0), 100.00001) == 1000.0


@SCALES
@given(
    values=st.lists(st.floats(0.01, 5e6), min_size=1, max_size=200),
    percent=st.sampled_from([1, 25, 50, 90, 95, 99, 100]),
)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(
    bounds: tuple[float, ...], values: list[float], percent: float
) -> None:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bucket(bounds, value)] += 1
    true = sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
    found = percentile(bounds, counts, percent)
    assert found is not None
    place = bucket(bounds, true)
    low = bounds[place - 1] if place else 0.0
    high = bounds[min(place, len(bounds) - 1)]
    assert min(low, high) * (1 - 1e-9) <= found <= high * (1 + 1e-9)


@given(
    counts=st.lists(st.integers(0, 50), min_size=27, max_size=27).filter(any),
    percents=st.lists(st.floats(0, 100), min_size=2, max_size=6),
)
def test_percentiles_never_fall(counts: list[int], percents: list[float]) -> None:
    found = [percentile(LATENCY_MS, counts, percent) or 0.0 for percent in sorted(percents)]
    assert all(later >= earlier * (1 - 1e-12) for earlier, later in pairwise(found))
