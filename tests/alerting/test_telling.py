import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.alerting.levels import Fact, alert_id
from keyrelay.alerting.telling import HOUR_S, MAX_ALERTS, Facts, evaluate, matters
from keyrelay.core.alerts import Hush, QuietHours, RuleName, Severity
from tests.alerting.facts import RULE, START_S, Watch, fact, policy

NOW = msgspec.structs.replace(RULE, for_s=0.0, clear_for_s=0.0)
ID = alert_id(RULE.name, "a")


def test_it_fires_once_and_is_over_once() -> None:
    watch = Watch()
    assert [watch.at(second, fact(0.6)) for second in (0, 30)] == [[], []]
    assert watch.at(60, fact(0.6)) == ["Warning: Quota: a"]
    assert [watch.at(second, fact(0.6)) for second in range(90, 900, 30)] == [[]] * 27
    assert watch.at(900, fact(0.95)) == []
    assert watch.at(960, fact(0.95)) == ["Critical: Quota: a"]
    assert watch.at(1_000, fact(0.1)) == []
    assert watch.at(1_120, fact(0.1)) == ["Over: Quota: a"]
    assert watch.book.alerts == {}
    assert [message.kind for message in watch.messages] == ["firing", "firing", "resolved"]
    assert watch.messages[-1].severity is Severity.CRITICAL


def test_one_message_says_what_is_of_one_cause() -> None:
    watch = Watch(NOW)
    facts = [fact(0.6, f"groq/{number}") for number in range(30)] + [fact(0.6, "gemini/a", "gemini")]
    assert watch.at(0, *facts) == ["Warning: Quota: 30 of groq", "Warning: Quota: gemini/a"]
    assert (watch.messages[0].count, len(watch.messages[0].lines)) == (30, 20)


def test_what_becomes_due_is_gathered() -> None:
    watch = Watch(msgspec.structs.replace(NOW, gather_s=30.0))
    assert watch.at(0, fact(0.6, "a")) == []
    assert watch.at(20, fact(0.6, "a"), fact(0.6, "b")) == []
    assert watch.at(30, fact(0.6, "a"), fact(0.6, "b"), fact(0.6, "c")) == ["Warning: Quota: 3 of groq"]


def test_beyond_the_messages_of_an_hour_the_rest_comes_in_one() -> None:
    watch = Watch(NOW)  # 5 an hour, the last one for what is critical
    for number in range(3):
        assert len(watch.at(number, fact(0.6, str(number), str(number)), *_before(number))) == 1
    two = [fact(0.6, "x", "x"), fact(0.6, "y", "y")]
    assert watch.at(10, *_before(3), *two) == ["Warning: Quota: 2 of them"]
    assert watch.at(20, *_before(3), *two, fact(0.6, "z", "z")) == []
    critical = fact(1.0, "c", "c")
    assert watch.at(30, *_before(3), *two, fact(0.6, "z", "z"), critical) == ["Critical: Quota: c"]
    assert watch.at(40, *_before(3), *two, fact(1.0, "z", "z"), critical) == []
    late = watch.at(HOUR_S + 10, *_before(3), *two, fact(1.0, "z", "z"), critical)
    assert late == ["Critical: Quota: z"]


def _before(number: int) -> list[Fact]:
    return [fact(0.6, str(each), str(each)) for each in range(number)]


def test_what_comes_and_goes_untold_is_never_told() -> None:
    night = QuietHours("00:00", "23:59", "UTC")
    watch = Watch(NOW, quiet=night)
    assert watch.at(0, fact(0.6)) == []
    assert watch.at(60, fact(0.1)) == []
    assert watch.book.alerts == {}


def test_in_quiet_hours_only_what_is_critical_is_told_and_the_rest_afterwards() -> None:
    watch = Watch(NOW, quiet=QuietHours("08:00", "09:00", "UTC"))  # the start is 08:00 UTC
    assert watch.at(0, fact(0.6, "a"), fact(0.95, "b", "other")) == ["Critical: Quota: b"]
    assert watch.at(3_599, fact(0.6, "a"), fact(0.95, "b", "other")) == []
    assert watch.at(3_600, fact(0.6, "a"), fact(0.95, "b", "other")) == ["Warning: Quota: a"]


def test_what_is_silenced_is_told_afterwards() -> None:
    watch = Watch(NOW, hushes={ID: Hush(silenced_until_s=START_S + 100)})
    assert watch.at(0, fact(0.6)) == []
    assert watch.at(99, fact(0.6)) == []
    assert watch.at(100, fact(0.6)) == ["Warning: Quota: a"]


