from itertools import chain

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from keyrelay.quota.rolling import MAX_SLOTS, SPANS, RollingWindow, Slot
from tests.quota.drivers import SKEW_S, Call, WindowAgainstAList, room

START_S = 1_700_000_000.0


class RollingAgainstAList(WindowAgainstAList):
    """A rolling window: a call leaves it a length after its arrival bound."""

    @initialize(length_s=st.sampled_from((1.0, 2.0, 5.0)))
    def begin(self, length_s: float) -> None:
        self.length_s = length_s
        self.begin_with(RollingWindow(length_s, SKEW_S), START_S)

    def leaves_s(self, call: Call) -> float:
        return call.bound_s + self.length_s


RollingAgainstAList.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestRollingAgainstAList = RollingAgainstAList.TestCase


@settings(max_examples=200, deadline=None)
@given(
    length_s=st.sampled_from((60.0, 86_400.0)),
    skew_s=st.sampled_from((0.0, 1.0)),
    events=st.lists(
        st.tuples(
            st.one_of(st.floats(0, 1.5), st.floats(0, 200)),  # spans since the call before
            st.integers(0, 5),
            st.one_of(st.none(), st.floats(0, 2)),  # the answer comes never, or so many seconds later
        ),
        min_size=2,
        max_size=40,
    ),
)
def test_spans_give_back_late_by_two_spans_at_most_and_never_early(
    length_s: float, skew_s: float, events: list[tuple[float, int, float | None]]
) -> None:
    window = RollingWindow(length_s, skew_s)
    span_s = length_s / SPANS
    happenings: list[tuple[float, int, bool]] = []  # when, which call, whether it is the answer
    sent_s = START_S
    for index, (gap, _, answer_after_s) in enumerate(events):
        sent_s += gap * span_s
        happenings.append((sent_s, index, False))
        if answer_after_s is not None:
            happenings.append((sent_s + answer_after_s, index, True))
    slots: dict[int, Slot] = {}
    bounds: dict[int, float] = {}

    def check(now_s: float) -> None:
        def used_at(moment_s: float) -> int:
            return sum(events[index][1] for index, bound_s in bounds.items() if bound_s + length_s > moment_s)

        window.advance(now_s)
        assert used_at(now_s) <= window.used <= used_at(now_s - 2 * span_s - 1e-6)

    for now_s, index, is_answer in sorted(happenings):
        window.advance(now_s)
        if is_answer:
            slots[index] = window.answered(slots[index], events[index][1], now_s)
            bounds[index] = min(bounds[index], now_s)
        else:
            slots[index] = window.take(events[index][1], now_s)
            bounds[index] = now_s + skew_s
        check(now_s)
    last_s = now_s
    moments = (bound_s + length_s + late_s for bound_s in bounds.values() for late_s in (-1e-6, 2 * span_s + 2e-6))
    for moment_s in sorted(moments):
        check(max(last_s, moment_s))
    assert window.used == 0
    assert window.idle(last_s + length_s + skew_s + 3 * span_s)


@pytest.mark.parametrize(
    ("length_s", "step_s", "unanswered_of"),
    [(1.0, 1 / 50_000, 3), (60.0, 60 / 50_000, 3), (60.0, 60 / 50_000, 1), (86_400.0, 1.5, 1)],
    ids=["short", "busy", "never answered", "spans longer than the skew"],
)
def test_memory_is_bounded_however_busy(length_s: float, step_s: float, unanswered_of: int) -> None:
    window = RollingWindow(length_s, SKEW_S)
    now_s, most = START_S, 0
    for index in range(120_000):
        now_s += step_s
        if window.due_s <= now_s:
            window.advance(now_s)
        slot = window.take(1, now_s)
        if index % unanswered_of:
            window.answered(slot, 1, now_s)
        most = max(most, len(window._pending) + len(window._log))
    assert most <= MAX_SLOTS
    bounds = [slot.bound_s for slot in chain(window._log, window._pending)]
    assert bounds == sorted(bounds)
    assert window.used == sum(slot.amount for slot in chain(window._log, window._pending))


def test_an_answered_call_leaves_nothing_behind_in_flight() -> None:
    window = RollingWindow(60.0, SKEW_S)
    for index in range(10):
        window.advance(START_S + 2 * index)
        window.answered(window.take(1, START_S + 2 * index), 1, START_S + 2 * index + 0.5)
    assert repr(window) == "<RollingWindow 60s used=10 reserved=10 slots=11>"


def test_an_unanswered_call_counts_from_the_end_of_the_transit_skew() -> None:
    window = RollingWindow(60.0, 1.0)
    window.take(1, START_S)
    assert window.free_at(1, 1, START_S) == START_S + 61
    assert room(window, 1, START_S + 60.999) == 0
    assert room(window, 1, START_S + 61) == 1


def test_an_answered_call_counts_from_its_answer() -> None:
    window = RollingWindow(60.0, 1.0)
    window.answered(window.take(1, START_S), 1, START_S + 0.25)
    assert window.free_at(1, 1, START_S + 1) == START_S + 60.25


def test_an_answered_call_may_leave_before_its_skew_is_over() -> None:
    window = RollingWindow(1.0, 3.0)
    window.answered(window.take(1, START_S), 1, START_S + 0.5)
    assert window.due_s == START_S + 1.5
    assert room(window, 1, START_S + 1.5) == 1


def test_an_answer_after_the_skew_changes_nothing() -> None:
    window = RollingWindow(60.0, 1.0)
    slot = window.take(1, START_S)
    window.advance(START_S + 5)
    assert window.answered(slot, 1, START_S + 5) is slot
    assert window.free_at(1, 1, START_S + 5) == START_S + 61


def test_settling_after_the_call_has_left_changes_nothing() -> None:
    window = RollingWindow(1.0, 1.0)
    slot = window.take(3, START_S)
    window.advance(START_S + 2)
    window.settle(slot, 3, 9)
    assert (window.used, window.reserved) == (0, 0)


@given(days=st.integers(1, 3650))
def test_a_jump_of_days_forward_expires(days: int) -> None:
    window = RollingWindow(3600.0)
    window.take(5, START_S)
    assume(days)
    assert room(window, 5, START_S + days * 86_400.0) == 5


def test_its_slots_are_what_it_counts() -> None:
    window = RollingWindow(60.0, 1.0)
    first = window.take(2, START_S)
    window.answered(first, 2, START_S + 0.5)
    window.take(3, START_S + 5)
    assert [(slot.bound_s - START_S, slot.amount) for slot in window.slots() if slot.amount] == [(0.5, 2), (6.0, 3)]
    window.advance(START_S + 70)
    assert list(window.slots()) == []


def test_repr_tells_what_is_used() -> None:
    window = RollingWindow(60.0)
    window.take(2, START_S)
    assert repr(window) == "<RollingWindow 60s used=2 reserved=2 slots=1>"
