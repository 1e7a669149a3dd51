from typing import Literal

import msgspec

from keyrelay.alerting.levels import Watched
from keyrelay.alerting.texts import MOST_LINES, NOTHING_TO_DO, line_text, message_of, text_of, trial_message
from keyrelay.core.alerts import Severity
from tests.alerting.facts import RULE, START_S

FIRING = Watched(rule=RULE.name, subject="groq/work", detail="90 of 100 are used.", level=1, since_s=START_S)
OVER = Watched(rule=RULE.name, subject="groq/home", detail="10 of 100 are used.", told=2, since_s=START_S)


def test_a_message_says_what_to_what_and_what_to_do() -> None:
    message = message_of(RULE, "groq", ((OVER, "resolved"), (FIRING, "firing")), START_S + 60)
    assert (message.kind, message.severity, message.title) == ("firing", Severity.WARNING, "Warning: Quota: 2 of groq")
    assert text_of(message) == (
        "- groq/work: 90 of 100 are used. Since 2027-01-15T08:00:00Z.\n"
        "- groq/home: 10 of 100 are used. Over; it was so since 2027-01-15T08:00:00Z.\n\n"
        "Do something."
    )


def test_what_is_over_needs_nothing() -> None:
    message = message_of(RULE, "", ((OVER, "resolved"),), START_S)
    assert (message.title, message.advice, message.severity) == (
        "Over: Quota: groq/home",
        NOTHING_TO_DO,
        Severity.CRITICAL,
    )


def test_a_reminder_says_so() -> None:
    assert message_of(RULE, "", ((FIRING, "reminder"),), START_S).title == "Still: Quota: groq/work"


def test_a_message_on_many_names_the_first_and_the_number() -> None:
    alerts: list[tuple[Watched, Literal["firing"]]] = [
        (msgspec.structs.replace(FIRING, subject=f"groq/{number:03}"), "firing") for number in range(50)
    ]
    message = message_of(RULE, "", alerts, START_S)
    assert message.title == "Warning: Quota: 50 of them"
    assert (len(message.lines), message.count) == (MOST_LINES, 50)
    assert "- and 30 more\n" in text_of(message)
    assert line_text(message.lines[0]).startswith("groq/000: ")


def test_a_trial_names_its_channel() -> None:
    message = trial_message("ops", START_S, "req_1")
    assert message.id == "req_1"
    assert message.title == "Test of the channel ops"
    assert text_of(message).startswith("Alerts arrive here.")
