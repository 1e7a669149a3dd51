"""Alerts as they are shown: those that fire, messages that were sent, rules, channels."""

import datetime as dt
from collections.abc import Mapping

import msgspec

from keyrelay.administration.alerts import measure_words
from keyrelay.alerting.levels import Watched
from keyrelay.alerting.rules import BY_NAME, Rule
from keyrelay.core.alerts import (
    AlertRecord,
    Channel,
    ChannelKind,
    DeliveryState,
    Hush,
    MailSecurity,
    MessageKind,
    QuietHours,
    RuleChange,
    RuleName,
    Severity,
)
from keyrelay.core.moments import utc_time


class AlertItem(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that fires. `value` is measured as its rule says; `silenced_until` null: it is not silenced."""

    id: str
    rule: RuleName
    subject: str
    severity: Severity
    title: str
    detail: str
    advice: str
    value: float
    since: dt.datetime
    told: dt.datetime | None
    acknowledged_by: str
    acknowledged: dt.datetime | None
    silenced_until: dt.datetime | None


class MessageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in a message."""

    id: str
    subject: str
    firing: bool
    severity: Severity
    detail: str
    since: dt.datetime


class DeliveryLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message on a channel: `waiting` (for another try), `sent` or `failed`, and why."""

    channel: str
    state: DeliveryState
    attempts: int
    at: dt.datetime | None
    problem: str


class MessageItem(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was sent, of `count` alerts, the first of which are `alerts`."""

    id: str
    at: dt.datetime
    kind: MessageKind
    rule: str
    severity: Severity
    title: str
    advice: str
    count: int
    alerts: tuple[MessageLine, ...]
    deliveries: tuple[DeliveryLine, ...]


class AlertPage(msgspec.Struct, frozen=True):
    """What fires now, the newest first, and the newest messages; `next` is `before` of the page behind this one."""

    firing: tuple[AlertItem, ...]
    items: tuple[MessageItem, ...]
    next: str | None


class StepLine(msgspec.Struct, frozen=True):
    """A step of a rule."""

    threshold: float
    severity: Severity


class RuleItem(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in force; `changed` are the fields that differ from what ships. `measure`: what its values are."""

    name: RuleName
    title: str
    advice: str
    enabled: bool
    measure: str
    falling: bool
    steps: tuple[StepLine, ...]
    fall: float
    fall_share: float
    for_s: float
    clear_for_s: float
    gather_s: float
    remind_s: float
    per_hour: int
    changed: tuple[str, ...]


class QuietItem(msgspec.Struct, frozen=True):
    """When only what is critical is told: times of day (`22:00`) in a zone (an IANA name)."""

    start: str
    end: str
    zone: str


class RuleList(msgspec.Struct, frozen=True):
    """All rules, and the quiet hours if there are any."""

    items: tuple[RuleItem, ...]
    quiet_hours: QuietItem | None


class ChannelItem(msgspec.Struct, frozen=True, kw_only=True):
    """A channel without its secrets. `target` says where it leads; `password_set`, whether there is a password."""

    name: str
    kind: ChannelKind
    enabled: bool
    least: Severity
    rules: tuple[RuleName, ...]
    resolved: bool
    target: str
    host: str
    port: int
    security: MailSecurity
    user: str
    sender: str
    recipients: tuple[str, ...]
    password_set: bool
    created: dt.datetime | None
    set_by: str


def alert_item(alert: Watched, rules: Mapping[RuleName, Rule], hush: Hush, now_s: float) -> AlertItem:
    """An alert that fires."""
    rule = rules[alert.rule]
    acknowledged = bool(hush.acknowledged_s) and hush.acknowledged_s >= alert.since_s
    return AlertItem(
        id=alert.id,
        rule=alert.rule,
        subject=alert.subject,
        severity=rule.severity(alert.level),
        title=rule.title,
        detail=alert.detail,
        advice=rule.advice,
        value=round(alert.value, 4),
        since=utc_time(alert.since_s),
        told=known_moment(alert.told_s),
        acknowledged_by=hush.acknowledged_by if acknowledged else "",
        acknowledged=known_moment(hush.acknowledged_s) if acknowledged else None,
        silenced_until=known_moment(hush.silenced_until_s) if hush.silenced_until_s > now_s else None,
    )


def message_item(record: AlertRecord) -> MessageItem:
    """A message of the history."""
    message = record.message
    return MessageItem(
        id=message.id,
        at=utc_time(message.at_s),
        kind=message.kind,
        rule=str(message.rule),
        severity=message.severity,
        title=message.title,
        advice=message.advice,
        count=message.count,
        alerts=tuple(
            MessageLine(
                id=line.id,
                subject=line.subject,
                firing=line.firing,
                severity=line.severity,
                detail=line.detail,
                since=utc_time(line.since_s),
            )
            for line in message.lines
        ),
        deliveries=tuple(
            DeliveryLine(
                channel=each.channel,
                state=each.state,
                attempts=each.attempts,
                at=known_moment(each.at_s),
                problem=each.problem,
            )
            for each in record.deliveries
        ),
    )


def rule_item(rule: Rule, change: RuleChange) -> RuleItem:
    """A rule in force."""
    return RuleItem(
        name=rule.name,
        title=rule.title,
        advice=rule.advice,
        enabled=rule.enabled,
        measure=measure_words(rule.measure),
        falling=rule.falling,
        steps=tuple(StepLine(step.threshold, step.severity) for step in rule.steps),
        fall=rule.fall,
        fall_share=rule.fall_share,
        for_s=rule.for_s,
        clear_for_s=rule.clear_for_s,
        gather_s=rule.gather_s,
        remind_s=rule.remind_s,
        per_hour=rule.per_hour,
        changed=tuple(name for name in RuleChange.__struct_fields__ if getattr(change, name) is not None),
    )


def quiet_item(hours: QuietHours | None) -> QuietItem | None:
    """Quiet hours, if there are any."""
    return None if hours is None else QuietItem(hours.start, hours.end, hours.zone)


def channel_item(name: str, channel: Channel, *, password_set: bool) -> ChannelItem:
    """A channel."""
    shared = {field: getattr(channel, field) for field in Channel.__struct_fields__ if field != "created_s"}
    created = known_moment(channel.created_s)
    return ChannelItem(name=name, created=created, password_set=password_set, **shared)


def known_moment(epoch_s: float) -> dt.datetime | None:
    """A time; None for 0."""
    return utc_time(epoch_s) if epoch_s else None


_AT = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
_EXPIRING = BY_NAME[RuleName.KEY_EXPIRING]
_DETAIL = "it expires in 6 d 4 h, at 2026-11-27T16:00:00Z."

EXAMPLE_ALERT = AlertItem(
    id="al_0123456789abcdef",
    rule=RuleName.KEY_EXPIRING,
    subject="groq/work",
    severity=Severity.WARNING,
    title=_EXPIRING.title,
    detail=_DETAIL,
    advice=_EXPIRING.advice,
    value=6.1667,
    since=_AT,
    told=_AT,
    acknowledged_by="",
    acknowledged=None,
    silenced_until=None,
)
EXAMPLE_PAGE = AlertPage(
    (EXAMPLE_ALERT,),
    (
        MessageItem(
            id="req_0198c0de00007abc8def0123456789ab",
            at=_AT,
            kind="firing",
            rule=RuleName.KEY_EXPIRING,
            severity=Severity.WARNING,
            title="Warning: Key expires: groq/work",
            advice=_EXPIRING.advice,
            count=1,
            alerts=(
                MessageLine(
                    id="al_0123456789abcdef",
                    subject="groq/work",
                    firing=True,
                    severity=Severity.WARNING,
                    detail=_DETAIL,
                    since=_AT,
                ),
            ),
            deliveries=(DeliveryLine(channel="ops", state="sent", attempts=1, at=_AT, problem=""),),
        ),
    ),
    None,
)
EXAMPLE_RULE = rule_item(_EXPIRING, RuleChange())
EXAMPLE_CHANNEL = channel_item(
    "ops",
    Channel(kind="webhook", target="https://hooks.example.com", created_s=_AT.timestamp(), set_by="user:alice"),
    password_set=False,
)
