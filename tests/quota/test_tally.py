import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.limits import Unit
from keyrelay.quota.tally import HOURS, MINUTES, SECONDS, Tallies, Tally, busiest
from keyrelay.quota.values import Place

START_S = 1_800_000_000.0  # a whole hour
HOUR_S, DAY_S = 3600.0, 86_400.0


def noted(times: Sequence[float], **amounts: int) -> Tally:
    tally = Tally()
    for at_s in times:
        tally.note(at_s, **amounts)
    return tally


def test_each_unit_is_counted() -> None:
    tally = noted([START_S, START_S + 1], requests=1, input_tokens=100, output_tokens=20)
    counted = {unit: tally.amount_since(START_S - 1, unit, START_S + 1) for unit in Unit}
    assert counted == {
        Unit.REQUESTS: 2,
        Unit.INPUT_TOKENS: 200,
        Unit.OUTPUT_TOKENS: 40,
        Unit.TOKENS: 240,
        Unit.USD_MICROS: 0,
        Unit.UNITS: 0,
    }


def test_before_the_first_note_nothing_is_known() -> None:
    tally = Tally()
    assert (tally.requests_within(60, START_S), busiest([tally], 60, Unit.REQUESTS)) == (0, 0)
    assert tally.typical_per_h(START_S) is None
    assert tally.rate_per_s(600, Unit.REQUESTS, START_S) == 0
    assert repr(tally) == "<Tally 0 requests since inf>"


def test_the_last_two_minutes_are_exact_to_the_second() -> None:
    tally = noted([START_S + second for second in range(200)])
    now_s = START_S + 199.999
    assert [tally.requests_within(length_s, now_s) for length_s in (1, 10, 60, 119)] == [1, 10, 60, 119]


def test_where_a_window_begins_within_a_bucket_the_bucket_counts_in_proportion() -> None:
    tally = noted([START_S], requests=10)
    assert tally.requests_within(1.0, START_S + 1.25) == 7
    tally = noted([START_S + 30], requests=100)
    assert tally.requests_within(HOUR_S, START_S + HOUR_S + 45) == 25


@given(
    notes=st.lists(st.tuples(st.floats(0, 3 * HOUR_S), st.integers(0, 50)), max_size=40),
    length_s=st.sampled_from([1.0, 30.0, 60.0, 600.0, HOUR_S]),
)
def test_no_window_holds_less_than_what_lies_wholly_in_it_nor_more_than_what_touches_it(
    notes: list[tuple[float, int]], length_s: float
) -> None:
    tally, now_s = Tally(), START_S + 3 * HOUR_S
    for after_s, requests in notes:
        tally.note(START_S + after_s, requests)
    edge_s = 1.0 if length_s <= SECONDS - 1 else 60.0
    start_s = now_s - length_s
    inside = sum(requests for after_s, requests in notes if START_S + after_s >= start_s + edge_s)
    touching = sum(requests for after_s, requests in notes if START_S + after_s > start_s - edge_s)
    assert inside <= tally.requests_within(length_s, now_s) <= touching


def test_a_calendar_day_is_counted_from_its_first_hour() -> None:
    tally = noted([START_S - 1, START_S, START_S + 5 * HOUR_S, START_S + 20 * HOUR_S])
    assert tally.amount_since(START_S, Unit.REQUESTS, START_S + 21 * HOUR_S) == 3


def test_the_busiest_second_minute_and_hour() -> None:
    tally = noted([START_S, START_S, START_S + 30, START_S + 90, START_S + 2 * HOUR_S])
    other = noted([START_S + 31, START_S + 32, START_S + 2 * HOUR_S])
    assert [busiest([tally], length_s, Unit.REQUESTS) for length_s in (1, 60, 3600, 5)] == [2, 3, 4, 0]
    assert [busiest([tally, other], length_s, Unit.REQUESTS) for length_s in (1, 60, 3600)] == [2, 5, 6]
    assert busiest([], 60, Unit.REQUESTS) == 0


def test_rates_are_of_what_is_known() -> None:
    tally = noted([START_S + second for second in range(300)], requests=2, input_tokens=10)
    now_s = START_S + 300
    assert tally.rate_per_s(600, Unit.REQUESTS, now_s) == pytest.approx(2.0)
    assert tally.rate_per_s(3600, Unit.INPUT_TOKENS, now_s) == pytest.approx(10.0)
    assert noted([START_S]).rate_per_s(600, Unit.REQUESTS, START_S) == pytest.approx(1 / 60)


def test_an_hour_is_typical_from_the_second_day_on() -> None:
    tally = Tally()
    for day, requests in ((0, 6), (1, 0), (2, 12)):
        tally.note(START_S + day * DAY_S + 60, 1)
        tally.note(START_S + day * DAY_S + HOUR_S, requests)
    assert tally.typical_per_h(START_S + 1 * DAY_S + HOUR_S) is None
    assert tally.typical_per_h(START_S + 2 * DAY_S + HOUR_S) == 3
    assert tally.typical_per_h(START_S + 3 * DAY_S + HOUR_S + 59) == 6
    assert tally.typical_per_h(START_S + 3 * DAY_S + 5 * HOUR_S, Unit.TOKENS) == 0


def test_it_forgets_what_is_older_than_eight_days_and_stays_small() -> None:
    tally = Tally()
    for second in range(0, int(20 * DAY_S), 300):
        tally.note(START_S + second)
    sizes = [len(buckets) for buckets in (tally._seconds, tally._minutes, tally._hours)]
    assert all(size <= 2 * most + 1 for size, most in zip(sizes, (SECONDS, MINUTES, HOURS), strict=True))
    assert tally.requests_within(DAY_S, START_S + 20 * DAY_S) == 288


def test_late_notes_count_when_they_happened() -> None:
    tally = noted([START_S + 60, START_S])
    assert tally.amount_since(START_S - 1, Unit.REQUESTS, START_S + 30) == 1
    assert tally.amount_since(START_S - 1, Unit.REQUESTS, START_S + 60) == 2
    assert tally.since_s == START_S


def test_a_clock_that_jumped_ahead_and_back_does_no_harm() -> None:
    tally = noted([START_S, START_S + 1000 * DAY_S])
    for second in range(1000):
        tally.note(START_S + second)
    assert tally.requests_within(60, START_S + 999.999) == 60
    assert tally.requests_within(HOUR_S, START_S + 999.999) == 1001


@given(times=st.lists(st.floats(0, 5e9), max_size=300))
def test_whatever_the_clock_does_it_stays_small_and_never_raises(times: list[float]) -> None:
    tally = noted(times)
    for now_s, unit in itertools.product(times[-3:], Unit):
        assert 0 <= tally.amount_since(now_s - 60, unit, now_s) <= len(times)
    assert len(tally._seconds) <= 2 * SECONDS + 1


def place(model: str = "m") -> Place:
    return Place(provider_id="groq", account="a", key_label="a", model=model)


def test_tallies_are_found_by_name_and_by_place() -> None:
    tallies = Tallies()
    first = tallies.open("groq/a:m", place())
    other = tallies.open("groq/a:n", place("n"))
    assert tallies.open("groq/a:m", place()) is first
    assert (tallies.find("groq/a:n"), tallies.find("groq/a:o")) == (other, None)
    assert tallies.within(lambda where: where.model == "n") == {"groq/a:n": other}


def test_the_tally_that_was_opened_first_makes_room() -> None:
    tallies = Tallies(max_tallies=2)
    for name in "abc":
        tallies.open(name, place(name))
    assert list(tallies.within(lambda _: True)) == ["b", "c"]
    assert repr(tallies) == "<Tallies 2 of at most 2>"
