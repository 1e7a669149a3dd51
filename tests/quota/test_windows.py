import datetime as dt

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyrelay.core.limits import parse_window
from keyrelay.quota.calendars import next_reset, period_start
from keyrelay.quota.rolling import RollingWindow, Slot
from keyrelay.quota.windows import CalendarWindow, OnceWindow, open_window

TICK_S = 1 / 64  # exact in binary, and longer than a slot's span
SKEW_S = 1.0
PACIFIC = parse_window("day@America/Los_Angeles")


def utc(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


MIDNIGHT_S = utc("2026-07-02 07:00")
DAY_S = 86_400.0


class Call:
    """A call as the naive model sees it."""

    def __init__(self, slot: Slot, sent_s: float, amount: int) -> None:
        self.slot = slot
        self.bound_s = sent_s + SKEW_S
        self.amount = amount
        self.answered = False
        self.settled = False


class CalendarAgainstAList(RuleBasedStateMachine):
    """A calendar window and a plain list of all calls agree at all times, before and after resets."""

    @initialize(
        midnight=st.sampled_from(("2026-03-08 08:00", "2026-03-09 07:00", "2026-11-01 07:00", "2026-11-02 08:00")),
        before_ticks=st.integers(0, 128),
    )
    def begin(self, midnight: str, before_ticks: int) -> None:
        self.now_s = utc(midnight) - before_ticks * TICK_S
        self.window = CalendarWindow(PACIFIC, self.now_s, SKEW_S)
        self.calls: list[Call] = []

    @rule(ticks=st.one_of(st.integers(0, 70), st.sampled_from((64 * 3600, 64 * 86_400, 64 * 86_400 * 3))))
    def wait(self, ticks: int) -> None:
        self.now_s += ticks * TICK_S

    @rule(before_ticks=st.integers(0, 64))
    def wait_for_the_reset(self, before_ticks: int) -> None:
        self.now_s = max(self.now_s, next_reset(self.now_s, PACIFIC) - before_ticks * TICK_S)

    @rule(amount=st.integers(0, 5))
    def take(self, amount: int) -> None:
        self.window.advance(self.now_s)
        self.calls.append(Call(self.window.take(amount, self.now_s), self.now_s, amount))

    @precondition(lambda self: any(not call.answered for call in self.calls))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.answered]))
        self.window.advance(self.now_s)
        call.slot = self.window.answered(call.slot, call.amount, self.now_s)
        call.bound_s = min(call.bound_s, self.now_s)
        call.answered = True

    @precondition(lambda self: any(not call.settled for call in self.calls))
    @rule(data=st.data(), amount=st.integers(0, 9))
    def settle(self, data: st.DataObject, amount: int) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if not call.settled]))
        self.window.advance(self.now_s)
        self.window.settle(call.slot, call.amount, amount)
        call.settled = True
        call.amount = amount

    @rule(amount=st.integers(0, 6), limit=st.integers(0, 20))
    def ask_when_it_frees(self, amount: int, limit: int) -> None:
        free_s = self.window.free_at(amount, limit, self.now_s)
        if amount > limit:
            assert free_s is None
        elif self.window.used + amount <= limit:
            assert free_s == self.now_s
        else:
            assert free_s == next_reset(self.now_s, PACIFIC)

    @invariant()
    def agree(self) -> None:
        start_s = period_start(self.now_s, PACIFIC)
        used = sum(call.amount for call in self.calls if call.bound_s >= start_s)
        assert self.window.room(10, self.now_s) == max(0, 10 - used)
        assert self.window.used == used
        assert self.window.reset_at(self.now_s) == (next_reset(self.now_s, PACIFIC) if used else None)
        if self.window.idle(self.now_s):
            assert not used


CalendarAgainstAList.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestCalendarAgainstAList = CalendarAgainstAList.TestCase


class TestCalendarWindow:
    def window(self, before_s: float) -> CalendarWindow:
        return CalendarWindow(PACIFIC, MIDNIGHT_S - before_s, SKEW_S)

    def test_a_call_in_flight_at_the_reset_counts_in_both_periods(self) -> None:
        window = self.window(before_s=0.5)
        window.take(1, MIDNIGHT_S - 0.5)
        assert (window.room(1, MIDNIGHT_S - 0.1), window.room(1, MIDNIGHT_S)) == (0, 0)
        assert window.room(1, MIDNIGHT_S + DAY_S) == 1

    def test_a_call_answered_before_the_reset_counts_in_the_old_period_only(self) -> None:
        window = self.window(before_s=0.5)
        window.answered(window.take(1, MIDNIGHT_S - 0.5), 1, MIDNIGHT_S - 0.1)
        assert window.room(1, MIDNIGHT_S) == 1

    def test_a_call_sent_longer_ago_than_the_skew_is_not_carried_over(self) -> None:
        window = self.window(before_s=1.5)
        window.take(1, MIDNIGHT_S - 1.5)
        assert window.room(1, MIDNIGHT_S) == 1

    def test_a_reset_noticed_late_carries_over_what_was_in_flight_then(self) -> None:
        window = self.window(before_s=0.5)
        slot = window.take(1, MIDNIGHT_S - 0.5)
        assert window.room(2, MIDNIGHT_S + 600) == 1
        window.settle(slot, 1, 0)
        assert window.room(2, MIDNIGHT_S + 600) == 2

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
        assert window.room(2, MIDNIGHT_S) == 0  # the two may have been made in that day, if the clock was right then

    def test_a_step_back_within_the_period_keeps_the_count(self) -> None:
        window = self.window(before_s=100)
        slot = window.take(3, MIDNIGHT_S - 100)
        window.step_back(900, MIDNIGHT_S - 1000)
        window.settle(window.answered(slot, 3, MIDNIGHT_S - 999.5), 3, 2)
        assert window.room(5, MIDNIGHT_S - 1) == 3
        assert window.room(5, MIDNIGHT_S) == 5

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
        assert window.room(5, MIDNIGHT_S + 1000 * DAY_S) == 2
        assert window.free_at(2, 5, MIDNIGHT_S) == MIDNIGHT_S
        assert window.free_at(3, 5, MIDNIGHT_S) is None
        assert window.reset_at(MIDNIGHT_S) is None

    def test_is_corrected(self) -> None:
        window = OnceWindow()
        slot = window.answered(window.take(3, MIDNIGHT_S), 3, MIDNIGHT_S + 1)
        window.step_back(100.0, MIDNIGHT_S - 99)
        window.settle(slot, 3, 8)
        assert (window.used, window.reserved, window.room(5, MIDNIGHT_S)) == (8, 0, 0)

    def test_is_idle_until_something_is_taken(self) -> None:
        window = OnceWindow()
        assert window.idle(MIDNIGHT_S)
        window.take(0, MIDNIGHT_S)
        assert not window.idle(MIDNIGHT_S)
        assert repr(window) == "<OnceWindow used=0 reserved=0>"


class TestOpenWindow:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [("60s", RollingWindow), ("day@UTC", CalendarWindow), ("month@UTC", CalendarWindow), ("once", OnceWindow)],
    )
    def test_each_kind_has_its_count(self, text: str, kind: type) -> None:
        assert type(open_window(parse_window(text), MIDNIGHT_S)) is kind

    def test_an_unknown_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Mars/Olympus"):
            open_window(parse_window("day@Mars/Olympus"), MIDNIGHT_S)
