import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.configuration import PolicyName
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.policies import PARKED_S, POLICIES, Stage, note_use, recent_use
from tests.routing.helpers import NOW_S, candidate, half


def candidates(*weights: float) -> list[Candidate]:
    return [candidate(f"k{index}", weight=weight) for index, weight in enumerate(weights)]


def labels(stage: Stage, now_s: float = NOW_S, seed: int = 0) -> list[str]:
    return [each.key.label for each in stage.order(now_s, random.Random(seed).random)]


def test_every_name_has_its_policy() -> None:
    assert set(POLICIES) == set(PolicyName)


@given(
    st.sampled_from(PolicyName),
    st.lists(st.floats(0.01, 100), max_size=12),
    st.integers(0, 20),
    st.lists(st.integers(0, 5), min_size=12, max_size=12),
    st.integers(0, 1000),
)
def test_each_policy_yields_each_candidate_exactly_once(
    policy: PolicyName, weights: list[float], turn: int, uses: list[int], seed: int
) -> None:
    given_ones = candidates(*weights)
    for each, count in zip(given_ones, uses, strict=False):
        for _ in range(count):
            note_use(each, NOW_S)
    stage = Stage(given_ones, policy, turn=turn % max(1, len(weights)))
    for round_number in range(3):
        ordered = list(stage.order(NOW_S + round_number, random.Random(seed).random))
        assert len(ordered) == len(given_ones)
        assert set(ordered) == set(given_ones)


def test_priority_keeps_the_order_of_the_configuration() -> None:
    stage = Stage(candidates(1, 1, 1), PolicyName.PRIORITY)
    assert [labels(stage) for _ in range(3)] == [["k0", "k1", "k2"]] * 3
    assert repr(stage) == "<Stage Priority of 3>"


class TestParking:
    """What is known to be out of service is not looked at by every request."""

    @staticmethod
    def dropped(
        reason: DropReason = DropReason.EXHAUSTED, after_s: float | None = 60.0, *, sized: bool = False
    ) -> Dropped:
        return Dropped(reason, "why", None if after_s is None else NOW_S + after_s, sized=sized)

    @pytest.mark.parametrize("policy", PolicyName)
    def test_the_parked_are_left_out_for_a_moment_and_then_looked_at_again(self, policy: PolicyName) -> None:
        stage = Stage(candidates(1, 1, 1), policy)
        first, second, third = stage.candidates
        stage.park({second: self.dropped()}, NOW_S)
        assert set(stage.order(NOW_S + PARKED_S / 2, half)) == {first, third}
        assert list(stage.parked) == [second]
        stage.park({third: self.dropped()}, NOW_S + PARKED_S / 2)
        assert repr(stage).endswith("of 3, 2 parked>")
        assert set(stage.order(NOW_S + PARKED_S, half)) == {first, second, third}
        assert stage.parked == {}

    def test_a_clock_that_was_set_back_keeps_nobody_parked(self) -> None:
        stage = Stage(candidates(1, 1), PolicyName.PRIORITY)
        stage.park({stage.candidates[0]: self.dropped()}, NOW_S)
        assert labels(stage, NOW_S - 5) == ["k0", "k1"]

    @pytest.mark.parametrize(
        "drop",
        [
            dropped(DropReason.LIMITED, PARKED_S / 2),
            dropped(DropReason.LIMITED, None),
            dropped(DropReason.LIMITED, 60, sized=True),
            dropped(DropReason.BUSY, 60),
            dropped(DropReason.NO_CAPABILITY, 60),
        ],
        ids=["soon back", "nobody knows when", "about the size", "in flight", "this request only"],
    )
    def test_who_may_serve_the_next_request_is_not_parked(self, drop: Dropped) -> None:
        stage = Stage(candidates(1, 1), PolicyName.ROUND_ROBIN)
        stage.park({stage.candidates[0]: drop}, NOW_S)
        assert stage.parked == {}

    def test_round_robin_goes_on_among_the_others(self) -> None:
        stage = Stage(candidates(1, 1, 1, 1), PolicyName.ROUND_ROBIN, turn=3)
        stage.park({stage.candidates[0]: self.dropped(), stage.candidates[3]: self.dropped()}, NOW_S)
        assert [labels(stage)[0] for _ in range(4)] == ["k1", "k2", "k1", "k2"]


