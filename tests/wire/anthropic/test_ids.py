import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.wire.anthropic.ids import PREFIX, fitted, original

ids = st.text(st.characters(codec="utf-8"), max_size=40) | st.from_regex(rf"{PREFIX}[a-zA-Z0-9_-]*", fullmatch=True)


@pytest.mark.parametrize("call_id", ["toolu_01A09q90qw90lq917835lq9", "call_abc", "a-b_C9"])
def test_an_id_that_fits_is_kept(call_id: str) -> None:
    assert fitted(call_id) == original(call_id) == call_id


def test_one_that_does_not_is_held_in_one_that_does() -> None:
    assert fitted("functions.get_weather:0") == "toolu_kr64_ZnVuY3Rpb25zLmdldF93ZWF0aGVyOjA"
    assert original("toolu_kr64_ZnVuY3Rpb25zLmdldF93ZWF0aGVyOjA") == "functions.get_weather:0"
    assert original(fitted("")) == ""


@pytest.mark.parametrize(
    "call_id", [PREFIX + "A", PREFIX + "_w", PREFIX + "YWJ", PREFIX + "Y", PREFIX + "YWJj", PREFIX + "a.b"]
)
def test_one_that_only_looks_like_it_is_itself(call_id: str) -> None:
    assert original(call_id) == call_id


@given(ids)
def test_every_id_comes_back(call_id: str) -> None:
    there = fitted(call_id)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", there)
    assert original(there) == call_id


@given(ids, ids)
def test_two_ids_stay_two(one: str, other: str) -> None:
    assert (fitted(one) == fitted(other)) == (one == other)
