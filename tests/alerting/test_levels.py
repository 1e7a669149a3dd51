import pytest

from keyrelay.alerting.levels import Watched, advanced, alert_id, watched_of
from keyrelay.core.alerts import RuleName
from tests.alerting.facts import RULE, START_S, fact

# Values by seconds after the start, and the level that follows: fires at 0.5 after 60 s, ends at 0.4 after 120 s.
STORIES: dict[str, list[tuple[float, float | None, int]]] = {
    "it has to stay there for a while": [(0, 0.6, 0), (59, 0.6, 0), (60, 0.6, 1)],
    "what falls back in between begins anew": [(0, 0.6, 0), (30, 0.45, 0), (59, 0.6, 0), (100, 0.6, 0), (119, 0.6, 1)],
    "the least that it stayed at counts": [(0, 0.95, 0), (30, 0.6, 0), (60, 0.95, 1), (119, 0.95, 1), (120, 0.95, 2)],
    "between the bounds nothing changes": [(0, 0.6, 0), (60, 0.6, 1), (70, 0.45, 1), (9_999, 0.45, 1)],
    "it is over after a while below the lower bound": [
        (0, 0.6, 0),
        (60, 0.6, 1),
        (70, 0.4, 1),
        (189, 0.4, 1),
        (190, 0.4, 0),
    ],
    "who comes back in time goes on firing": [(0, 0.6, 0), (60, 0.6, 1), (70, 0.3, 1), (180, 0.45, 1), (190, 0.3, 1)],
    "it ends step by step": [(0, 0.95, 0), (60, 0.95, 2), (70, 0.6, 2), (190, 0.6, 1), (200, 0.1, 1), (320, 0.1, 0)],
    "the most that it still held counts": [
        (0, 0.95, 0),
        (60, 0.95, 2),
        (70, 0.1, 2),
        (100, 0.6, 2),
        (190, 0.1, 1),
        (310, 0.1, 0),
    ],
    "without a fact it is over as well": [(0, 0.6, 0), (60, 0.6, 1), (70, None, 1), (190, None, 0)],
    "a clock that was put back does not wait for ever": [
        (100_000, 0.6, 0),
        (0, 0.6, 0),
        (60, 0.6, 1),
        (61, 0.1, 1),
        (30, 0.1, 1),
        (150, 0.1, 0),
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_levels_follow_values(story: list[tuple[float, float | None, int]]) -> None:
    alert = watched_of(fact(0.0))
    for after_s, value, level in story:
        alert = advanced(RULE, alert, None if value is None else fact(value), START_S + after_s)
        assert alert.level == level, (after_s, alert)


def test_it_is_known_since_when_it_fires_and_what_was_said_last() -> None:
    alert = watched_of(fact(0.0))
    for after_s, value in ((0, 0.6), (60, 0.7), (120, 0.95), (180, 0.95)):
        alert = advanced(RULE, alert, fact(value), START_S + after_s)
    assert (alert.level, alert.since_s, alert.level_s) == (2, START_S + 60, START_S + 180)
    gone = advanced(RULE, alert, None, START_S + 181)
    assert (gone.detail, gone.value, gone.cause) == ("0.95 used.", 0.95, "groq")


def test_a_fact_that_keeps_neither_fires_nor_ends_anything() -> None:
    fresh = advanced(RULE, watched_of(fact(0.0)), fact(1.0, keeps=True), START_S)
    assert fresh.idle
    firing = Watched(rule=RULE.name, subject="a", level=1, level_s=START_S, since_s=START_S, told=1)
    for after_s in (0, 1_000, 10_000):
        firing = advanced(RULE, firing, fact(0.0, keeps=True), START_S + after_s)
    assert firing.level == 1


def test_what_ends_by_a_step_may_be_told_again_when_it_comes_back() -> None:
    alert = Watched(rule=RULE.name, subject="a", level=2, level_s=START_S, since_s=START_S, told=2)
    for after_s in (0, 120):
        alert = advanced(RULE, alert, fact(0.6), START_S + after_s)
    assert (alert.level, alert.told) == (1, 1)


def test_ids_tell_rules_and_subjects_apart() -> None:
    alerts = {alert_id(rule, subject) for rule in RuleName for subject in ("groq/work", "groq/home")}
    assert len(alerts) == 2 * len(RuleName)
    assert all(len(each) == 19 and each.startswith("al_") for each in alerts)
    assert watched_of(fact(0.0)).id == alert_id(RULE.name, "a")