class TestRoundRobin:
    def test_many_come_once_around_as_few_do(self) -> None:
        stage = Stage(candidates(*[1] * 40), PolicyName.ROUND_ROBIN, turn=38)
        assert labels(stage) == [f"k{number % 40}" for number in range(38, 78)]
        assert labels(stage)[0] == "k39"

    def test_each_request_begins_one_further_on(self) -> None:
        stage = Stage(candidates(1, 1, 1), PolicyName.ROUND_ROBIN)
        assert [labels(stage) for _ in range(4)] == [
            ["k0", "k1", "k2"],
            ["k1", "k2", "k0"],
            ["k2", "k0", "k1"],
            ["k0", "k1", "k2"],
        ]

    @given(st.integers(1, 9), st.integers(0, 50))
    def test_it_is_fair_to_one_request(self, count: int, requests: int) -> None:
        stage = Stage(candidates(*[1.0] * count), PolicyName.ROUND_ROBIN)
        firsts = [next(stage.order(NOW_S, half)).key.label for _ in range(requests)]
        taken = [firsts.count(f"k{index}") for index in range(count)]
        assert max(taken) - min(taken) <= 1

    def test_requests_that_overlap_take_different_ones(self) -> None:
        stage = Stage(candidates(1, 1), PolicyName.ROUND_ROBIN)
        first, second = stage.order(NOW_S, half), stage.order(NOW_S, half)
        assert next(first) is not next(second)
        assert next(first) is not next(second)

    def test_nobody_is_nobody(self) -> None:
        assert labels(Stage([], PolicyName.ROUND_ROBIN)) == []


class TestWeighted:
    def test_firsts_are_in_proportion_to_the_weights(self) -> None:
        stage = Stage(candidates(1, 2, 7), PolicyName.WEIGHTED)
        draw = random.Random(5).random
        firsts = [next(stage.order(NOW_S, draw)).key.label for _ in range(4000)]
        shares = [firsts.count(label) / len(firsts) for label in ("k0", "k1", "k2")]
        assert shares == pytest.approx([0.1, 0.2, 0.7], abs=0.02)

    def test_and_so_are_seconds_among_what_is_left(self) -> None:
        stage = Stage(candidates(1, 3, 50), PolicyName.WEIGHTED)
        draw = random.Random(5).random
        orders = [[each.key.label for each in stage.order(NOW_S, draw)] for _ in range(4000)]
        seconds = [second for first, second, _ in orders if first == "k2"]
        assert seconds.count("k1") / len(seconds) == pytest.approx(0.75, abs=0.03)

    @pytest.mark.parametrize("chance", [0.0, 0.9999999999999999])
    def test_the_ends_of_chance_do_no_harm(self, chance: float) -> None:
        ordered = list(Stage(candidates(1, 2), PolicyName.WEIGHTED).order(NOW_S, lambda: chance))
        assert len(ordered) == 2


