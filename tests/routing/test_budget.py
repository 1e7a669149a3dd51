import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.routing.budget import RetryBudget, backoff_s
from keyrelay.routing.retries import RetrySettings
from tests.routing.helpers import NOW_S

SETTINGS = RetrySettings()


def budget(*, requests: int = 0, percent: float = 10.0, floor: int = 3) -> RetryBudget:
    made = RetryBudget(RetrySettings(percent=percent, floor=floor))
    for _ in range(requests):
        made.count_request(NOW_S)
    return made


def taken(from_budget: RetryBudget, now_s: float = NOW_S) -> int:
    """How many retries it gives before it is spent."""
    count = 0
    while from_budget.take(now_s):
        count += 1
    return count


@pytest.mark.parametrize(("requests", "retries"), [(0, 3), (1, 3), (30, 3), (39, 3), (40, 4), (100, 10), (1000, 100)])
def test_a_tenth_of_the_traffic_and_never_less_than_three(requests: int, retries: int) -> None:
    spent = budget(requests=requests)
    assert taken(spent) == retries
    assert repr(spent) == f"<RetryBudget {retries} retries of {requests} requests>"


def test_the_shares_are_settings() -> None:
    assert taken(budget(requests=100, percent=50.0, floor=1)) == 50
    assert taken(budget(requests=0, percent=50.0, floor=0)) == 0


@pytest.mark.parametrize(("later_s", "retries"), [(0.0, 0), (9.0, 0), (9.99, 0), (10.0, 3), (1e6, 3), (-1.0, 3)])
def test_it_is_as_new_ten_seconds_later_or_when_the_clock_goes_back(later_s: float, retries: int) -> None:
    spent = budget(requests=100)
    assert taken(spent) == 10
    assert taken(spent, NOW_S + later_s) == retries


def test_it_comes_back_second_by_second() -> None:
    spent = RetryBudget(RetrySettings(floor=0))
    for second in range(10):
        for _ in range(10):
            spent.count_request(NOW_S + second)
        assert spent.take(NOW_S + second)
    assert not spent.take(NOW_S + 9)
    assert repr(spent) == "<RetryBudget 10 retries of 100 requests>"
    spent.count_request(NOW_S + 12)  # the first three seconds are no longer recent
    assert repr(spent) == "<RetryBudget 7 retries of 71 requests>"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=60))
def test_no_traffic_gets_more_than_its_share(events: list[tuple[bool, float]]) -> None:
    made = RetryBudget(SETTINGS)
    now_s, requests, retries = NOW_S, list[float](), list[float]()
    for is_request, passed_s in events:
        now_s += passed_s
        if is_request:
            made.count_request(now_s)
            requests.append(now_s)
        elif made.take(now_s):
            retries.append(now_s)
            recent = sum(int(at) > int(now_s) - 10 for at in requests)
            assert sum(int(at) > int(now_s) - 10 for at in retries) <= max(3, recent / 10)


@pytest.mark.parametrize(
    ("retry", "random", "wait_s"),
    [
        (1, 1.0, 0.1),
        (2, 1.0, 0.2),
        (3, 1.0, 0.4),
        (3, 0.5, 0.2),
        (6, 1.0, 3.2),
        (7, 1.0, 5.0),
        (1000, 1.0, 5.0),
        (5, 0.0, 0.0),
    ],
)
def test_backing_off_doubles_up_to_a_bound_with_full_jitter(retry: int, random: float, wait_s: float) -> None:
    assert backoff_s(retry, SETTINGS, random) == pytest.approx(wait_s)