def test_what_goes_on_is_told_again_until_somebody_has_acknowledged_it() -> None:
    rule = msgspec.structs.replace(NOW, remind_s=100.0, gather_s=30.0, per_hour=10)
    watch = Watch(rule)
    told = [watch.at(second, fact(0.6)) for second in (0, 30, 129, 130, 200)]
    assert told == [[], ["Warning: Quota: a"], [], ["Still: Quota: a"], []]
    watch.policy = policy(rule, hushes={ID: Hush(acknowledged_s=START_S + 210, acknowledged_by="user:alice")})
    assert watch.at(400, fact(0.6)) == []
    watch.at(500, fact(0.1))
    assert watch.at(530, fact(0.1)) == ["Over: Quota: a"]
    assert [watch.at(second, fact(0.6)) for second in (600, 630, 730)] == [
        [],
        ["Warning: Quota: a"],
        ["Still: Quota: a"],
    ]


def test_what_is_not_known_stays_as_it_is() -> None:
    watch = Watch(NOW)
    watch.at(0, fact(0.6))
    assert watch.at(1_000, unknown=frozenset({RuleName.QUOTA})) == []
    assert watch.book.alerts[ID].level == 1
    assert watch.at(2_000) == ["Over: Quota: a"]


def test_a_rule_that_is_off_forgets_its_alerts_in_silence() -> None:
    watch = Watch(NOW)
    watch.at(0, fact(0.6))
    watch.policy = policy(msgspec.structs.replace(NOW, enabled=False))
    assert watch.at(10, fact(0.9)) == []
    assert watch.book.alerts == {}
    watch.policy = msgspec.structs.replace(watch.policy, rules={})
    assert watch.at(20, fact(0.9)) == []


def test_a_rule_that_was_allowed_more_before_waits() -> None:
    watch = Watch(NOW)
    for number in range(4):
        watch.at(number, fact(0.6, str(number), str(number)), *_before(number))
    watch.policy = policy(msgspec.structs.replace(NOW, per_hour=1))
    assert watch.at(10, fact(1.0, "c", "c"), *_before(4)) == []


def test_a_rule_of_one_message_an_hour_sends_that_one() -> None:
    watch = Watch(msgspec.structs.replace(NOW, per_hour=1))
    assert watch.at(0, fact(0.6)) == ["Warning: Quota: a"]
    assert watch.at(10, fact(1.0)) == []


def test_no_more_alerts_are_watched_than_there_is_room_for() -> None:
    watch = Watch(NOW)
    watch.at(0, *(fact(0.6, str(number)) for number in range(MAX_ALERTS + 5)))
    assert len(watch.book.alerts) == MAX_ALERTS


def test_what_is_fine_is_not_remembered() -> None:
    watch = Watch()
    watch.at(0, fact(0.1), fact(0.6, "b"))
    assert list(watch.book.alerts) == [alert_id(RULE.name, "b")]
    watch.at(1, fact(0.1), fact(0.1, "b"))
    assert watch.book == watch.book.__class__()


@pytest.mark.parametrize(
    ("given", "expected"),
    [(fact(0.39), False), (fact(0.41), True), (fact(0.9), True), (fact(0.0, keeps=True), True)],
)
def test_what_holds_no_step_is_as_good_as_nothing(given: Fact, *, expected: bool) -> None:
    assert matters(policy(), given) is expected
    assert not matters(policy(rules={}), given)
    with_it, without = Watch(NOW), Watch(NOW)
    for watch in (with_it, without):
        watch.at(0, fact(0.6))
    if not expected:
        assert with_it.at(60, given) == without.at(60)
        assert with_it.book == without.book


values = st.lists(
    st.tuples(st.floats(0, 400), st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1.2), max_size=5)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(
    values,
    st.integers(1, 6),
    st.sampled_from([0.0, 30.0]),
    st.sampled_from([0.0, 90.0]),
    st.sampled_from([None, QuietHours("08:00", "08:20", "UTC")]),
)
def test_whatever_happens_there_is_no_storm_of_messages(
    story: list[tuple[float, dict[str, float]]],
    per_hour: int,
    gather_s: float,
    remind_s: float,
    quiet: QuietHours | None,
) -> None:
    rule = msgspec.structs.replace(NOW, per_hour=per_hour, gather_s=gather_s, remind_s=remind_s)
    watch = Watch(rule, quiet=quiet)
    now_s = 0.0
    for step_s, subjects in story:
        now_s += step_s
        watch.at(now_s, *(fact(value, subject, subject) for subject, value in subjects.items()))
    moments = [message.at_s for message in watch.messages]
    for moment_s in moments:
        assert sum(moment_s <= other < moment_s + HOUR_S for other in moments) <= per_hour
    told: dict[str, bool] = {}
    for message in watch.messages:
        for line in message.lines:
            assert line.firing or told.get(line.subject), "nothing is over that was never told"
            told[line.subject] = line.firing
    # Whatever was held back is told in the end.
    for after_s in range(0, 4 * 3_600, 600):
        watch.at(now_s + 8 * HOUR_S + after_s, fact(0.95))
    assert watch.book.alerts[ID].told == 2
    known = watch.book
    assert msgspec.json.decode(msgspec.json.encode(known), type=type(known)) == known
    again = (
        evaluate(known, Facts((fact(0.95),)), policy(rule), now_s + 12 * HOUR_S + START_S)[1] if not remind_s else ()
    )
    assert again == ()
