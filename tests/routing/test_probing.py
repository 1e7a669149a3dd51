"""When probes are due, by values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.routing.probing import (
    DISTRUST_S,
    IDLE_MAX_S,
    JITTER,
    RECOVERY_MAX_S,
    ProbeRules,
    Subject,
    choose,
    day_of,
    due_s,
)

NOW_S = 1_800_000_000.0
RULES = ProbeRules(every_s=300.0, recovery_s=5.0, per_day=100)


def subject(name: str = "groq/a", **more: object) -> Subject:
    return Subject(name=name, provider=name.partition("/")[0], key=name, **{"since_s": NOW_S, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("about", "after_s"),
    [
        ({}, 300.0),
        ({"seen_s": NOW_S + 40}, 340.0),
        ({"probed_s": NOW_S + 40}, 340.0),
        ({"probed_s": NOW_S, "failures": 1}, 600.0),
        ({"probed_s": NOW_S, "failures": 3}, 2400.0),
        ({"probed_s": NOW_S, "failures": 40}, IDLE_MAX_S),
        ({"chance": 0.0}, 300.0 * (1 - JITTER)),
        ({"chance": 1.0}, 300.0 * (1 + JITTER)),
        ({"today": 99}, 300.0),
        ({"today": 100}, None),
        ({"failing": True}, 5.0),
        ({"failing": True, "seen_s": NOW_S + 40}, 5.0),
        ({"failing": True, "probed_s": NOW_S + 2, "failures": 2}, 22.0),
        ({"failing": True, "failures": 40}, RECOVERY_MAX_S),
        ({"failing": True, "today": 100}, None),
        ({"failing": True, "revived_s": NOW_S - 1}, DISTRUST_S - 1),
        ({"failing": True, "revived_s": NOW_S - 1, "seen_s": NOW_S}, 5.0),
        ({"failing": True, "revived_s": NOW_S - DISTRUST_S}, 5.0),
    ],
)
def test_when_a_probe_is_due(about: dict[str, object], after_s: float | None) -> None:
    found = due_s(subject(**about), RULES)  # type: ignore[arg-type]
    assert (None if found is None else found - NOW_S) == (None if after_s is None else pytest.approx(after_s))


def test_switched_off_nothing_is_due() -> None:
    off = ProbeRules(per_day=100)
    assert due_s(subject(), off) is None
    assert due_s(subject(failing=True), off) is None
    assert due_s(subject(failing=True), ProbeRules(every_s=300.0, per_day=100)) is None


def test_an_interval_above_the_longest_is_kept() -> None:
    slow = ProbeRules(every_s=5 * IDLE_MAX_S, per_day=1)
    assert due_s(subject(failures=3), slow) == NOW_S + 5 * IDLE_MAX_S


def test_one_of_a_provider_at_a_time_what_fails_and_what_waits_longest_first() -> None:
    subjects = [
        subject("groq/a", since_s=NOW_S - 900),
        subject("groq/b", since_s=NOW_S - 950),
        subject("gemini/c", since_s=NOW_S - 990),
        subject("gemini/d", since_s=NOW_S - 1, seen_s=NOW_S - 1),
        subject("mistral/e", since_s=NOW_S - 20, failing=True),
        subject("cohere/f", since_s=NOW_S - 2000),
    ]
    chosen = choose(subjects, RULES, NOW_S, busy={"cohere"}, most=3)
    assert [each.name for each in chosen] == ["mistral/e", "gemini/c", "groq/b"]
    assert [each.name for each in choose(subjects, RULES, NOW_S, busy=(), most=1)] == ["mistral/e"]
    assert choose(subjects, RULES, NOW_S - 1900, busy=(), most=9) == []


@given(
    failures=st.integers(0, 60),
    chance=st.floats(0, 1),
    failing=st.booleans(),
    every_s=st.floats(1, 1e6),
    recovery_s=st.floats(1, 1e6),
)
def test_a_wait_is_bounded_both_ways(
    failures: int, chance: float, failing: bool, every_s: float, recovery_s: float
) -> None:
    rules = ProbeRules(every_s=every_s, recovery_s=recovery_s, per_day=1)
    found = due_s(subject(failures=failures, chance=chance, failing=failing), rules)
    assert found is not None
    base_s, max_s = (recovery_s, RECOVERY_MAX_S) if failing else (every_s, IDLE_MAX_S)
    wait_s = found - NOW_S
    assert base_s * (1 - JITTER) - 1e-3 <= wait_s <= max(base_s, max_s) * (1 + JITTER) + 1e-3


def test_days_are_those_of_utc() -> None:
    assert day_of(86_399.9) == 0
    assert day_of(86_400.0) == 1
