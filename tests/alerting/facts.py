"""Rules, facts and books for tests of alerts."""

import msgspec

from keyrelay.alerting.levels import Fact
from keyrelay.alerting.rules import BY_NAME, Measure, Rule, Step
from keyrelay.alerting.telling import EMPTY, Book, Facts, Policy, evaluate
from keyrelay.core.alerts import AlertMessage, RuleName, Severity

START_S = 1_800_000_000.0

RULE = Rule(
    name=RuleName.QUOTA,
    title="Quota",
    measure=Measure.SHARE,
    steps=(Step(0.5, Severity.WARNING), Step(0.9, Severity.CRITICAL)),
    advice="Do something.",
    fall=0.1,
    for_s=60.0,
    clear_for_s=120.0,
    gather_s=0.0,
    per_hour=5,
)


def fact(value: float, subject: str = "a", cause: str = "groq", *, keeps: bool = False) -> Fact:
    return Fact(rule=RULE.name, subject=subject, value=value, detail=f"{value:g} used.", cause=cause, keeps=keeps)


def policy(rule: Rule = RULE, **more: object) -> Policy:
    return msgspec.structs.replace(Policy(rules={**BY_NAME, rule.name: rule}), **more)


class Watch:
    """A book that goes on with time; `said` are the kinds and titles of all messages."""

    def __init__(self, rule: Rule = RULE, **more: object) -> None:
        self.policy = policy(rule, **more)
        self.book: Book = EMPTY
        self.messages: list[AlertMessage] = []

    def at(self, after_s: float, *facts: Fact, unknown: frozenset[RuleName] = frozenset()) -> list[str]:
        self.book, told = evaluate(self.book, Facts(facts, unknown), self.policy, START_S + after_s)
        self.messages += told
        return [message.title for message in told]
