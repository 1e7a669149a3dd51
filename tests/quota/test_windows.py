import datetime as dt

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from keyrelay.core.limits import parse_window
from keyrelay.quota.calendars import expiry_s, next_reset
from keyrelay.quota.leases import LeaseWindow
from keyrelay.quota.rolling import RollingWindow
from keyrelay.quota.windows import CalendarWindow, OnceWindow, open_window
from tests.quota.drivers import SKEW_S, TICK_S, Call, WindowAgainstAList, room

PACIFIC = parse_window("day@America/Los_Angeles")


def utc(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


MIDNIGHT_S = utc("2026-07-02 07:00")
DAY_S = 86_400.0


class CalendarAgainstAList(WindowAgainstAList):
    """A calendar window: a call leaves it at the reset after its arrival bound."""

    keeps_age = False

    @initialize(
        midnight=st.sampled_from(("2026-03-08 08:00", "2026-03-09 07:00", "2026-11-01 07:00", "2026-11-02 08:00")),
        before_ticks=st.integers(0, 128),
    )
    def begin(self, midnight: str, before_ticks: int) -> None:
        now_s = utc(midnight) - before_ticks * TICK_S
        self.begin_with(CalendarWindow(PACIFIC, now_s, SKEW_S), now_s)

    def leaves_s(self, call: Call) -> float:
        return next_reset(call.bound_s, PACIFIC)

    def free_at(self, amount: int, limit: int) -> float | None:
        """What is carried over the reset is not foreseen."""
        if amount > limit:
            return None
        fits = self.used_at(self.now_s) + amount <= limit
        return self.now_s if fits else next_reset(self.now_s, PACIFIC)

    def reset_at(self) -> float | None:
        return next_reset(self.now_s, PACIFIC) if self.used_at(self.now_s) else None

    @rule(ticks=st.sampled_from((64 * 3600, 64 * 86_400, 64 * 86_400 * 3)))
    def wait_long(self, ticks: int) -> None:
        self.now_s += ticks * TICK_S

    @rule(before_ticks=st.integers(0, 64))
    def wait_for_the_reset(self, before_ticks: int) -> None:
        self.now_s = max(self.now_s, next_reset(self.now_s, PACIFIC) - before_ticks * TICK_S)


CalendarAgainstAList.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestCalendarAgainstAList = CalendarAgainstAList.TestCase


class TestCalendarWindow:
    def window(self, before_s: float) -> CalendarWindow:
        return CalendarWindow(PACIFIC, MIDNIGHT_S - before_s, SKEW_S)

    def test_a_call_in_flight_at_the_reset_counts_in_both_periods(self) -> None:
        window = self.window(before_s=0.5)
        window.take(1, MIDNIGHT_S - 0.5)
        assert (room(window, 1, MIDNIGHT_S - 0.1), room(window, 1, MIDNIGHT_S)) == (0, 0)
        assert room(window, 1, MIDNIGHT_S + DAY_S) == 1

    def test_a_call_answered_before_the_reset_counts_in_the_old_period_only(self) -> None:
        window = self.window(before_s=0.5)
        window.answered(window.take(1, MIDNIGHT_S - 0.5), 1, MIDNIGHT_S - 0.1)
        assert room(window, 1, MIDNIGHT_S) == 1

    def test_a_call_sent_longer_ago_than_the_skew_is_not_carried_over(self) -> None:
        window = self.window(before_s=1.5)
        window.take(1, MIDNIGHT_S - 1.5)
        assert room(window, 1, MIDNIGHT_S) == 1

    def test_a_reset_noticed_late_carries_over_what_was_in_flight_then(self) -> None:
        window = self.window(before_s=0.5)
        slot = window.take(1, MIDNIGHT_S - 0.5)
        assert room(window, 2, MIDNIGHT_S + 600) == 1
        window.settle(slot, 1, 0)
        assert room(window, 2, MIDNIGHT_S + 600) == 2

    def test_what_is_carried_over_can_be_answered_and_corrected(self) -> None:
        window = self.window(before_s=0.5)
        slot = window.take(5, MIDNIGHT_S - 0.5)
        window.advance(MIDNIGHT_S + 0.1)
        slot = window.answered(slot, 5, MIDNIGHT_S + 0.1)
        window.settle(slot, 5, 7)
        assert window.used == 7

    def test_settling_in_the_next_period_leaves_it_alone(self) -> None:
        window = self.window(before_s=30)
        slot = window.answered(window.take(5, MIDNIGHT_S - 30), 5, MIDNIGHT_S - 29)
        window.advance(MIDNIGHT_S + 1)
        window.settle(slot, 5, 50)
        assert (window.used, window.reserved) == (0, 0)

    def test_a_jump_over_the_reset_and_back_adds_both_counts(self) -> None:
        window = self.window(before_s=3600)
        window.take(3, MIDNIGHT_S - 3600)
        window.advance(MIDNIGHT_S + 82_800)
        window.take(2, MIDNIGHT_S + 82_800)
        window.step_back(DAY_S, MIDNIGHT_S - 3600)
        assert window.used == 5
        assert room(window, 2, MIDNIGHT_S) == 0  # the two may have been made in that day, if the clock was right then

    def test_a_step_back_within_the_period_keeps_the_count(self) -> None:
        window = self.window(before_s=100)
        slot = window.take(3, MIDNIGHT_S - 100)
        window.step_back(900, MIDNIGHT_S - 1000)
        window.settle(window.answered(slot, 3, MIDNIGHT_S - 999.5), 3, 2)
        assert room(window, 5, MIDNIGHT_S - 1) == 3
        assert room(window, 5, MIDNIGHT_S) == 5

    def test_a_jump_back_to_a_period_long_gone_keeps_the_count(self) -> None:
        window = self.window(before_s=3600)
        slot = window.take(3, MIDNIGHT_S - 3600)
        for day in range(3):
            window.advance(MIDNIGHT_S + day * DAY_S)
        window.take(1, MIDNIGHT_S + 2 * DAY_S)
        window.step_back(3 * DAY_S, MIDNIGHT_S - DAY_S)
        window.settle(slot, 3, 0)
        assert window.used == 0

    def test_flight_records_are_bounded(self) -> None:
        window = self.window(before_s=36_000)
        for index in range(20_000):
            window.take(1, MIDNIGHT_S - 36_000 + index / 1000)
        assert window.used == 20_000
        assert len(window._pending) <= 102

    def test_idle_until_something_is_taken_and_again_after_the_reset(self) -> None:
        window = self.window(before_s=3600)
        assert window.idle(MIDNIGHT_S - 3600)
        window.take(0, MIDNIGHT_S - 3600)  # nothing yet, but settling may make it something
        assert not window.idle(MIDNIGHT_S - 1)
        assert window.idle(MIDNIGHT_S)

    def test_repr_tells_what_is_used(self) -> None:
        window = self.window(before_s=1)
        window.take(2, MIDNIGHT_S - 1)
        assert repr(window) == "<CalendarWindow day@America/Los_Angeles used=2 reserved=2>"


class TestOnceWindow:
    def test_never_resets(self) -> None:
        window = OnceWindow()
        window.take(3, MIDNIGHT_S)
        window.advance(MIDNIGHT_S + 1000 * DAY_S)
        assert room(window, 5, MIDNIGHT_S + 1000 * DAY_S) == 2
        assert window.free_at(2, 5, MIDNIGHT_S) == MIDNIGHT_S
        assert window.free_at(3, 5, MIDNIGHT_S) is None
        assert window.reset_at(MIDNIGHT_S) is None

    def test_is_corrected(self) -> None:
        window = OnceWindow()
        slot = window.answered(window.take(3, MIDNIGHT_S), 3, MIDNIGHT_S + 1)
        window.step_back(100.0, MIDNIGHT_S - 99)
        window.settle(slot, 3, 8)
        assert (window.used, window.reserved, room(window, 5, MIDNIGHT_S)) == (8, 0, 0)

    def test_is_idle_until_something_is_taken(self) -> None:
        window = OnceWindow()
        assert window.idle(MIDNIGHT_S)
        window.take(0, MIDNIGHT_S)
        assert not window.idle(MIDNIGHT_S)
        assert repr(window) == "<OnceWindow used=0 reserved=0>"


class TestExpiry:
    EXPIRY = parse_window("once:2026-07-02@America/Los_Angeles")

    def window(self) -> OnceWindow:
        return OnceWindow(expiry_s(self.EXPIRY))

    def test_nothing_fits_from_the_expiry_on(self) -> None:
        window = self.window()
        window.take(3, MIDNIGHT_S - 10)
        assert window.free_at(2, 5, MIDNIGHT_S - 0.001) == MIDNIGHT_S - 0.001
        assert [window.free_at(amount, 5, MIDNIGHT_S) for amount in (0, 1, 2)] == [None, None, None]
        assert room(window, 10**15, MIDNIGHT_S) == 0
        assert window.reset_at(MIDNIGHT_S) is None

    def test_what_was_used_can_still_be_seen_and_corrected(self) -> None:
        window = self.window()
        slot = window.take(3, MIDNIGHT_S - 10)
        window.advance(MIDNIGHT_S)
        window.settle(slot, 3, 7)
        assert (window.used_at(0), window.reserved, window.amount_in_force(10)) == (7, 0, 0)
        assert repr(window) == "<OnceWindow used=7 expired reserved=0>"

    @pytest.mark.parametrize(("back_s", "left"), [(5.0, 0), (30.0, 2)])
    def test_a_clock_that_had_run_ahead_brings_it_back(self, back_s: float, left: int) -> None:
        window = self.window()
        window.take(3, MIDNIGHT_S - 60)
        window.advance(MIDNIGHT_S + 10)
        window.step_back(back_s, MIDNIGHT_S + 10 - back_s)
        assert room(window, 5, MIDNIGHT_S + 10 - back_s) == left
        assert room(window, 5, MIDNIGHT_S + 10) == 0

    def test_what_others_used_is_counted(self) -> None:
        window = OnceWindow()
        window.add(3, MIDNIGHT_S)
        assert (room(window, 5, MIDNIGHT_S), window.reserved, window.idle(MIDNIGHT_S)) == (2, 0, False)


class TestOpenWindow:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("60s", RollingWindow),
            ("day@UTC", CalendarWindow),
            ("week@UTC", CalendarWindow),
            ("month@UTC", CalendarWindow),
            ("month:15@UTC", CalendarWindow),
            ("once", OnceWindow),
            ("once:2027-03-01@UTC", OnceWindow),
            ("concurrent", LeaseWindow),
        ],
    )
    def test_each_kind_has_its_count(self, text: str, kind: type) -> None:
        assert type(open_window(parse_window(text), MIDNIGHT_S)) is kind

    @pytest.mark.parametrize("text", ["day@Mars/Olympus", "month:15@Mars/Olympus", "once:2027-03-01@Mars/Olympus"])
    def test_an_unknown_zone_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="Mars/Olympus"):
            open_window(parse_window(text), MIDNIGHT_S)
