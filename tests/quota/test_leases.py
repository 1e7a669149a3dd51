from hypothesis import settings
from hypothesis.stateful import initialize

from keyrelay.quota.leases import LEASE_S, LeaseWindow
from tests.quota.drivers import Call, WindowAgainstAList, room

START_S = 1_700_000_000.0


class LeasesAgainstAList(WindowAgainstAList):
    """Leases: a call leaves when it is settled, or its time has passed since it was sent or last renewed."""

    LEASE_S = 2.0

    @initialize()
    def begin(self) -> None:
        self.begin_with(LeaseWindow(self.LEASE_S), START_S)

    def leaves_s(self, call: Call) -> float:
        return call.sent_s + self.LEASE_S

    def note_answer(self, call: Call) -> None:
        if self.leaves_s(call) > self.now_s and not call.settled:
            call.sent_s = self.now_s

    def note_settlement(self, call: Call, amount: int) -> None:
        call.sent_s = -float("inf")

    def note_addition(self, amount: int) -> None:
        """Others' calls in flight are not counted."""


LeasesAgainstAList.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestLeasesAgainstAList = LeasesAgainstAList.TestCase


def test_a_lease_counts_until_it_is_settled() -> None:
    window = LeaseWindow()
    lease = window.take(1, START_S)
    assert room(window, 1, START_S + LEASE_S - 1) == 0
    window.settle(lease, 1, 1)
    assert (room(window, 1, START_S + LEASE_S - 1), window.reserved) == (1, 0)
    assert window.idle(START_S)


def test_a_lease_that_nobody_ends_counts_for_its_time_only() -> None:
    window = LeaseWindow()
    window.take(1, START_S)
    assert window.free_at(1, 1, START_S + 5) == window.reset_at(START_S + 5) == START_S + LEASE_S
    assert room(window, 1, START_S + LEASE_S) == 1


def test_settling_after_its_time_changes_nothing() -> None:
    window = LeaseWindow()
    late, other = window.take(1, START_S), window.take(1, START_S + 10)
    assert room(window, 5, START_S + LEASE_S) == 4
    window.answered(late, 1, START_S + LEASE_S)
    window.settle(late, 1, 9)
    window.settle(late, 0, 9)
    assert (window.used, window.reserved) == (1, 1)
    window.settle(other, 1, 1)
    assert (window.used, window.reserved) == (0, 0)


def test_its_answer_renews_a_lease() -> None:
    window = LeaseWindow()
    stream, other = window.take(1, START_S), window.take(1, START_S + 1)
    assert window.answered(stream, 1, START_S + 60) is stream
    assert window.free_at(2, 2, START_S + 60) == START_S + 60 + LEASE_S
    assert window.free_at(1, 2, START_S + 60) == START_S + 1 + LEASE_S
    window.answered(other, 1, START_S + 60, 0)
    assert room(window, 2, START_S + 60) == 1


def test_an_answer_that_comes_too_late_revives_nothing_even_when_nobody_looked_before() -> None:
    window = LeaseWindow()
    window.answered(window.take(1, START_S), 1, START_S + LEASE_S)
    assert room(window, 1, START_S + LEASE_S) == 1


def test_repr_tells_what_is_in_flight() -> None:
    window = LeaseWindow()
    window.take(1, START_S)
    assert repr(window) == "<LeaseWindow used=1 leases=1>"
