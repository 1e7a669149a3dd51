from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Unit
from keyrelay.quota.packed import (
    BELOW_ZERO,
    INPUT_TOKEN,
    MOST,
    OUTPUT_TOKEN,
    PLACES,
    UNIT,
    USD_MICRO,
    amount_at,
    at_least_zero,
    packed_limits,
    written,
)

AMOUNT = st.integers(0, MOST << 24)  # as much as a place is said to hold
AMOUNTS = st.fixed_dictionaries(dict.fromkeys(Unit, AMOUNT))


def packed(amounts: dict[Unit, int]) -> int:
    return sum(amount << PLACES[unit] for unit, amount in amounts.items())


@given(parts=st.tuples(AMOUNT, AMOUNT, AMOUNT, AMOUNT, AMOUNT))
def test_each_unit_is_counted_at_its_place(parts: tuple[int, int, int, int, int]) -> None:
    requests, input_tokens, output_tokens, usd_micros, units = parts
    total = requests + input_tokens * INPUT_TOKEN + output_tokens * OUTPUT_TOKEN + usd_micros * USD_MICRO + units * UNIT
    amounts = [amount_at(total, place) for place in PLACES.values()]
    assert amounts == [requests, input_tokens, output_tokens, input_tokens + output_tokens, usd_micros, units]


@given(limits=st.dictionaries(st.sampled_from(Unit), AMOUNT), used=AMOUNTS)
def test_one_comparison_tells_whether_any_limit_is_exceeded(limits: dict[Unit, int], used: dict[Unit, int]) -> None:
    exceeded = any(used[unit] > limit for unit, limit in limits.items())
    assert bool(packed_limits(limits) - packed(used) & BELOW_ZERO) is exceeded


@given(more=AMOUNTS, less=AMOUNTS)
def test_what_is_below_zero_becomes_zero_and_the_rest_stays(more: dict[Unit, int], less: dict[Unit, int]) -> None:
    expected = packed({unit: max(0, more[unit] - less[unit]) for unit in Unit})
    assert at_least_zero(packed(more) - packed(less)) == expected


def test_is_written_as_amounts() -> None:
    assert written(3) == "3"
    assert written(3 + 40 * INPUT_TOKEN + 2 * OUTPUT_TOKEN) == "3/40/2/42"
    assert written(3 + 7 * USD_MICRO) == "3/0/0/0/7/0"