class TestLeastUsed:
    def test_the_least_used_goes_first(self) -> None:
        stage = Stage(candidates(1, 1, 1), PolicyName.LEAST_USED)
        for index, count in enumerate((2, 0, 1)):
            for _ in range(count):
                note_use(stage.candidates[index], NOW_S)
        assert labels(stage) == ["k1", "k2", "k0"]

    def test_equals_stay_in_order(self) -> None:
        assert labels(Stage(candidates(1, 1, 1), PolicyName.LEAST_USED)) == ["k0", "k1", "k2"]

    def test_uses_count_half_after_each_minute(self) -> None:
        one = candidate()
        for _ in range(8):
            note_use(one, NOW_S)
        halves = [recent_use(one, NOW_S + 60 * minute) for minute in range(4)]
        assert halves == pytest.approx([8.0, 4.0, 2.0, 1.0])
        note_use(one, NOW_S + 180)
        assert one.used == pytest.approx(2.0)
        assert one.used_at_s == NOW_S + 180
        assert recent_use(one, NOW_S + 1e9) == 0.0

    def test_a_clock_that_goes_back_adds_nothing(self) -> None:
        one = candidate()
        note_use(one, NOW_S)
        assert recent_use(one, NOW_S - 600) == 1.0

    def test_many_old_uses_weigh_less_than_few_new_ones(self) -> None:
        stage = Stage(candidates(1, 1), PolicyName.LEAST_USED)
        for _ in range(10):
            note_use(stage.candidates[0], NOW_S)
        note_use(stage.candidates[1], NOW_S + 300)
        assert labels(stage, NOW_S + 300) == ["k0", "k1"]

    def test_only_its_candidates_are_tracked(self) -> None:
        tracked = {policy: [each.tracked for each in Stage(candidates(1), policy).candidates] for policy in PolicyName}
        assert [policy for policy, marks in tracked.items() if marks == [True]] == [PolicyName.LEAST_USED]


class TestSubset:
    @pytest.mark.parametrize("policy", PolicyName)
    def test_some_of_the_candidates_under_the_same_policy(self, policy: PolicyName) -> None:
        stage = Stage(candidates(1, 1, 1), policy)
        part = stage.subset(stage.candidates[1:], half)
        assert part.policy is stage.policy
        assert sorted(labels(part)) == ["k1", "k2"]
        assert repr(part) == f"<Stage {type(POLICIES[policy]).__name__} of 2>"

    def test_it_begins_anywhere(self) -> None:
        stage = Stage(candidates(1, 1, 1), PolicyName.ROUND_ROBIN)
        begins = [labels(stage.subset(stage.candidates, chance))[0] for chance in (lambda: 0.0, half, lambda: 0.99)]
        assert begins == ["k0", "k1", "k2"]
        assert labels(stage) == ["k0", "k1", "k2"]  # the stage itself has not moved on

    def test_of_nobody(self) -> None:
        assert labels(Stage(candidates(1), PolicyName.ROUND_ROBIN).subset([], half)) == []


def test_a_plan_needs_no_more_than_the_first() -> None:
    stage = Stage(candidates(1, 1, 1), PolicyName.ROUND_ROBIN)
    assert [each.key.label for each in itertools.islice(stage.order(NOW_S, half), 1)] == ["k0"]
    assert stage.turn == 1


class TestExpected:
    """What the next request would find, asked without changing anything."""

    @given(
        st.sampled_from([PolicyName.PRIORITY, PolicyName.ROUND_ROBIN, PolicyName.LEAST_USED]),
        st.integers(1, 6),
        st.integers(0, 12),
        st.lists(st.integers(0, 3), min_size=6, max_size=6),
    )
    def test_it_is_the_order_that_comes(self, policy: PolicyName, number: int, rounds: int, uses: list[int]) -> None:
        stage = Stage(candidates(*[1.0] * number), policy)
        for each, count in zip(stage.candidates, uses, strict=False):
            for _ in range(count):
                note_use(each, NOW_S)
        for _ in range(rounds):
            expected = stage.expected(NOW_S)
            assert stage.expected(NOW_S) == expected
            assert tuple(stage.order(NOW_S, half)) == expected

    def test_where_chance_decides_the_likeliest_stands_first(self) -> None:
        stage = Stage(candidates(1, 5, 2), PolicyName.WEIGHTED)
        assert [each.key.label for each in stage.expected(NOW_S)] == ["k1", "k2", "k0"]

    def test_those_parked_come_last_until_they_are_looked_at_again(self) -> None:
        stage = Stage(candidates(1, 1, 1), PolicyName.PRIORITY)
        first = stage.candidates[0]
        stage.park({first: Dropped(DropReason.DEAD, "why", NOW_S + 60.0)}, NOW_S)
        assert [each.key.label for each in stage.expected(NOW_S + 1.0)] == ["k1", "k2", "k0"]
        assert [each.key.label for each in stage.expected(NOW_S + PARKED_S)] == ["k0", "k1", "k2"]
        assert first in stage.parked, "nobody has looked again"
