import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.quota.thresholds import FALL, THRESHOLDS, Crossing, Thresholds

NOW_S = 1_800_000_000.0
RESET_S = NOW_S + 3_600


def said(thresholds: Thresholds, used: int, *, key: str = "day", amount: int = 100, after_s: float = 0) -> float | None:
    """The threshold that speaks, in a period that ends an hour after NOW_S."""
    crossing = thresholds.check(key, used, amount, reset_s=RESET_S, now_s=NOW_S + after_s)
    return crossing.threshold if crossing else None


@pytest.mark.parametrize(
    ("used", "expected"),
    [(0, None), (74, None), (75, 0.75), (89, 0.75), (90, 0.90), (94, 0.90), (95, 0.95), (100, 0.95), (250, 0.95)],
)
def test_the_highest_of_those_reached_speaks(used: int, expected: float | None) -> None:
    assert said(Thresholds(), used) == expected


def test_a_crossing_says_what_was_reached() -> None:
    crossing = Thresholds().check("day", 91, 100, reset_s=RESET_S, now_s=NOW_S)
    assert crossing == Crossing(threshold=0.90, used=91, amount=100, reset_s=RESET_S)


def test_each_speaks_once_on_the_way_up() -> None:
    thresholds = Thresholds()
    spoken = [said(thresholds, used) for used in range(101)]
    assert [(used, share) for used, share in enumerate(spoken) if share] == [(75, 0.75), (90, 0.90), (95, 0.95)]


def test_after_the_highest_the_lower_ones_are_silent() -> None:
    thresholds = Thresholds()
    assert said(thresholds, 96) == 0.95
    assert [said(thresholds, used) for used in (92, 91, 95, 99)] == [None] * 4


@pytest.mark.parametrize(
    ("lowest", "again"),
    [(91, None), (90, None), (89, 0.95), (70, 0.95)],
    ids=["not fallen far enough", "exactly five points below", "below", "far below"],
)
def test_a_threshold_speaks_again_after_a_fall_of_five_points(lowest: int, again: float | None) -> None:
    thresholds = Thresholds()
    assert said(thresholds, 97) == 0.95
    assert said(thresholds, lowest) is None
    assert said(thresholds, 97) == again


def test_after_a_deep_fall_all_speak_again() -> None:
    thresholds = Thresholds()
    assert said(thresholds, 97) == 0.95
    assert said(thresholds, 10) is None
    assert [said(thresholds, used) for used in (76, 91, 96)] == [0.75, 0.90, 0.95]


def test_after_the_reset_all_speak_again_and_not_a_moment_before() -> None:
    thresholds = Thresholds()
    assert said(thresholds, 80) == 0.75
    assert said(thresholds, 80, after_s=3_599) is None
    assert said(thresholds, 80, after_s=3_600) == 0.75


def test_the_period_is_that_of_the_first_crossing() -> None:
    thresholds = Thresholds()
    assert said(thresholds, 80) == 0.75
    later = thresholds.check("day", 92, 100, reset_s=RESET_S + 500, now_s=NOW_S + 10)
    assert later is not None
    assert said(thresholds, 92, after_s=3_600) == 0.90


def test_without_a_period_only_a_fall_lets_it_speak_again() -> None:
    thresholds = Thresholds()
    for used, at_s, spoken in [(80, 0, True), (80, 10**9, False), (60, 10**9, False), (80, 10**9, True)]:
        crossing = thresholds.check("minute", used, 100, reset_s=None, now_s=NOW_S + at_s)
        assert (crossing is not None) is spoken


def test_counts_are_told_apart() -> None:
    thresholds = Thresholds()
    assert said(thresholds, 80, key="a") == 0.75
    assert said(thresholds, 80, key="b") == 0.75
    assert said(thresholds, 80, key="a") is None


def test_a_limit_of_nothing_has_no_shares() -> None:
    assert said(Thresholds(), 5, amount=0) is None


def test_a_larger_amount_counts_as_a_fall() -> None:
    thresholds = Thresholds()
    assert said(thresholds, 95) == 0.95
    assert said(thresholds, 95, amount=1_000) is None
    assert said(thresholds, 800, amount=1_000) == 0.75


def test_shares_can_be_chosen_in_any_order() -> None:
    thresholds = Thresholds((0.5, 0.1, 0.5))
    assert [said(thresholds, used) for used in (9, 10, 50)] == [None, 0.1, 0.5]
    assert said(Thresholds(()), 100) is None


@pytest.mark.parametrize("shares", [(0.0,), (0.5, 1.1), (-0.5,), (75.0,)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="not all above 0 and at most 1"):
        Thresholds(shares)


def test_memory_is_bounded_and_the_longest_silent_is_forgotten() -> None:
    thresholds = Thresholds(most=2)
    for key, used in (("a", 80), ("b", 80), ("a", 92), ("c", 80)):
        assert said(thresholds, used, key=key) is not None
    assert repr(thresholds) == "<Thresholds 75%, 90%, 95%: 2 counts above>"
    assert said(thresholds, 92, key="a") is None
    assert said(thresholds, 80, key="b") == 0.75


def test_what_is_below_is_not_remembered() -> None:
    thresholds = Thresholds()
    for number in range(100):
        said(thresholds, 50, key=f"quiet {number}")
    said(thresholds, 80)
    said(thresholds, 20)
    assert repr(thresholds) == "<Thresholds 75%, 90%, 95%: 0 counts above>"


@given(st.lists(st.integers(0, 1_000), max_size=60))
def test_between_two_words_of_one_threshold_use_has_fallen_below_it(course: list[int]) -> None:
    thresholds = Thresholds()
    lowest_since: dict[float, int] = {}
    for used in course:
        for share, lowest in lowest_since.items():
            lowest_since[share] = min(lowest, used)
        crossing = thresholds.check("month", used, 1_000, reset_s=None, now_s=NOW_S)
        if crossing is not None:
            assert crossing.threshold == max(share for share in THRESHOLDS if used >= share * 1_000)
            assert lowest_since.get(crossing.threshold, 0) < (crossing.threshold - FALL) * 1_000 + 1e-6
            lowest_since[crossing.threshold] = used
