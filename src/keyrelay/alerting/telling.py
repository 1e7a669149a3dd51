"""What is to be told of alerts, and what had better wait.

Told is that an alert has come to more steps than were told, that it is over, and, now and then, that it goes on. What
may not be told now stays due: silenced alerts, what is not critical in quiet hours, and what is beyond the messages
that a rule may send per hour. It is told later, with everything that is due by then, or never, if it is over by then.

So of a rule there are never more messages within an hour than it allows, whatever happens.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from keyrelay.alerting.levels import Fact, Watched, advanced, alert_id, watched_of
from keyrelay.alerting.quiet import is_quiet
from keyrelay.alerting.rules import BY_NAME, Rule
from keyrelay.alerting.texts import message_of
from keyrelay.core.alerts import AlertMessage, Hush, QuietHours, RuleName, Severity

MAX_ALERTS = 1_000
"""Alerts that are watched at a time; those that come when there are so many are not noted."""

HOUR_S = 3600.0

NO_HUSH = Hush()

Due = Literal["", "firing", "resolved", "reminder"]


class Facts(msgspec.Struct, frozen=True):
    """What was found out. Of the rules that are `unknown` nothing could be: their alerts stay as they are."""

    facts: tuple[Fact, ...] = ()
    unknown: frozenset[RuleName] = frozenset()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules in force, the quiet hours if there are any, and what people have said of alerts, by their ids."""

    rules: Mapping[RuleName, Rule] = BY_NAME
    quiet: QuietHours | None = None
    hushes: Mapping[str, Hush] = MappingProxyType({})


class Book(msgspec.Struct, frozen=True):
    """What is known of alerts, by their ids, and when (epoch seconds) messages of each rule were sent lately."""

    alerts: dict[str, Watched] = {}
    sent: dict[RuleName, tuple[float, ...]] = {}


EMPTY = Book()


class _Group(msgspec.Struct, frozen=True):
    """Alerts of one cause of which something is due, and how much that matters."""

    cause: str
    alerts: tuple[tuple[Watched, Due], ...]
    severity: Severity


def evaluate(book: Book, facts: Facts, policy: Policy, now_s: float) -> tuple[Book, tuple[AlertMessage, ...]]:
    """What is known now, and what is to be told now."""
    alerts = _advanced(book, facts, policy, now_s)
    quiet = policy.quiet is not None and is_quiet(policy.quiet, now_s)
    messages = list[AlertMessage]()
    sent = dict[RuleName, tuple[float, ...]]()
    for rule in policy.rules.values():
        lately = tuple(at_s for at_s in book.sent.get(rule.name, ()) if at_s > now_s - HOUR_S)
        own = [each for each in alerts.values() if each.rule is rule.name]
        groups = [
            group
            for group in _groups(rule, own, policy.hushes, now_s)
            if not quiet or group.severity is Severity.CRITICAL
        ]
        for group in _within(rule, groups, rule.per_hour - len(lately)):
            messages.append(message_of(rule, group.cause, group.alerts, now_s))
            lately = (*lately, now_s)
            for alert, _ in group.alerts:
                alerts[alert.id] = msgspec.structs.replace(alert, told=alert.level, told_s=now_s)
        if lately:
            sent[rule.name] = lately
    kept = {name: each for name, each in alerts.items() if not each.idle}
    return Book(kept, sent), tuple(messages)


def matters(policy: Policy, fact: Fact) -> bool:
    """Whether a fact can change anything: one that holds no step of its rule is as good as none."""
    rule = policy.rules.get(fact.rule)
    return rule is not None and (fact.keeps or rule.held(fact.value) > 0)


def _advanced(book: Book, facts: Facts, policy: Policy, now_s: float) -> dict[str, Watched]:
    """All alerts as of now, without those of rules that are off."""
    found = {alert_id(fact.rule, fact.subject): fact for fact in facts.facts}
    alerts = dict[str, Watched]()
    for name, before in book.alerts.items():
        rule = policy.rules.get(before.rule)
        if rule is None or not rule.enabled:
            continue
        known = before.rule not in facts.unknown
        alerts[name] = advanced(rule, before, found.get(name), now_s) if known else before
    for name, fact in found.items():
        rule = policy.rules.get(fact.rule)
        if name in book.alerts or rule is None or not rule.enabled or len(alerts) >= MAX_ALERTS:
            continue
        after = advanced(rule, watched_of(fact), fact, now_s)
        if not after.idle:
            alerts[name] = after
    return alerts


def _groups(rule: Rule, alerts: Iterable[Watched], hushes: Mapping[str, Hush], now_s: float) -> list[_Group]:
    """What is due and has been gathered for long enough, by cause."""
    by_cause = dict[str, list[tuple[Watched, Due]]]()
    for alert in alerts:
        due = due_of(rule, alert, hushes.get(alert.id, NO_HUSH), now_s)
        if due:
            by_cause.setdefault(alert.cause, []).append((alert, due))
    return [
        _Group(cause, tuple(due), _severity(rule, due))
        for cause, due in by_cause.items()
        if any(each == "reminder" or now_s - alert.level_s >= rule.gather_s for alert, each in due)
    ]


def due_of(rule: Rule, alert: Watched, hush: Hush, now_s: float) -> Due:
    """What is to be told of an alert; empty: nothing."""
    if hush.silenced_until_s > now_s:
        return ""
    if alert.level > alert.told:
        return "firing"
    if not alert.level:
        return "resolved" if alert.told else ""
    acknowledged = hush.acknowledged_s >= alert.since_s
    if rule.remind_s and not acknowledged and now_s - alert.told_s >= rule.remind_s:
        return "reminder"
    return ""


def _severity(rule: Rule, due: Iterable[tuple[Watched, Due]]) -> Severity:
    """The worst of what is due; what is over matters as much as it did."""
    return max((rule.severity(alert.level or alert.told) for alert, _ in due), key=lambda each: each.rank)


def _within(rule: Rule, groups: list[_Group], left: int) -> list[_Group]:
    """What may be sent when so many messages are left: each group, or all in one; the last is for what is critical."""
    room = left - 1 if rule.per_hour > 1 else left
    if len(groups) <= room:
        return groups
    if room < 1:
        groups = [group for group in groups if group.severity is Severity.CRITICAL and left >= 1]
    if not groups:
        return []
    alerts = tuple(each for group in groups for each in group.alerts)
    cause = groups[0].cause if len(groups) == 1 else ""
    return [_Group(cause, alerts, _severity(rule, alerts))]
