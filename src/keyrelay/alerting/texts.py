"""Messages in words: what has happened, to what, and what to do."""

from collections.abc import Sequence
from typing import Literal

from keyrelay.alerting.levels import Watched
from keyrelay.alerting.rules import Rule
from keyrelay.core.alerts import AlertLine, AlertMessage, MessageKind, Severity
from keyrelay.core.moments import rfc3339

MOST_LINES = 20
"""Alerts that a message names; of more it gives the number."""

NOTHING_TO_DO = "There is nothing to do."

Told = Sequence[tuple[Watched, Literal["", "firing", "resolved", "reminder"]]]


def message_of(rule: Rule, cause: str, told: Told, now_s: float) -> AlertMessage:
    """A message on alerts of a rule, what fires and matters most first."""
    lines = sorted((_line(rule, alert) for alert, _ in told), key=_order)
    kind = _kind(told)
    return AlertMessage(
        rule=rule.name,
        kind=kind,
        severity=lines[0].severity,
        title=_title(rule, cause, lines, kind),
        advice=NOTHING_TO_DO if kind == "resolved" else rule.advice,
        at_s=now_s,
        lines=tuple(lines[:MOST_LINES]),
        count=len(lines),
    )


def trial_message(channel: str, now_s: float, message_id: str) -> AlertMessage:
    """What the test of a channel sends; its id is one that no other has."""
    return AlertMessage(
        id=message_id,
        rule="test",
        kind="test",
        severity=Severity.INFO,
        title=f"Test of the channel {channel}",
        advice=NOTHING_TO_DO,
        at_s=now_s,
        lines=(),
        count=0,
    )


def text_of(message: AlertMessage) -> str:
    """A message as plain text, without its title."""
    lines = [f"- {line_text(line)}" for line in message.lines]
    if message.count > len(message.lines):
        lines.append(f"- and {message.count - len(message.lines)} more")
    body = "\n".join(lines) or "Alerts arrive here."
    return f"{body}\n\n{message.advice}"


def line_text(line: AlertLine) -> str:
    """One alert as a line."""
    return (
        f"{line.subject}: {line.detail} {'Since' if line.firing else 'Over; it was so since'} {rfc3339(line.since_s)}."
    )


def _kind(told: Told) -> MessageKind:
    dues = {due for _, due in told}
    return "firing" if "firing" in dues else "reminder" if "reminder" in dues else "resolved"


def _title(rule: Rule, cause: str, lines: Sequence[AlertLine], kind: MessageKind) -> str:
    what = lines[0].subject if len(lines) == 1 else f"{len(lines)} of {cause}" if cause else f"{len(lines)} of them"
    sign = {"resolved": "Over", "reminder": "Still"}.get(kind, str(lines[0].severity).capitalize())
    return f"{sign}: {rule.title}: {what}"


def _line(rule: Rule, alert: Watched) -> AlertLine:
    return AlertLine(
        id=alert.id,
        subject=alert.subject,
        firing=alert.level > 0,
        severity=rule.severity(alert.level or alert.told),
        detail=alert.detail,
        since_s=alert.since_s,
    )


def _order(line: AlertLine) -> tuple[bool, int, str]:
    return not line.firing, -line.severity.rank, line.subject
