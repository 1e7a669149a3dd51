import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.routing.circuit import Circuit, CircuitSettings, CircuitState
from tests.routing.helpers import NOW_S, half


def circuit(**settings: float) -> Circuit:
    return Circuit("provider:groq", CircuitSettings(**settings))  # type: ignore[arg-type]


def fail(one: Circuit, times: int = 1, now_s: float = NOW_S, chance: Callable[[], float] = half) -> None:
    for _ in range(times):
        one.failed(now_s, "timeout: slow", chance)


def opened(**settings: float) -> Circuit:
    one = circuit(**settings)
    fail(one, 5)
    return one


def test_a_new_circuit_lets_everything_pass() -> None:
    one = circuit()
    assert (one.closed, one.suspect, one.admits(0.0), one.admits(NOW_S)) == (True, False, True, True)
    assert repr(one) == "<Circuit provider:groq closed>"


class TestOpening:
    def test_after_some_failures_in_a_row(self) -> None:
        one = circuit()
        fail(one, 4)
        assert (one.closed, one.suspect, one.admits(NOW_S)) == (True, True, True)
        fail(one)
        assert (one.closed, one.suspect, one.admits(NOW_S)) == (False, True, False)
        assert (one.reason, one.open_until_s) == ("timeout: slow", NOW_S + 30)
        assert repr(one) == f"<Circuit provider:groq open until {NOW_S + 30:.1f} (opening 1)>"

    def test_an_answer_begins_the_row_anew(self) -> None:
        one = circuit()
        for _ in range(3):
            fail(one, 4, NOW_S)
            one.succeeded()
            one.succeeded()
        assert (one.closed, one.suspect) == (True, False)

    def test_two_failures_in_a_row_make_it_suspect(self) -> None:
        one = circuit()
        fail(one)
        assert not one.suspect
        fail(one)
        assert one.suspect
        one.succeeded()
        assert not one.suspect

    @pytest.mark.parametrize(("good", "bad"), [(0, 20), (9, 11), (10, 10), (11, 11), (30, 30)])
    def test_when_at_least_half_of_at_least_twenty_failed(self, good: int, bad: int) -> None:
        one = circuit(failures=100)
        fail(one)
        for _ in range(good):
            one.succeeded()
        fail(one, bad - 2, NOW_S + 9.9)
        assert one.closed
        fail(one, 1, NOW_S + 9.9)
        assert not one.closed

    @pytest.mark.parametrize(("every_s", "opens"), [(0.5, True), (1.2, False)])
    def test_twenty_within_ten_seconds_that_is(self, every_s: float, *, opens: bool) -> None:
        one = circuit()
        for step in range(20):
            fail(one, 1, NOW_S + every_s * step)
            if one.closed:
                one.succeeded()
        assert one.closed is not opens

    def test_old_answers_do_not_outweigh_new_failures(self) -> None:
        one = circuit(failures=100)
        for _ in range(1000):
            one.succeeded()
        fail(one, 20)
        assert not one.closed

    def test_when_the_clock_goes_back_it_counts_anew(self) -> None:
        one = circuit(failures=100)
        fail(one, 19, NOW_S)
        fail(one, 1, NOW_S - 1)
        assert one.closed


class TestHalfOpen:
    def test_exactly_one_probe_passes(self) -> None:
        one = opened()
        assert not one.admits(NOW_S + 29.9)
        assert one.admits(NOW_S + 30)
        one.begin(NOW_S + 30)
        assert not one.admits(NOW_S + 30)
        assert not one.admits(NOW_S + 149)

    def test_a_probe_that_is_never_heard_of_again_blocks_for_two_minutes(self) -> None:
        one = opened()
        one.begin(NOW_S + 30)
        assert one.admits(NOW_S + 150)

    def test_its_answer_closes_the_circuit(self) -> None:
        one = opened()
        one.begin(NOW_S + 30)
        one.succeeded()
        assert (one.closed, one.suspect, one.reason) == (True, False, "")
        assert one.admits(NOW_S + 30)
        fail(one, 4, NOW_S + 31)
        assert one.closed  # and everything counts anew

    def test_its_failure_opens_it_for_longer_up_to_a_bound(self) -> None:
        one = opened()
        now_s, waits = NOW_S, []
        for _ in range(12):
            waits.append(round(one.open_until_s - now_s))
            now_s = one.open_until_s
            one.begin(now_s)
            fail(one, 1, now_s)
            assert not one.admits(now_s)
        assert waits == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]

    def test_after_an_answer_the_first_wait_is_short_again(self) -> None:
        one = opened()
        fail(one, 1, NOW_S + 30)
        one.succeeded()
        fail(one, 5, NOW_S + 100)
        assert one.open_until_s == NOW_S + 130

    def test_a_probe_that_ended_without_a_word_lets_the_next_one_pass(self) -> None:
        one = opened()
        one.begin(NOW_S + 30)
        one.release()
        assert one.admits(NOW_S + 30)

    def test_failures_of_requests_sent_before_it_opened_do_not_prolong_it(self) -> None:
        one = opened()
        fail(one, 10, NOW_S + 20)
        assert (one.open_until_s, repr(one).endswith("(opening 1)>")) == (NOW_S + 30, True)

    def test_bug_on_a_clock_that_begins_at_nought_no_probe_passed_for_two_minutes(self) -> None:
        one = circuit()
        fail(one, 5, 1.0)
        assert one.admits(31.0)


