"""The rules of alerts: one table of what fires when, for how long, and what to do then.

Every rule has a value to look at. It reaches the steps one after another, and has to stay there for `for_s` before that
counts; it is over when the value is beyond the step by `fall` (and `fall_share` of the step) for `clear_for_s`. Between
the two nothing changes.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from keyrelay.core.alerts import RuleChange, RuleName, Severity
from keyrelay.quota.thresholds import FALL, THRESHOLDS

_MINUTE_S, _DAY_S = 60.0, 86_400.0

LONGEST_S = 30 * _DAY_S
MOST_PER_HOUR = 60
HIGHEST_THRESHOLD = 1e9


class Measure(StrEnum):
    """What a rule's value is."""

    SHARE = "share"  # 1 is the whole
    HOURS = "hours left"
    DAYS = "days left"
    SECONDS = "seconds"
    USD = "US dollars"
    STATE = "state"  # 0 fine, 1 in trouble, 2 out of service


class Step(msgspec.Struct, frozen=True):
    """A value that matters, and how much."""

    threshold: float
    severity: Severity


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What fires when.

    `steps` go from the mildest to the worst. `falling`: the lower the value, the worse. A step is over when the value
    is beyond it by `fall` and by `fall_share` of it. What becomes due is gathered for `gather_s`, so that one message
    says all of it; what goes on is told again every `remind_s` (0: never). At most `per_hour` messages are sent within
    an hour, the last of which is kept for what is critical.
    """

    name: RuleName
    title: str
    measure: Measure
    steps: tuple[Step, ...]
    advice: str
    falling: bool = False
    fall: float = 0.0
    fall_share: float = 0.0
    for_s: float = 0.0
    clear_for_s: float = _MINUTE_S
    gather_s: float = 30.0
    remind_s: float = 0.0
    per_hour: int = 6
    enabled: bool = True

    def reached(self, value: float) -> int:
        """How many steps the value has reached."""
        return sum(self._reaches(value, step.threshold) for step in self.steps)

    def held(self, value: float) -> int:
        """How many steps the value holds that were reached before: it is not far enough beyond them."""
        return sum(self._reaches(value, step.threshold) or self._holds(value, step.threshold) for step in self.steps)

    def severity(self, level: int) -> Severity:
        """How much it matters that so many steps are reached; at least one."""
        return max((step.severity for step in self.steps[: max(1, level)]), key=lambda each: each.rank)

    def _reaches(self, value: float, threshold: float) -> bool:
        return value <= threshold if self.falling else value >= threshold

    def _holds(self, value: float, threshold: float) -> bool:
        beyond = self.fall + self.fall_share * threshold
        return value < threshold + beyond if self.falling else value > threshold - beyond


_INFO, _WARNING, _CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_IN_TROUBLE = (Step(1.0, _WARNING),)
_OUT_OF_SERVICE = (Step(1.0, _WARNING), Step(2.0, _CRITICAL))

RULES: tuple[Rule, ...] = (
    Rule(
        name=RuleName.QUOTA,
        title="Quota nearly used up",
        measure=Measure.SHARE,
        # The shares at which the log speaks as well.
        steps=tuple(
            Step(share, severity) for share, severity in zip(THRESHOLDS, (_INFO, _WARNING, _WARNING), strict=True)
        ),
        fall=FALL,
        advice="Nothing breaks as long as other keys can serve: requests go to those. Add a key, raise the limit at "
        "the provider, or send less until the reset.",
    ),
    Rule(
        name=RuleName.EXHAUSTION,
        title="Quota runs out before its reset",
        measure=Measure.HOURS,
        steps=(Step(2.0, _WARNING),),
        falling=True,
        fall=1.0,
        for_s=5 * _MINUTE_S,
        clear_for_s=15 * _MINUTE_S,
        advice="Add a key or a provider, move some traffic, or raise the limit at the provider.",
    ),
    Rule(
        name=RuleName.KEY_INVALID,
        title="Key not accepted",
        measure=Measure.STATE,
        steps=_IN_TROUBLE,
        fall=0.5,
        remind_s=_DAY_S,
        advice="Rotate the key; if the provider was wrong, test it, and it serves again.",
    ),
    Rule(
        name=RuleName.KEY_EXPIRING,
        title="Key expires",
        measure=Measure.DAYS,
        steps=(Step(7.0, _WARNING), Step(1.0, _CRITICAL)),
        falling=True,
        fall=0.1,
        advice="Rotate the key, or give it a later expiry.",
    ),
    Rule(
        name=RuleName.KEY_CREDIT,
        title="Key out of credit",
        measure=Measure.STATE,
        steps=_IN_TROUBLE,
        fall=0.5,
        remind_s=_DAY_S,
        advice="Top the account up at the provider, then test the key.",
    ),
    Rule(
        name=RuleName.PROVIDER_DOWN,
        title="Provider down",
        measure=Measure.STATE,
        steps=_IN_TROUBLE,
        fall=0.5,
        for_s=_MINUTE_S,
        clear_for_s=2 * _MINUTE_S,
        remind_s=_DAY_S,
        advice="Requests go to other providers where they can. See its status page; it is tried again by itself.",
    ),
    Rule(
        name=RuleName.NOTHING_SERVES,
        title="No key can serve",
        measure=Measure.STATE,
        steps=(Step(1.0, _CRITICAL),),
        fall=0.5,
        for_s=2 * _MINUTE_S,
        remind_s=_DAY_S / 4,
        advice="Add a key of any provider, or mend those that there are: `keyrelay keys list` says what each lacks.",
    ),
    Rule(
        name=RuleName.ERROR_RATE,
        title="Many requests fail",
        measure=Measure.SHARE,
        steps=(Step(0.05, _WARNING), Step(0.25, _CRITICAL)),
        fall_share=0.4,
        for_s=2 * _MINUTE_S,
        clear_for_s=5 * _MINUTE_S,
        advice="The list of failed requests says of each why: `GET /api/v1/requests?status=5xx`.",
    ),
    Rule(
        name=RuleName.LATENCY_P95,
        title="Answers are slow",
        measure=Measure.SECONDS,
        steps=(Step(60.0, _WARNING),),
        fall_share=0.25,
        for_s=5 * _MINUTE_S,
        clear_for_s=10 * _MINUTE_S,
        advice="See which provider or model is slow under usage, and put another one before it.",
    ),
    Rule(
        name=RuleName.SPEND_DAY,
        title="Spent today",
        measure=Measure.USD,
        steps=(Step(10.0, _INFO), Step(50.0, _WARNING)),
        fall_share=0.1,
        advice="See who spends it under usage, by client; give clients budgets, or set this rule's thresholds higher.",
    ),
    Rule(
        name=RuleName.SPEND_MONTH,
        title="Spent this month",
        measure=Measure.USD,
        steps=(Step(100.0, _INFO), Step(500.0, _WARNING)),
        fall_share=0.1,
        advice="See who spends it under usage, by client; give clients budgets, or set this rule's thresholds higher.",
    ),
    Rule(
        name=RuleName.CLIENT_BUDGET,
        title="Client's budget nearly used up",
        measure=Measure.SHARE,
        steps=(Step(0.8, _INFO), Step(1.0, _WARNING)),
        fall=FALL,
        advice="The client's requests are refused when it is used up. Raise the budget, or let it be.",
    ),
    Rule(
        name=RuleName.STORE,
        title="Store in trouble",
        measure=Measure.STATE,
        steps=_OUT_OF_SERVICE,
        fall=0.5,
        for_s=_MINUTE_S,
        remind_s=_DAY_S,
        advice="Requests are served, and what they used waits in the journal. Look after the database and its disk.",
    ),
    Rule(
        name=RuleName.JOURNAL,
        title="Journal in trouble",
        measure=Measure.STATE,
        steps=_OUT_OF_SERVICE,
        fall=0.5,
        gather_s=0.0,
        remind_s=_DAY_S,
        advice="Requests are refused once the journal is full. Make room in the data directory, or mend the store.",
    ),
    Rule(
        name=RuleName.REDIS,
        title="Redis in trouble",
        measure=Measure.STATE,
        steps=_OUT_OF_SERVICE,
        fall=0.5,
        for_s=_MINUTE_S,
        remind_s=_DAY_S,
        advice="Each worker goes on with its own share of the limits. Look after Redis.",
    ),
)
"""Every rule as it ships; all of them are on."""

BY_NAME: Mapping[RuleName, Rule] = MappingProxyType({rule.name: rule for rule in RULES})


def in_force(rule: Rule, change: RuleChange) -> Rule:
    """A rule with what somebody has changed of it, which `problem` has found no fault with."""
    changed = {
        name: value
        for name in ("enabled", "fall", "for_s", "clear_for_s", "gather_s", "remind_s", "per_hour")
        if (value := getattr(change, name)) is not None
    }
    if change.fall is not None:
        changed["fall_share"] = 0.0
    if change.thresholds is not None:
        pairs = zip(change.thresholds, rule.steps, strict=False)
        changed["steps"] = tuple(Step(threshold, step.severity) for threshold, step in pairs)
    return msgspec.structs.replace(rule, **changed)


def problem(rule: Rule, change: RuleChange) -> tuple[str, str]:
    """What of a change will not do: the field, and why; both empty when all of it will."""
    for name in ("for_s", "clear_for_s", "gather_s", "remind_s"):
        value = getattr(change, name)
        if value is not None and not 0 <= value <= LONGEST_S:
            return name, f"from 0 to {LONGEST_S:g} seconds"
    if change.per_hour is not None and not 1 <= change.per_hour <= MOST_PER_HOUR:
        return "per_hour", f"from 1 to {MOST_PER_HOUR}"
    if change.fall is not None and not 0 <= change.fall <= HIGHEST_THRESHOLD:
        return "fall", "not below 0"
    if change.thresholds is not None:
        return ("thresholds", why) if (why := _wrong_thresholds(rule, change.thresholds)) else ("", "")
    return "", ""


def _wrong_thresholds(rule: Rule, thresholds: tuple[float, ...]) -> str:
    if rule.measure is Measure.STATE:
        return "this rule has none that could be changed"
    if len(thresholds) != len(rule.steps):
        return f"this rule takes {len(rule.steps)}"
    if not all(math.isfinite(each) and 0 < each <= HIGHEST_THRESHOLD for each in thresholds):
        return "each is a number above 0"
    if list(thresholds) != sorted(set(thresholds), reverse=rule.falling):
        return f"each one {'below' if rule.falling else 'above'} the one before"
    return ""
