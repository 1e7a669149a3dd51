import pytest

from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.quota.packed import PLACES, amount_at
from keyrelay.quota.values import Amounts, LimitKey


@pytest.mark.parametrize(
    ("unit", "amount"),
    [
        (Unit.REQUESTS, 1),
        (Unit.INPUT_TOKENS, 20),
        (Unit.OUTPUT_TOKENS, 3),
        (Unit.TOKENS, 23),
        (Unit.USD_MICROS, 450),
        (Unit.UNITS, 6),
    ],
)
def test_amount_of_a_unit(unit: Unit, amount: int) -> None:
    assert Amounts(requests=1, input_tokens=20, output_tokens=3, usd_micros=450, units=6).of(unit) == amount


@pytest.mark.parametrize("unit", list(Unit))
def test_packed_holds_the_amount_of_each_unit(unit: Unit) -> None:
    amounts = Amounts(requests=1, input_tokens=20, output_tokens=3, usd_micros=450, units=6)
    assert amount_at(amounts.packed, PLACES[unit]) == amounts.of(unit)


def test_limit_keys_are_equal_by_value() -> None:
    first, second = (
        LimitKey(Limit(unit=Unit.REQUESTS, amount=15, window=parse_window("60s")), ("acct:gemini/a",)) for _ in range(2)
    )
    assert first is not second
    assert {first: "found"}[second] == "found"
