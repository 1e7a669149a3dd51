"""What one worker's learner finds out and another's takes over: both end with the same limits in force."""

from collections.abc import Callable

import msgspec
import pytest

from keyrelay.core.limits import LimitSource
from keyrelay.quota.learning import Fact, Merge
from keyrelay.routing.candidates import Candidate
from tests.engine.test_learner import ACCOUNT, NOW_S, Bench, limit, openai_headers

Scenario = Callable[[Bench, Candidate], None]


class Ear:
    """Hears what one learner finds out, and tells another learner."""

    def __init__(self, other: Bench) -> None:
        self.other = other
        self.heard: list[Fact] = []
        self.merges: list[Merge] = []

    def learned(self, fact: Fact, *, firm: bool = False) -> None:
        self.heard.append(fact)
        self.other.learner.take_over(fact, fact.seen_s, firm=firm)

    def forgot(self, facts: tuple[Fact, ...]) -> None:
        for fact in facts:
            self.other.learner.forget(fact.identity, fact.seen_s)

    def merged(self, merge: Merge) -> None:
        self.merges.append(merge)


def lower_in_headers(bench: Bench, one: Candidate) -> None:
    bench.learner.answered(one, openai_headers(9, 9), NOW_S)


def higher_in_headers(bench: Bench, one: Candidate) -> None:
    bench.learner.answered(one, openai_headers(900, 900), NOW_S)


def named_in_a_refusal(bench: Bench, one: Candidate) -> None:
    bench.refuse(one, "Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1.")


def inferred_once(bench: Bench, one: Candidate) -> None:
    bench.accept(one, 12)
    bench.refuse(one)


def inferred_twice(bench: Bench, one: Candidate) -> None:
    inferred_once(bench, one)
    bench.accept(one, 12, NOW_S + 100)
    bench.refuse(one, now_s=NOW_S + 100)


def inferred_and_lifted(bench: Bench, one: Candidate) -> None:
    inferred_twice(bench, one)
    bench.accept(one, 4, NOW_S + 103, sent_s=NOW_S + 99)


def cleared(bench: Bench, one: Candidate) -> None:
    lower_in_headers(bench, one)
    bench.learner.clear(NOW_S)


@pytest.mark.parametrize("margin", [0.0, 0.1])
@pytest.mark.parametrize("started_s", [0.0, NOW_S], ids=["long ago", "just now"])
@pytest.mark.parametrize("source", [LimitSource.CATALOGUE, LimitSource.CONFIGURED, None])
@pytest.mark.parametrize(
    "happens",
    [
        lower_in_headers,
        higher_in_headers,
        named_in_a_refusal,
        inferred_once,
        inferred_twice,
        inferred_and_lifted,
        cleared,
    ],
)
def test_both_end_with_the_same_limits(
    happens: Scenario, source: LimitSource | None, started_s: float, margin: float
) -> None:
    limits = () if source is None else (limit(40, source=source),)
    first, second = (Bench("openai", *limits, started_s=started_s, margin=margin) for _ in range(2))
    ear = first.learner.watcher = Ear(second)
    happens(first, first.candidate())
    assert second.learner.book.noted(NOW_S) == first.learner.book.noted(NOW_S)
    assert ear.heard
    for now_s in (NOW_S + 104, NOW_S + 10_000):
        in_force = [
            [
                (standing.limit, standing.amount, standing.firm)
                for standing in bench.ledger.peek((*bench.candidate().path, *bench.learned(bench.candidate())), now_s)
            ]
            for bench in (first, second)
        ]
        assert in_force[0] == in_force[1]


def test_what_is_taken_over_is_not_told_again_and_an_older_word_changes_nothing() -> None:
    first, second = Bench("openai", limit(40)), Bench("openai", limit(40))
    ear, echo = Ear(second), Ear(first)
    first.learner.watcher, second.learner.watcher = ear, echo
    lower_in_headers(first, first.candidate())
    (fact,) = ear.heard
    assert echo.heard == []
    second.learner.take_over(msgspec.structs.replace(fact, amount=5, seen_s=NOW_S - 1), NOW_S + 1)
    assert second.standing(second.candidate()).amount == 9
    second.learner.clear(NOW_S)
    assert first.facts() == second.facts() == ()
    assert first.standing(first.candidate()).amount == 40


def test_merges_are_told() -> None:
    first = Bench("openai", limit(40, scope=ACCOUNT))
    ear = first.learner.watcher = Ear(first)
    for label in "ab":
        first.learner.answered(first.candidate(label), {"openai-organization": "org-1"}, NOW_S)
    assert ear.merges == [Merge("openai", "a", "b", "org-1")] == first.merges
