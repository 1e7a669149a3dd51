from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.limits import Limit, ScopePart, Unit, parse_window
from keyrelay.replay.oracle import Oracle, Place
from keyrelay.replay.trace import TraceRequest
from keyrelay.simulator.limits import Meter, Scope

T0_S = 1_794_816_000.0


def limit(amount: int, unit: Unit = Unit.REQUESTS, window: str = "60s") -> Limit:
    return Limit(unit=unit, amount=amount, window=parse_window(window), scope=(ScopePart.ACCOUNT, ScopePart.MODEL))


def asked(at_s: float, **fields: Any) -> TraceRequest:
    given = {"model": "m", "input_tokens": 10, "output_tokens": 5, "deadline_s": 30.0, **fields}
    return TraceRequest(at_s=at_s, **given)


def answerable(requests: Sequence[TraceRequest], limits: Sequence[Limit], keys: int = 1, **place: Any) -> list[bool]:
    places = [Place(Scope("p", f"k{n}", f"k{n}", "m"), **place) for n in range(keys)]
    oracle = Oracle({"p": [Meter(each) for each in limits]}, lambda _: places, longest_wait_s=100.0)
    return oracle.answerable(requests, T0_S)


def test_without_limits_everything_can_be_answered() -> None:
    assert answerable([asked(0.0)] * 50, []) == [True] * 50


def test_without_a_key_nothing_can() -> None:
    assert answerable([asked(0.0)] * 3, [], keys=0) == [False] * 3


@pytest.mark.parametrize(("keys", "expected"), [(1, 5), (2, 10), (3, 12)])
def test_of_a_minutes_demand_the_limit_times_the_keys(keys: int, expected: int) -> None:
    assert sum(answerable([asked(0.0)] * 12, [limit(5)], keys=keys)) == expected


@pytest.mark.parametrize(("deadline_s", "expected"), [(59.0, 5), (60.0, 10), (119.0, 10), (120.0, 12), (None, 10)])
def test_who_can_wait_is_served_when_the_window_moves_on(deadline_s: float | None, expected: int) -> None:
    assert sum(answerable([asked(0.0, deadline_s=deadline_s)] * 12, [limit(5)])) == expected


def test_the_first_to_come_is_served_first() -> None:
    requests = [asked(0.0), asked(1.0), asked(2.0, deadline_s=100)]
    assert answerable(requests, [limit(1)]) == [True, False, True]


def test_all_limits_count_with_the_true_sizes() -> None:
    requests = [
        asked(0.0, input_tokens=60, output_tokens=20),
        asked(0.0, input_tokens=10, output_tokens=11),
        asked(0.0),
    ]
    assert answerable(requests, [limit(10), limit(100, Unit.TOKENS)]) == [True, False, True]
    assert answerable(requests, [limit(80, Unit.INPUT_TOKENS)]) == [True, True, True]
    assert answerable(requests, [limit(30, Unit.OUTPUT_TOKENS)]) == [True, False, True]


def test_a_request_larger_than_a_limit_or_the_context_never_fits() -> None:
    assert answerable([asked(0.0, input_tokens=101), asked(0.0)], [limit(100, Unit.TOKENS)]) == [False, True]
    assert answerable([asked(0.0, input_tokens=101), asked(0.0)], [], context_tokens=100) == [False, True]


def test_a_day_ends_where_the_provider_says() -> None:
    day = limit(1, window="day@America/Los_Angeles")
    late = [asked(0.0), asked(80_000.0), asked(86_390.0, deadline_s=20.0)]
    assert answerable(late, [day]) == [True, False, True]


def test_a_quota_that_has_expired_serves_nobody() -> None:
    once = limit(10, window="once:2026-11-17@America/Los_Angeles")
    assert answerable([asked(0.0), asked(86_000.0), asked(86_500.0)], [once]) == [True, True, False]


def test_a_providers_own_unit_is_one_a_request() -> None:
    assert sum(answerable([asked(0.0)] * 5, [limit(3, Unit.UNITS)])) == 3


def test_a_key_that_does_not_work_serves_nobody_until_it_does() -> None:
    requests = [asked(0.0), asked(95.0)]
    assert answerable(requests, [], from_s=float("inf")) == [False, False]
    assert answerable(requests, [], from_s=T0_S + 100) == [False, True]


requests_drawn = st.lists(
    st.builds(
        asked,
        st.integers(0, 200).map(float),
        input_tokens=st.integers(1, 40),
        output_tokens=st.integers(0, 20),
        deadline_s=st.integers(1, 90).map(float),
    ),
    max_size=40,
).map(lambda drawn: sorted(drawn, key=lambda request: request.at_s))


@settings(deadline=None)
@given(requests_drawn, st.integers(1, 6), st.integers(40, 120))
def test_it_never_gets_less_by_a_further_key_or_for_one_size_by_a_larger_limit(
    requests: list[TraceRequest], count: int, tokens: int
) -> None:
    one = sum(answerable(requests, [limit(count)]))
    assert one <= sum(answerable(requests, [limit(count)], keys=2)) <= len(requests)
    assert one <= sum(answerable(requests, [limit(count + 1)]))
    assert sum(answerable(requests, [limit(count), limit(tokens, Unit.TOKENS)])) <= len(requests)


@settings(deadline=None)
@given(requests_drawn, st.integers(1, 6))
def test_with_one_limit_on_requests_it_is_the_best_there_is(requests: list[TraceRequest], count: int) -> None:
    """Equal sizes and deadlines: then to serve each at the first free moment cannot be bettered."""
    equal = [asked(request.at_s, deadline_s=30.0) for request in requests]
    starts: list[float] = []
    for request in equal:
        start_s = request.at_s if len(starts) < count else max(request.at_s, starts[-count] + 60)
        if start_s <= request.at_s + 30:
            starts.append(start_s)
    assert sum(answerable(equal, [limit(count)])) == len(starts)
