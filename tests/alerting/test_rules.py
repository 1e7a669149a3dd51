import math

import pytest

from keyrelay.alerting.rules import BY_NAME, RULES, Measure, Rule, in_force, problem
from keyrelay.core.alerts import RuleChange, RuleName, Severity
from keyrelay.quota.thresholds import FALL, THRESHOLDS

QUOTA, EXPIRING, KEY = (BY_NAME[name] for name in (RuleName.QUOTA, RuleName.KEY_EXPIRING, RuleName.KEY_INVALID))


def test_there_is_a_rule_for_each_name_and_all_are_on() -> None:
    assert tuple(rule.name for rule in RULES) == tuple(RuleName)
    assert all(rule.enabled and rule.steps and rule.advice.endswith(".") for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_a_step_reaches_it_holds_and_a_bit_beyond_it(rule: Rule) -> None:
    for place, step in enumerate(rule.steps, 1):
        beyond = -1e-9 if not rule.falling else 1e-9
        assert rule.reached(step.threshold) >= place
        assert rule.reached(step.threshold + beyond) < place
        assert rule.held(step.threshold + beyond) >= place
        assert rule.severity(place).rank >= step.severity.rank


def test_quotas_speak_at_the_shares_at_which_the_log_does() -> None:
    assert tuple(step.threshold for step in QUOTA.steps) == THRESHOLDS == (0.75, 0.90, 0.95)
    assert QUOTA.fall == FALL
    assert [QUOTA.reached(share) for share in (0.74, 0.75, 0.9, 0.95, 1.2)] == [0, 1, 2, 3, 3]
    assert [QUOTA.held(share) for share in (0.70, 0.71, 0.86, 0.91)] == [0, 1, 2, 3]


def test_the_fewer_days_are_left_the_worse() -> None:
    assert [EXPIRING.reached(days) for days in (7.1, 7.0, 1.0, 0.0)] == [0, 1, 2, 2]
    assert EXPIRING.severity(1) is Severity.WARNING
    assert EXPIRING.severity(2) is Severity.CRITICAL
    assert EXPIRING.severity(0) is Severity.WARNING


def test_a_change_counts_field_by_field() -> None:
    rate = BY_NAME[RuleName.ERROR_RATE]
    changed = in_force(rate, RuleChange(enabled=False, thresholds=(0.2, 0.4), fall=0.05, for_s=5.0, per_hour=2))
    assert [(step.threshold, step.severity) for step in changed.steps] == [
        (0.2, Severity.WARNING),
        (0.4, Severity.CRITICAL),
    ]
    assert (changed.enabled, changed.fall, changed.fall_share, changed.for_s, changed.per_hour) == (
        False,
        0.05,
        0.0,
        5.0,
        2,
    )
    assert changed.clear_for_s == rate.clear_for_s
    assert in_force(rate, RuleChange()) == rate


WRONG = [
    (QUOTA, RuleChange(for_s=-1.0), "for_s"),
    (QUOTA, RuleChange(clear_for_s=math.nan), "clear_for_s"),
    (QUOTA, RuleChange(remind_s=1e9), "remind_s"),
    (QUOTA, RuleChange(per_hour=0), "per_hour"),
    (QUOTA, RuleChange(per_hour=61), "per_hour"),
    (QUOTA, RuleChange(fall=-0.1), "fall"),
    (QUOTA, RuleChange(thresholds=(0.5,)), "thresholds"),
    (QUOTA, RuleChange(thresholds=(0.5, 0.4, 0.9)), "thresholds"),
    (QUOTA, RuleChange(thresholds=(0.5, 0.5, 0.9)), "thresholds"),
    (QUOTA, RuleChange(thresholds=(0.0, 0.5, math.inf)), "thresholds"),
    (EXPIRING, RuleChange(thresholds=(1.0, 7.0)), "thresholds"),
    (KEY, RuleChange(thresholds=(1.0,)), "thresholds"),
]


@pytest.mark.parametrize(("rule", "change", "where"), WRONG)
def test_what_will_not_do_is_named(rule: Rule, change: RuleChange, where: str) -> None:
    found, why = problem(rule, change)
    assert found == where
    assert why


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (QUOTA, RuleChange()),
        (QUOTA, RuleChange(thresholds=(0.5, 0.6, 0.7), fall=0.0, for_s=0.0, per_hour=60)),
        (EXPIRING, RuleChange(thresholds=(30.0, 7.0))),
    ],
)
def test_what_will_do_has_no_problem(rule: Rule, change: RuleChange) -> None:
    assert problem(rule, change) == ("", "")
    assert in_force(rule, change).measure in Measure