def test_a_closed_circuit_does_not_mind_beginnings_and_releases() -> None:
    one = circuit()
    one.begin(NOW_S)
    assert one.admits(NOW_S)
    one.release()
    assert one.admits(NOW_S)


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 24.0), (0.5, 30.0), (0.999999, 36.0)])
def test_the_end_is_spread_by_a_fifth(chance: float, wait_s: float) -> None:
    one = circuit()
    fail(one, 5, chance=lambda: chance)
    assert one.open_until_s - NOW_S == pytest.approx(wait_s, abs=0.001)


def test_a_random_number_is_drawn_only_when_it_opens() -> None:
    one = circuit()

    def refuse() -> float:
        raise AssertionError

    fail(one, 4, chance=refuse)
    with pytest.raises(AssertionError):
        fail(one, 1, chance=refuse)


def test_the_numbers_are_settings() -> None:
    one = circuit(failures=1, open_s=10.0, open_max_s=15.0)
    fail(one)
    assert one.open_until_s == NOW_S + 10
    fail(one, 1, NOW_S + 10)
    assert one.open_until_s == NOW_S + 25


@given(st.lists(st.sampled_from(["failed", "succeeded", "begin", "release"]), max_size=60), st.integers(0, 1000))
def test_whatever_happens_it_lets_somebody_pass_in_the_end(events: list[str], seed: int) -> None:
    one, draw = circuit(), random.Random(seed)
    now_s = NOW_S
    for event in events:
        now_s += draw.random() * 20
        if event == "failed":
            fail(one, 1, now_s, draw.random)
        elif event == "succeeded":
            one.succeeded()
        elif event == "begin" and one.admits(now_s):
            one.begin(now_s)
            assert one.closed or not one.admits(now_s)
        elif event == "release":
            one.release()
    assert one.open_until_s <= now_s + 360
    assert one.admits(now_s + 500)


class TestSharing:
    """What is told of a circuit, and what others tell."""

    def watched(self) -> tuple[Circuit, list[CircuitState | None]]:
        told: list[CircuitState | None] = []
        return Circuit("provider:groq", CircuitSettings(), lambda one: told.append(one.state(NOW_S))), told

    def test_it_tells_of_changes_and_of_nothing_else(self) -> None:
        one, told = self.watched()
        one.begin(NOW_S)
        one.succeeded()
        one.release()
        fail(one, 4)
        assert told == []
        fail(one, 1)
        is_open = CircuitState(openings=1, open_for_s=30.0, reason="timeout: slow")
        assert told == [is_open]
        fail(one, 3)
        one.release()
        assert told == [is_open]
        one.begin(NOW_S + 30)
        one.release()
        one.begin(NOW_S + 31)
        one.succeeded()
        one.succeeded()
        probing = msgspec.structs.replace(is_open, probing=True)
        assert told == [is_open, probing, is_open, probing, None]

    def test_another_that_takes_it_over_behaves_the_same(self) -> None:
        one, other = opened(), circuit()
        other.take_over(one.state(NOW_S + 10), NOW_S + 13)  # its clock is 3 s ahead
        assert repr(other) == repr(one).replace(f"{NOW_S + 30:.1f}", f"{NOW_S + 33:.1f}")
        assert not other.admits(NOW_S + 32.9)
        assert other.admits(NOW_S + 33)
        assert (other.suspect, other.reason, bool(other.bad)) == (True, one.reason, True)
        fail(other, 1, NOW_S + 33)
        assert other.open_until_s == NOW_S + 33 + 60, "the second opening"

    def test_a_probe_elsewhere_is_the_only_one_until_it_ends(self) -> None:
        one, other = opened(), circuit()
        one.begin(NOW_S + 30)
        other.take_over(one.state(NOW_S + 30), NOW_S + 30)
        assert not other.admits(NOW_S + 31)
        one.release()
        other.take_over(one.state(NOW_S + 31), NOW_S + 31)
        assert other.admits(NOW_S + 31)
        one.succeeded()
        other.take_over(one.state(NOW_S + 31), NOW_S + 31)
        assert other.closed
        assert not other.suspect

    def test_nothing_that_is_taken_over_is_told_again(self) -> None:
        one, told = self.watched()
        one.take_over(opened().state(NOW_S), NOW_S)
        one.take_over(None, NOW_S)
        assert told == []

    def test_a_time_that_has_passed_is_no_negative_duration(self) -> None:
        state = opened().state(NOW_S + 1000)
        assert state is not None
        assert state.open_for_s == 0
