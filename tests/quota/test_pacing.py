import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.limits import Limit, Pacing, Unit, parse_window
from keyrelay.quota.ledger import LedgerBook, Reservation
from keyrelay.quota.pacing import next_admission_s
from keyrelay.quota.values import Amounts, LimitKey

MIDNIGHT_S = 1_793_606_400.0 - 28_800  # 2026-11-02 00:00 UTC, a Monday
DAY_S = 86_400.0


def path(amount: int, window: str, unit: Unit = Unit.REQUESTS) -> tuple[LimitKey, ...]:
    limit = Limit(unit=unit, amount=amount, window=parse_window(window), pacing=Pacing.SMOOTH)
    return (LimitKey(limit, ("acct:gemini/a", "model:flash")),)


def admissions(
    limits: tuple[LimitKey, ...], *, seconds: float, transit_s: float = 0.0, tokens: tuple[int, ...] = (0,)
) -> list[tuple[float, int]]:
    """When a caller is let in, and with how many tokens, who always asks, and if refused comes back when told."""
    book, now_s, taken = LedgerBook(), MIDNIGHT_S, list[tuple[float, int]]()
    while True:
        amount = tokens[len(taken) % len(tokens)]
        outcome = book.reserve(limits, Amounts(input_tokens=amount), now_s)
        if isinstance(outcome, Reservation):
            taken.append((now_s, amount))
            book.answered(outcome, now_s + transit_s)
            now_s += transit_s
        else:
            assert outcome.until_s is not None
            assert outcome.until_s > now_s
            now_s = outcome.until_s
        if now_s >= MIDNIGHT_S + seconds:
            return taken


class TestNextAdmission:
    def test_up_to_half_nothing_is_held_back(self) -> None:
        assert next_admission_s(1, limit=10, used=5, last_s=100.0, returns_s=160.0) == -math.inf

    def test_beyond_half_what_remains_is_spread_evenly(self) -> None:
        assert next_admission_s(1, limit=10, used=6, last_s=100.0, returns_s=150.0) == 110.0
        assert next_admission_s(1, limit=10, used=7, last_s=110.0, returns_s=150.0) == 120.0
        assert next_admission_s(1, limit=10, used=9, last_s=130.0, returns_s=150.0) == 140.0

    def test_what_takes_more_waits_longer(self) -> None:
        assert next_admission_s(20, limit=100, used=60, last_s=100.0, returns_s=160.0) == 120.0
        assert next_admission_s(40, limit=100, used=60, last_s=100.0, returns_s=160.0) == 130.0

    def test_in_a_rolling_window_the_average_pace_is_the_floor(self) -> None:
        assert next_admission_s(1, limit=9, used=5, last_s=100.0, returns_s=101.0, length_s=60.0) == 106.0

    @pytest.mark.parametrize(("amount", "last_s"), [(0, 100.0), (1, -math.inf)])
    def test_what_takes_nothing_or_is_the_first_is_let_in(self, amount: int, last_s: float) -> None:
        assert next_admission_s(amount, limit=10, used=9, last_s=last_s, returns_s=160.0) == -math.inf

    @given(
        amount=st.integers(1, 1000),
        limit=st.integers(0, 1000),
        used=st.integers(0, 3000),
        left_s=st.floats(0, 1e6),
    )
    def test_never_later_than_the_moment_at_which_something_comes_back(
        self, amount: int, limit: int, used: int, left_s: float
    ) -> None:
        assert next_admission_s(amount, limit=limit, used=used, last_s=50.0, returns_s=50.0 + left_s) <= 50.0 + left_s


class TestSmoothLimits:
    def test_a_day_is_used_at_once_to_half_and_evenly_from_there(self) -> None:
        moments = [at_s - MIDNIGHT_S for at_s, _ in admissions(path(10, "day@UTC"), seconds=DAY_S)]
        assert moments[:6] == [0.0] * 6
        assert moments[6:] == pytest.approx([DAY_S / 5 * step for step in (1, 2, 3, 4)])

    @settings(max_examples=60, deadline=None)
    @given(
        amount=st.integers(15, 200),
        window=st.sampled_from(("60s", "1h", "day@UTC", "week@UTC")),
        transit=st.floats(0, 1e-4),
    )
    def test_the_whole_amount_can_still_be_used(self, amount: int, window: str, transit: float) -> None:
        limits = path(amount, window)
        length_s = {"day@UTC": DAY_S, "week@UTC": 7 * DAY_S}.get(window) or limits[0].limit.window.length_s
        served = admissions(limits, seconds=5 * length_s, transit_s=transit * length_s / amount)
        moments = [at_s for at_s, _ in served]
        assert len(served) >= 0.99 * 5 * amount
        assert sum(at_s < MIDNIGHT_S + length_s for at_s in moments) >= 0.99 * amount

    @settings(max_examples=60, deadline=None)
    @given(
        amount=st.integers(1, 60),
        window=st.sampled_from(("5s", "60s")),
        transit_s=st.floats(0, 2),
        tokens=st.lists(st.integers(0, 30), min_size=1, max_size=10),
    )
    def test_the_limit_itself_still_holds(self, amount: int, window: str, transit_s: float, tokens: list[int]) -> None:
        fitting = (1, *(min(each, amount) for each in tokens))
        limits = path(amount, window, Unit.TOKENS)
        length_s = limits[0].limit.window.length_s
        served = admissions(limits, seconds=4 * length_s, transit_s=max(transit_s, 0.01), tokens=fitting)
        for end_s, _ in served:
            assert sum(taken for at_s, taken in served if end_s - length_s < at_s <= end_s) <= amount

    def test_bursts_of_a_rolling_window_do_not_come_again(self) -> None:
        moments = [at_s - MIDNIGHT_S for at_s, _ in admissions(path(60, "60s"), seconds=600.0, transit_s=0.001)]
        for start_s in range(60, 590):
            assert sum(start_s <= at_s < start_s + 10 for at_s in moments) <= 12
